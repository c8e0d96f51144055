"""Hosts that get a driver first: installed, looked at again, and planned for anew."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from phi4_edge.core.rollout.waves import Size
from phi4_edge.operations import drivers
from phi4_edge.operations.detect import Survey
from phi4_edge.operations.options import Waving
from phi4_edge.operations.rollout import Rolling
from phi4_edge.rollout.result import HostResult, Outcome
from phi4_edge.runner.access import Access


@dataclass(frozen=True)
class FakeFleet:
    """Hosts that say which of them were looked at."""

    hosts: tuple[Any, ...]
    access: Access = field(default_factory=lambda: Access((), 10, None, None))

    def only(self, names: Collection[str]) -> FakeFleet:
        return FakeFleet(tuple(host for host in self.hosts if host.name in names))

    def survey(self, view: object, *, sample: bool) -> Survey:
        assert sample, "they are planned for"
        return Survey({host.name: {"seen": "again"} for host in self.hosts}, ())


class View:
    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: None


def fleet(*names: str, allowed: int = 0, skip: bool = False) -> Any:
    """A rollout that has begun, over these hosts."""
    made = FakeFleet(tuple(SimpleNamespace(name=name) for name in names))
    waving = Waving(step_timeout=60, max_failures=Size(allowed), skip_locked=skip)
    rolling = Rolling(made, waving, "provision")  # type: ignore[arg-type]
    rolling.journal = SimpleNamespace(id="x")  # type: ignore[assignment]
    return rolling


def applied(monkeypatch: pytest.MonkeyPatch, outcomes: dict[str, Outcome]) -> list[Any]:
    """Runs of the playbook instead of Ansible's."""
    jobs = []

    def apply(executor: object, job: Any, hosts: Sequence[str], *_: object) -> tuple[HostResult, ...]:
        jobs.append(job)
        return tuple(HostResult(host, outcomes[host]) for host in hosts)

    monkeypatch.setattr(drivers, "apply", apply)
    return jobs


BEFORE = Survey({name: {"seen": "first"} for name in ("gw1", "gw2", "gw3")}, ())


def test_only_plans_that_install_a_driver_wait() -> None:
    def plan(driver: bool | None) -> Any:
        return SimpleNamespace(install=None if driver is None else SimpleNamespace(nvidia_driver=driver))

    assert drivers.waiting({"gw1": plan(True), "gw2": plan(False), "gw3": plan(None)}) == ["gw1"]


def test_hosts_with_a_new_driver_are_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = applied(monkeypatch, {"gw1": Outcome.DONE, "gw2": Outcome.FAILED})
    made = fleet("gw1", "gw2", "gw3")
    done = drivers.install(made, ["gw1", "gw2"], BEFORE, True, View())  # type: ignore[arg-type]
    assert (jobs[0].lock["lock_id"], jobs[0].task_timeout) == ("x", 60)
    assert (jobs[0].playbook, jobs[0].extra_vars) == ("driver", {"nvidia_runtime_allow_reboot": True})
    assert done.seen.documents["gw1"] == {"seen": "again"}
    assert done.seen.documents["gw2"] == done.seen.documents["gw3"] == {"seen": "first"}
    assert [result.host for result in done.failed] == ["gw2"]
    assert not done.interrupted


def test_a_driver_is_tried_on_one_host_before_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = applied(monkeypatch, {"gw1": Outcome.FAILED, "gw2": Outcome.DONE})
    done = drivers.install(fleet("gw1", "gw2"), ["gw1", "gw2"], BEFORE, True, View())  # type: ignore[arg-type]
    assert len(jobs) == 1
    assert [(result.host, result.outcome) for result in done.failed] == [
        ("gw1", Outcome.FAILED),
        ("gw2", Outcome.UNTOUCHED),
    ]
    assert "gw1 first" in done.failed[1].reason


@pytest.mark.parametrize(
    ("first", "allowed", "skip", "others"),
    [
        (Outcome.FAILED, 1, False, True),
        (Outcome.UNREACHABLE, 1, False, True),
        (Outcome.LOCKED, 1, False, True),
        (Outcome.LOCKED, 0, True, True),
        (Outcome.LOCKED, 0, False, False),
        (Outcome.FAILED, 0, True, False),
    ],
)
def test_the_first_host_of_a_driver_decides_no_more_than_the_budget(
    monkeypatch: pytest.MonkeyPatch, first: Outcome, allowed: int, skip: bool, others: bool
) -> None:
    ends = {"gw1": first, "gw2": Outcome.DONE, "gw3": Outcome.DONE, "gw4": Outcome.DONE}
    tried: list[tuple[str, ...]] = []

    def apply(executor: object, job: Any, hosts: Sequence[str], *_: object) -> tuple[HostResult, ...]:
        tried.append(tuple(hosts))
        return tuple(HostResult(host, ends[host]) for host in hosts)

    monkeypatch.setattr(drivers, "apply", apply)
    made = fleet(*ends, allowed=allowed, skip=skip)
    done = drivers.install(made, list(ends), BEFORE, True, View())  # type: ignore[arg-type]
    # A bad driver still meets one host at a time.
    assert tried == [("gw1",), ("gw2",), ("gw3", "gw4")] if others else [("gw1",)]
    untouched = [result.host for result in done.failed if result.outcome is Outcome.UNTOUCHED]
    assert untouched == ([] if others else ["gw2", "gw3", "gw4"])


def test_hosts_that_were_bad_before_count_for_the_driver_too(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = applied(monkeypatch, {"gw1": Outcome.FAILED, "gw2": Outcome.DONE})
    before = {"gw9": Outcome.UNREACHABLE}
    made = fleet("gw1", "gw2", allowed=1)
    done = drivers.install(made, ["gw1", "gw2"], BEFORE, True, View(), before)  # type: ignore[arg-type]
    assert len(jobs) == 1 and [one.outcome for one in done.failed] == [Outcome.FAILED, Outcome.UNTOUCHED]


def test_nobody_is_looked_at_when_no_driver_was_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    applied(monkeypatch, {"gw1": Outcome.UNREACHABLE})
    done = drivers.install(fleet("gw1"), ["gw1"], BEFORE, False, View())  # type: ignore[arg-type]
    assert done.seen is BEFORE
    assert [result.outcome for result in done.failed] == [Outcome.UNREACHABLE]
