"""Which hosts of a call are changed over sessions of ours, in which order, and what is left to Ansible."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.core.inventory import Host, SshSettings
from phi4_edge.core.plan.decide import Plan
from phi4_edge.operations import sessions
from phi4_edge.operations.sessions import Sessions
from phi4_edge.runner.access import Access
from phi4_edge.runner.events import HostEvent, HostOutcome
from phi4_edge.runner.executor import Call
from phi4_edge.runner.run import RunResult
from phi4_edge.ssh.finding import Refusal
from phi4_edge.ssh.visit import Purpose, Visit, visit
from tests.unit.operations.standin_guest import HELD, HONEST, StandinGuest, plan
from tests.unit.operations.test_lock import StandinExecutor

CALL = Call("provision", {"lock_id": "r1", "lock_holder": {}})


class Party:
    """Stands in for the visit of hosts: each has a session at once, in a thread of its own; `refused` have none."""

    def __init__(self, answers: dict[str, dict[str, Any]], refused: Sequence[str] = ()) -> None:
        self.answers, self.refused = answers, refused
        self.guests: dict[str, StandinGuest] = {}
        self.parts: list[list[str]] = []

    def visit(
        self, hosts: Sequence[Host], purpose: Purpose[Any], stopping: Callable[[], bool], tell: Callable[..., None]
    ) -> None:
        self.parts.append([host.name for host in hosts])
        threads, found = [], dict[str, Visit[Any]]()
        for host in hosts:
            known = {**HONEST, **self.answers.get(host.name, {})}
            guest = StandinGuest(host, lambda name, _, known=known: known[name], lambda document, _: document)
            self.guests[host.name] = guest

            def work(guest: StandinGuest = guest) -> None:
                assert purpose.work is not None
                found[guest.host.name] = Visit(Refusal(guest.host.name, "ok"), purpose.work(guest))

            if host.name in self.refused:
                found[host.name] = Visit(Refusal(host.name, "skipped"))
                tell(found[host.name])
            else:
                threads.append(threading.Thread(target=work))
        for thread in reversed(threads):  # the first one is the last one to begin
            thread.start()
        for thread in threads:
            thread.join()
        stopping()
        for host in hosts:
            if host.name not in self.refused:
                tell(found[host.name])


def host(name: str, **more: Any) -> Host:
    return Host(name, ssh=SshSettings(), **more)


def executed(
    monkeypatch: pytest.MonkeyPatch,
    party: Party,
    hosts: Sequence[Host],
    call: Call = CALL,
    plans: dict[str, Plan] | None = None,
    forks: int = 10,
    cancelled: Callable[[], bool] = lambda: False,
) -> tuple[RunResult, list[Sequence[str]], list[HostEvent]]:
    """The result, the hosts that Ansible got, and all events, which come in this thread."""
    monkeypatch.setattr(sessions, "visit", party.visit)
    beyond = StandinExecutor(**{one.name: HostOutcome(one.name, "ok", "by Ansible") for one in hosts})
    agreed = {one.name: plan() for one in hosts} | (plans or {})
    made = Sessions(
        beyond, Access(("unused",), forks=forks), {one.name: one for one in hosts}, agreed,
        lambda name, document: agreed[name], Path("/none"),
    )  # fmt: skip
    events: list[HostEvent] = []
    here = threading.current_thread()

    def hear(event: HostEvent) -> None:
        assert threading.current_thread() is here
        events.append(event)

    found = made.execute(call, [one.name for one in hosts], hear, cancelled)
    return found, [asked for _, asked in beyond.calls], events


def test_changes_of_settings_need_no_ansible(monkeypatch: pytest.MonkeyPatch) -> None:
    party = Party({})
    found, left, events = executed(monkeypatch, party, [host("a"), host("b"), host("c")])
    assert {name: (end.status, end.changed) for name, end in found.hosts.items()} == dict.fromkeys("abc", ("ok", 1))
    assert (left, found.cancelled, found.exit_status) == ([], False, 0)
    assert {event.host for event in events if event.kind == "changed"} == {"a", "b", "c"}
    assert party.parts == [["a", "b", "c"]]


@pytest.mark.parametrize(
    ("other", "wanted"),
    [
        ({"connection": "local"}, None), ({"only_ansible": "ansible_become_flags"}, None),
        ({"for_roles": {"probe_deep": None}}, None), ({"for_roles": {"health_start_seconds": None}}, None),
        ({"vars": {"phi4_hosts": "a"}}, None), ({}, dataclasses.replace(plan(), action="repair")),
    ],
)  # fmt: skip
def test_a_call_with_a_host_that_has_more_to_it_is_ansibles(
    monkeypatch: pytest.MonkeyPatch, other: dict[str, Any], wanted: Plan | None
) -> None:
    """One that is worked on side by side: what takes long on one host keeps no other waiting."""
    hosts, party = [host("a", **other), host("b", for_roles={"lock_stale_seconds": 3.0})], Party({})
    _, left, _ = executed(monkeypatch, party, hosts, plans={"a": wanted} if wanted else None)
    assert (left, party.parts) == ([("a", "b")], [])
    _, left, _ = executed(monkeypatch, party, hosts[1:])
    assert (left, party.parts) == ([], [["b"]])


@pytest.mark.parametrize(
    "call",
    [
        Call("bake", CALL.extra_vars), dataclasses.replace(CALL, check=True), Call("provision", {}),
        Call("provision", {**CALL.extra_vars, "probe_deep": True}),
    ],
)  # fmt: skip
def test_other_calls_are_ansibles(monkeypatch: pytest.MonkeyPatch, call: Call) -> None:
    party = Party({})
    _, left, _ = executed(monkeypatch, party, [host("a")], call)
    assert (left, party.parts) == ([("a",)], [])


@pytest.mark.parametrize("party", [Party({"a": {"lock/lock/take": HELD}}), Party({}, refused=["a"])])
def test_where_the_first_host_is_not_ours_all_are_ansibles(monkeypatch: pytest.MonkeyPatch, party: Party) -> None:
    """It is asked first whoever begins first, so that of two runs over the same hosts one gets them all."""
    found, left, _ = executed(monkeypatch, party, [host("a"), host("b"), host("c")])
    assert left == [("a", "b", "c")]
    assert [party.guests[name].asked for name in "bc"] == [[], []]
    assert {end.message for end in found.hosts.values()} == {"by Ansible"}


def test_another_host_that_is_held_is_ansibles_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    _, left, _ = executed(monkeypatch, Party({"b": {"lock/lock/take": HELD}}), [host("a"), host("b"), host("c")])
    assert left == [("b",)]


def test_no_more_hosts_at_a_time_than_forks(monkeypatch: pytest.MonkeyPatch) -> None:
    party = Party({})
    executed(monkeypatch, party, [host(name) for name in "abcde"], forks=2)
    assert party.parts == [["a", "b"], ["c", "d"], ["e"]]


def test_after_a_wish_to_stop_nobody_begins_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hosts that are through are told of; of the others none has begun, neither here nor through Ansible."""
    party = Party({})
    asked: list[bool] = []

    def stopping() -> bool:
        asked.append(True)
        return True

    hosts = [host(name) for name in "abcd"]
    found, left, _ = executed(monkeypatch, party, hosts, forks=2, cancelled=stopping)
    assert (set(found.hosts), found.cancelled, left, party.parts) == ({"a", "b"}, True, [], [["a", "b"]])
    assert asked


def test_a_cancelled_call_begins_nothing_more() -> None:
    """Through the real visit, of hosts that are nowhere."""
    hosts = {name: host(name, address="192.0.2.1") for name in "ab"}
    beyond = StandinExecutor()
    made = Sessions(
        beyond, Access(("unused",)), hosts, dict.fromkeys(hosts, plan()), lambda name, document: plan(), Path("/none")
    )
    assert sessions.visit is visit
    found = made.execute(CALL, list(hosts), lambda event: None, lambda: True)
    assert (found.cancelled, dict(found.hosts), beyond.calls) == (True, {}, [])
