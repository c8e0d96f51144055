"""Applying in batches: results per host, Ctrl-C between batches and inside the critical roles."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from phi4_edge import runner
from phi4_edge.errors import InterruptedRunError
from phi4_edge.rollout.access import Access
from phi4_edge.rollout.apply import Job, apply
from phi4_edge.rollout.interrupt import Interrupts
from phi4_edge.rollout.outcome import HostResult, Outcome
from phi4_edge.rollout.survey import survey


class FakeRunner:
    """Stands in for `runner.execute`: plays given events and asks `cancelled` after each, as the real one does.

    Leaves out Ansible, processes and files. A host without an end was cancelled, or not touched at all.
    """

    def __init__(self, events: Iterable[runner.HostEvent], ends: dict[str, runner.HostOutcome]) -> None:
        self.events, self.ends = list(events), ends
        self.batches: list[list[str]] = []
        self.after: Callable[[runner.HostEvent], None] = lambda event: None

    def __call__(
        self, run: runner.Run, on_event: Callable[[runner.HostEvent], None], cancelled: Callable[[], bool]
    ) -> runner.RunResult:
        hosts = run.files["limit"].split()
        self.batches.append(hosts)
        for event in self.events:
            if event.host not in hosts:
                continue
            on_event(event)
            self.after(event)
            if cancelled():
                return runner.RunResult({host: runner.HostOutcome(host, "cancelled") for host in hosts}, True, 254)
        return runner.RunResult({host: end for host, end in self.ends.items() if host in hosts}, False, 0)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    (tmp_path / "hosts").write_text("gw1\ngw2\ngw3\n")
    access = Access((str(tmp_path / "hosts"),), forks=2)
    return Job(access, "provision", {"plan_expected": {}}, releases={"gw1": "r-1", "gw2": "r-2", "gw3": "r-3"})


def go(job: Job, fake: FakeRunner, monkeypatch: pytest.MonkeyPatch, interrupts: Interrupts) -> dict[str, HostResult]:
    monkeypatch.setattr(runner, "execute", fake)
    heard: list[HostResult] = []
    results = apply(job, ["gw1", "gw2", "gw3"], interrupts, lambda event: None, heard.append)
    assert tuple(heard) == results
    assert [result.host for result in results] == ["gw1", "gw2", "gw3"]
    return {result.host: result for result in results}


def test_hosts_are_changed_a_batch_at_a_time(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRunner(
        [],
        {
            "gw1": runner.HostOutcome("gw1", "ok", changed=5),
            "gw2": runner.HostOutcome("gw2", "failed", "found no space, needed 3 GB"),
            "gw3": runner.HostOutcome("gw3", "unreachable", "connection lost"),
        },
    )
    results = go(job, fake, monkeypatch, Interrupts())
    assert fake.batches == [["gw1", "gw2"], ["gw3"]]
    assert (results["gw1"].outcome, results["gw1"].release, results["gw1"].changed) == (Outcome.DONE, "r-1", 5)
    assert (results["gw2"].outcome, results["gw2"].reason) == (Outcome.FAILED, "found no space, needed 3 GB")
    assert results["gw2"].release is None
    assert results["gw3"].outcome is Outcome.UNREACHABLE


def test_a_host_that_nothing_changed_on_is_unchanged(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = {host: runner.HostOutcome(host, "ok") for host in ("gw1", "gw2", "gw3")}
    results = go(job, FakeRunner([], ends), monkeypatch, Interrupts())
    assert {result.outcome for result in results.values()} == {Outcome.UNCHANGED}


def test_a_host_that_ansible_left_out_has_failed(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    results = go(job, FakeRunner([], {}), monkeypatch, Interrupts())
    assert {result.outcome for result in results.values()} == {Outcome.FAILED}


def test_ctrl_c_before_the_switch_ends_the_batch_and_begins_no_other(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRunner([runner.HostEvent("gw1", "ok", role="artifact"), runner.HostEvent("gw1", "ok", role="onnx")], {})
    interrupts = Interrupts()
    fake.after = lambda event: interrupts.request()
    results = go(job, fake, monkeypatch, interrupts)
    assert fake.batches == [["gw1", "gw2"]]
    assert results["gw1"].outcome is Outcome.INTERRUPTED
    assert "serves what it served before" in results["gw1"].reason
    assert results["gw3"].outcome is Outcome.UNTOUCHED
    assert "nothing was changed" in results["gw3"].reason


def test_ctrl_c_during_the_switch_lets_the_batch_finish(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    events = [runner.HostEvent("gw1", "changed", role=role) for role in ("service", "health", "receipt")]
    ends = {host: runner.HostOutcome(host, "ok", changed=1) for host in ("gw1", "gw2")}
    fake = FakeRunner(events, ends)
    interrupts = Interrupts()
    fake.after = lambda event: interrupts.request() if event.role == "service" else None
    results = go(job, fake, monkeypatch, interrupts)
    assert [results[host].outcome for host in ("gw1", "gw2", "gw3")] == [Outcome.DONE, Outcome.DONE, Outcome.UNTOUCHED]


def test_a_second_ctrl_c_during_the_switch_ends_it(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRunner([runner.HostEvent("gw1", "changed", role="service")] * 2, {})
    interrupts = Interrupts()
    fake.after = lambda event: interrupts.request()
    results = go(job, fake, monkeypatch, interrupts)
    assert results["gw1"].outcome is Outcome.INTERRUPTED
    assert "the next run finishes or undoes it" in results["gw1"].reason


def test_a_survey_tells_unreachable_from_not_usable(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRunner(
        [],
        {
            "gw1": runner.HostOutcome("gw1", "ok", facts={"phi4_facts": {"host": "liar", "sources": {}}}),
            "gw2": runner.HostOutcome("gw2", "failed", "sudo: a password is required"),
        },
    )
    monkeypatch.setattr(runner, "execute", fake)
    refused = [HostResult("gw3", Outcome.UNREACHABLE, "down")]
    seen = survey(job.access, ["gw1", "gw2", "gw3"], refused, Interrupts(), lambda event: None)
    assert fake.batches == [["gw1", "gw2"]]
    assert seen.documents == {"gw1": {"host": "gw1", "sources": {}}}
    assert [(result.host, result.outcome) for result in seen.problems] == [
        ("gw2", Outcome.PREFLIGHT),
        ("gw3", Outcome.UNREACHABLE),
    ]


def test_ctrl_c_during_a_survey_says_that_nothing_was_changed(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRunner([runner.HostEvent("gw1", "start", role="probe")], {})
    interrupts = Interrupts()
    fake.after = lambda event: interrupts.request()
    monkeypatch.setattr(runner, "execute", fake)
    with pytest.raises(InterruptedRunError, match="nothing was changed on any host"):
        survey(job.access, ["gw1"], [], interrupts, lambda event: None)
