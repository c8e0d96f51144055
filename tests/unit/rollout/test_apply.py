"""One run on some hosts: a result for each, Ctrl-C inside and outside of the critical roles, locks given back."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pytest

from phi4_edge.errors import InterruptedRunError, RunnerError
from phi4_edge.operations import detect
from phi4_edge.operations.detect import survey
from phi4_edge.rollout import apply as rollout_apply
from phi4_edge.rollout.apply import Play, apply
from phi4_edge.rollout.interpret import Track, result_of
from phi4_edge.rollout.interrupt import Interrupts
from phi4_edge.rollout.result import HostResult, Outcome
from phi4_edge.runner.access import Access
from phi4_edge.runner.executor import Call, OnEvent
from phi4_edge.runner.run import HostEvent, HostOutcome, Run, RunResult
from tests.unit.rollout.fake_executor import BACK, FakeExecutor

HOSTS = ("gw1", "gw2", "gw3")
PLAY = Play("provision", {"plan_expected": {}}, releases=dict.fromkeys(HOSTS, "r-1"), lock={"lock_id": "id"})


def go(fake: FakeExecutor, interrupts: Interrupts | None = None, play: Play = PLAY) -> dict[str, HostResult]:
    results = apply(fake, play, HOSTS, interrupts or Interrupts(), lambda event: None)
    assert tuple(result.host for result in results) == HOSTS
    return {result.host: result for result in results}


def test_all_hosts_are_one_run() -> None:
    fake = FakeExecutor({"provision": {"gw2": "failed", "gw3": "unreachable"}})
    results = go(fake)
    assert [hosts for _, hosts in fake.calls] == [HOSTS]
    assert (results["gw1"].outcome, results["gw1"].release, results["gw1"].changed) == (Outcome.DONE, "r-1", 3)
    assert (results["gw2"].outcome, results["gw2"].reason) == (Outcome.FAILED, "found no space")
    assert results["gw2"].release is None
    assert results["gw3"].outcome is Outcome.UNREACHABLE


def test_no_hosts_are_not_all_hosts() -> None:
    """Ansible without a limit takes the whole inventory: `remove --limit gw9` with gw9 down must remove nothing."""
    fake = FakeExecutor()
    assert apply(fake, Play("remove"), (), Interrupts(), lambda event: None) == ()
    assert fake.calls == []
    with pytest.raises(RunnerError, match="no hosts to run remove on"):
        Access(("hosts.ini",)).run("remove", ())


@pytest.mark.parametrize("end", ["unchanged", "timed_out", "rolled_back", "locked"])
def test_how_a_host_ended_is_told_apart(end: str) -> None:
    result = go(FakeExecutor({"provision": {"gw2": end}}))["gw2"]
    assert result.outcome == end
    assert bool(result.next_step) is (end != "unchanged")


def test_a_host_that_ansible_left_out_has_failed() -> None:
    assert result_of("gw1", None, Track(), cancelled=False, release="r-1").outcome is Outcome.FAILED


@pytest.mark.parametrize(("failures", "outcome"), [(1, Outcome.ROLLED_BACK), (2, Outcome.FAILED)])
def test_a_way_back_that_failed_itself_is_no_rollback(failures: int, outcome: Outcome) -> None:
    track = Track()
    track.take(HostEvent("gw1", "failed", "health", "Prove", "no answer"))
    track.take(HostEvent("gw1", "changed", "service", "Bring back", result={"ansible_facts": BACK}))
    for _ in range(failures):
        track.take(HostEvent("gw1", "failed", "health", "Prove", "no answer either"))
    end = HostOutcome("gw1", "failed", "no answer", BACK)
    assert result_of("gw1", end, track, cancelled=False, release="r-1").outcome is outcome


@pytest.mark.parametrize("told", [{"to": "r-0", "restarted": False}, {"to": "", "restarted": True}, "nonsense"])
def test_a_host_that_never_left_its_release_has_failed(told: object) -> None:
    end = HostOutcome("gw1", "failed", "no", {"phi4_rollback": told, "phi4_lock": told})
    assert result_of("gw1", end, Track(), cancelled=False, release="r-1").outcome is Outcome.FAILED


def test_ctrl_c_before_the_switch_ends_the_run_and_gives_the_locks_back() -> None:
    interrupts = Interrupts()
    fake = FakeExecutor(role={"provision": "artifact"}, after=lambda playbook, host: _once(interrupts))
    results = go(fake, interrupts)
    assert [(call.playbook, hosts) for call, hosts in fake.calls] == [("provision", HOSTS), ("unlock", ("gw1",))]
    unlock = fake.calls[1][0]
    assert (unlock.extra_vars, unlock.task_timeout) == ({"lock_id": "id", "lock_release_seconds": 8}, 8)
    assert results["gw1"].outcome is Outcome.INTERRUPTED
    assert "serves what it served before" in results["gw1"].reason
    assert results["gw3"].outcome is Outcome.UNTOUCHED
    assert "nothing was changed" in results["gw3"].reason


def test_ctrl_c_during_the_switch_lets_the_run_finish() -> None:
    interrupts = Interrupts()
    fake = FakeExecutor(role={"provision": "service"}, after=lambda playbook, host: _once(interrupts))
    results = go(fake, interrupts)
    assert [call.playbook for call, _ in fake.calls] == ["provision"]
    assert {result.outcome for result in results.values()} == {Outcome.DONE}


def test_a_second_ctrl_c_during_the_switch_ends_it_and_starts_nothing_more() -> None:
    interrupts = Interrupts()
    fake = FakeExecutor(role={"provision": "service"}, after=lambda playbook, host: interrupts.request())
    results = go(fake, interrupts)
    assert [call.playbook for call, _ in fake.calls] == ["provision"]
    assert results["gw1"].outcome is Outcome.INTERRUPTED
    assert "the next run finishes or undoes it" in results["gw1"].reason


def test_a_run_that_must_go_through_is_begun_and_finished_after_a_ctrl_c() -> None:
    interrupts = Interrupts()
    interrupts.request()
    assert {result.outcome for result in go(FakeExecutor(), interrupts).values()} == {Outcome.UNTOUCHED}
    through = go(FakeExecutor(), interrupts, replace(PLAY, through=True))
    assert {result.outcome for result in through.values()} == {Outcome.DONE}


def test_locks_that_cannot_be_given_back_are_no_new_trouble() -> None:
    class Deaf(FakeExecutor):
        def execute(
            self, call: Call, hosts: Sequence[str], on_event: OnEvent, cancelled: Callable[[], bool]
        ) -> RunResult:
            if call.playbook == "unlock":
                self.calls.append((call, tuple(hosts)))
                raise RunnerError("Ansible is gone")
            return super().execute(call, hosts, on_event, cancelled)

    interrupts = Interrupts()
    fake = Deaf(after=lambda playbook, host: _once(interrupts))
    assert go(fake, interrupts)["gw1"].outcome is Outcome.INTERRUPTED
    assert fake.calls[-1][0].playbook == "unlock"


def test_locks_are_given_back_for_seconds_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that drips, floods or says nothing: whoever is asked to end by then is told so."""

    class Silent(FakeExecutor):
        def execute(
            self, call: Call, hosts: Sequence[str], on_event: OnEvent, cancelled: Callable[[], bool]
        ) -> RunResult:
            if call.playbook != "unlock":
                return super().execute(call, hosts, on_event, cancelled)
            begin = time.monotonic()
            while not cancelled():
                assert time.monotonic() - begin < 20
                time.sleep(0.01)
            return RunResult({}, True, 254)

    monkeypatch.setattr(rollout_apply, "UNLOCK_SECONDS", 0.3)
    interrupts, begin = Interrupts(), time.monotonic()
    fake = Silent(after=lambda playbook, host: _once(interrupts))
    assert go(fake, interrupts)["gw1"].outcome is Outcome.INTERRUPTED
    assert 0.3 <= time.monotonic() - begin < 10  # also on a busy machine


def test_locks_are_given_back_where_ansible_itself_died() -> None:
    class Dying(FakeExecutor):
        def execute(
            self, call: Call, hosts: Sequence[str], on_event: OnEvent, cancelled: Callable[[], bool]
        ) -> RunResult:
            found = super().execute(call, hosts, on_event, cancelled)
            if call.playbook == "provision":
                raise RunnerError("ansible-playbook was killed")
            return found

    fake = Dying()
    with pytest.raises(RunnerError, match="was killed"):
        go(fake)
    assert [(call.playbook, hosts) for call, hosts in fake.calls] == [("provision", HOSTS), ("unlock", HOSTS)]


@pytest.mark.parametrize("status", ["ok", "failed"])
def test_a_host_that_another_run_has_is_locked_whether_it_is_left_out_or_fails(status: str) -> None:
    """`lock_skip` of an inventory ends the host's play well: nothing was done, and it is not unchanged."""
    end = HostOutcome("gw1", status, "said", {"phi4_lock": {"state": "held", "message": "locked by eve@other"}})  # type: ignore[arg-type]
    found = result_of("gw1", end, Track(), cancelled=False, release="r-1")
    assert (found.outcome, found.release) == (Outcome.LOCKED, None)
    assert found.reason in ("said", "locked by eve@other")


def _once(interrupts: Interrupts) -> None:
    if not interrupts.stopping:
        interrupts.request()


class FakeRunner:
    """Stands in for `runner.execute` in a survey: gives given ends, and asks `cancelled` once."""

    def __init__(self, ends: Mapping[str, HostOutcome], asked: Callable[[], None] = lambda: None) -> None:
        self.ends, self.asked = ends, asked
        self.hosts: list[str] = []

    def __call__(self, run: Run, on_event: OnEvent, cancelled: Callable[[], bool]) -> RunResult:
        self.hosts = run.files["limit"].split()
        self.asked()
        ended = cancelled()
        return RunResult({} if ended else {host: self.ends[host] for host in self.hosts}, ended, 0)


def test_a_survey_tells_unreachable_from_not_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = {
        "gw1": HostOutcome("gw1", "ok", facts={"phi4_facts": {"host": "liar", "sources": {}}}),
        "gw2": HostOutcome("gw2", "failed", "sudo: a password is required"),
    }
    fake = FakeRunner(ends)
    monkeypatch.setattr(detect.program, "execute", fake)
    refused = {"gw3": HostResult("gw3", Outcome.UNREACHABLE, "down")}
    seen = survey(Access(("gw1,gw2,gw3",)), HOSTS, refused, Interrupts(), lambda event: None)
    assert fake.hosts == ["gw1", "gw2"]
    assert seen.documents == {"gw1": {"host": "gw1", "sources": {}}}
    assert [(result.host, result.outcome) for result in seen.problems] == [
        ("gw2", Outcome.PREFLIGHT),
        ("gw3", Outcome.UNREACHABLE),
    ]


def test_ctrl_c_during_a_survey_says_that_nothing_was_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    interrupts = Interrupts()
    monkeypatch.setattr(detect.program, "execute", FakeRunner({}, interrupts.request))
    with pytest.raises(InterruptedRunError, match="nothing was changed on any host"):
        survey(Access(("gw1,",)), ["gw1"], {}, interrupts, lambda event: None)


@pytest.mark.parametrize(
    ("roles", "critical"),
    [
        (["lock", "probe", "plan", "artifact", "plan"], False),
        (["lock", "probe", "plan", "docker", "plan"], True),
        (["lock", "probe", "plan", "docker", "plan", "artifact"], False),
        (["plan", "service", "plan"], True),
        (["plan", "service", "plan", "health", "plan", "receipt", "plan", "lock"], True),
    ],
)
def test_a_host_stays_critical_between_two_critical_roles_and_until_its_lock_is_given_back(
    roles: list[str], critical: bool
) -> None:
    track = Track()
    for role in roles:
        track.take(HostEvent("gw1", "ok", role=role))
    assert track.critical is critical
