"""Who holds the hosts, as `phi4-edge lock` tells it, from what Ansible says of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from phi4_edge.operations import lock as operations_lock
from phi4_edge.report import locks
from phi4_edge.rollout.result import HostResult, Outcome
from phi4_edge.runner.executor import Call
from phi4_edge.runner.run import HostEvent, HostOutcome, RunResult

HOLDER = {
    "present": True, "state": "held", "id": "x", "user": "ada", "host": "desk", "pid": 7, "operation": "provision",
    "version": "1", "started": "2026-01-02T03:04:05Z", "age": 2.5, "left": 27.5,
}  # fmt: skip


class StandinExecutor:
    """Answers for hosts from a table; leaves out everything that Ansible does. Keeps what it was asked."""

    def __init__(self, **ends: HostOutcome) -> None:
        self.ends = ends
        self.calls: list[tuple[Call, tuple[str, ...]]] = []

    def execute(
        self, call: Call, hosts: Sequence[str], on_event: Callable[[HostEvent], None], cancelled: Callable[[], bool]
    ) -> RunResult:
        self.calls.append((call, tuple(hosts)))
        return RunResult({host: self.ends[host] for host in hosts if host in self.ends}, False, 0)


def end(host: str, **fact: Any) -> HostOutcome:
    return HostOutcome(host, "failed" if fact.get("refused") else "ok", facts={"phi4_lock": fact})


def ask(executor: StandinExecutor, hosts: Sequence[str], **more: Any) -> operations_lock.Locks:
    return operations_lock.ask(executor, hosts, more.pop("refused", ()), lambda event: None, lambda: False, **more)


def test_every_host_is_told_of() -> None:
    down = HostOutcome("c", "unreachable", "no route")
    executor = StandinExecutor(a=end("a", holder={"present": False}), b=end("b", holder=HOLDER), c=down)
    turned_away = HostResult("d", Outcome.PREFLIGHT, "no sudo")
    found = ask(executor, ["a", "b", "c", "d", "e"], refused=[turned_away])
    assert executor.calls == [
        (Call("lock", {"lock_do": "show", "lock_force": False}, task_timeout=60), ("a", "b", "c", "e"))
    ]
    assert [(lock.host, lock.state) for lock in found.hosts] == [("a", "free"), ("b", "held")]
    assert [(one.host, one.outcome) for one in found.problems] == [
        ("c", Outcome.UNREACHABLE),
        ("d", Outcome.PREFLIGHT),
        ("e", Outcome.PREFLIGHT),
    ]
    assert found.exit_code == 5
    assert found.to_dict()["hosts"][1]["holder"]["user"] == "ada"


@pytest.mark.parametrize(
    ("fact", "state", "code"),
    [
        ({"holder": HOLDER, "released": True}, "released", 0),
        ({"holder": HOLDER, "released": False, "refused": True, "message": "found the lock"}, "held", 6),
        ({"holder": {"present": False}, "released": False}, "free", 0),
    ],
)
def test_a_living_run_is_not_robbed(fact: dict[str, Any], state: str, code: int) -> None:
    executor = StandinExecutor(a=end("a", **fact))
    found = ask(executor, ["a"], release=True, force=True)
    assert executor.calls[0][0].extra_vars == {"lock_do": "release", "lock_force": True}
    assert (found.hosts[0].state, found.exit_code) == (state, code)
    assert bool(found.hosts[0].next_step) == (state == "held")


def test_nobody_is_asked_where_nobody_lets_us_in() -> None:
    executor = StandinExecutor()
    found = ask(executor, ["a"], refused=[HostResult("a", Outcome.UNREACHABLE, "no route")])
    assert (executor.calls, found.exit_code) == ([], 5)


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_table_fits_and_holds_nothing_that_a_terminal_obeys(width: int) -> None:
    sly = {**HOLDER, "state": "stale", "user": "a\x1b[2Jb", "operation": "x" * 300, "age": None, "pid": None}
    executor = StandinExecutor(
        a=end("a", holder=HOLDER, released=False, refused=True, message="found the lock of ada"), b=end("b", holder=sly)
    )
    lines = locks.lines(ask(executor, ["a", "b"]).to_dict(), width)
    assert all(len(line) <= width and line.isprintable() for line in lines)
    text = "\n".join(lines)
    assert "held" in text
    assert "stale: that run is dead" in text
    assert "found the lock of ada" in text
