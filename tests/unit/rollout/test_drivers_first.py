"""Hosts that get a driver first: installed, looked at again, and planned for anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from phi4_edge.commands import _drivers
from phi4_edge.rollout.access import Access
from phi4_edge.rollout.outcome import HostResult, Outcome
from phi4_edge.rollout.survey import Survey


@dataclass(frozen=True)
class FakeFleet:
    """Hosts that say which of them were looked at."""

    hosts: tuple[Any, ...]
    access: Access = field(default_factory=lambda: Access((), 10, None, None))

    def survey(self, view: object) -> Survey:
        return Survey({host.name: {"seen": "again"} for host in self.hosts}, ())


class View:
    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: None


def fleet(*names: str) -> Any:
    """A rollout that has begun, over these hosts."""
    made = FakeFleet(tuple(SimpleNamespace(name=name) for name in names))
    waving = SimpleNamespace(task_timeout=60)
    return SimpleNamespace(fleet=made, waving=waving, lock={"lock_id": "x"}, executor=None)


def applied(monkeypatch: pytest.MonkeyPatch, outcomes: dict[str, Outcome]) -> list[Any]:
    """Runs of the playbook instead of Ansible's."""
    jobs = []

    def apply(executor: object, job: Any, hosts: Sequence[str], *_: object) -> tuple[HostResult, ...]:
        jobs.append(job)
        return tuple(HostResult(host, outcomes[host]) for host in hosts)

    monkeypatch.setattr(_drivers, "apply", apply)
    return jobs


BEFORE = Survey({name: {"seen": "first"} for name in ("gw1", "gw2", "gw3")}, ())


def test_only_plans_that_install_a_driver_wait() -> None:
    def plan(driver: bool | None) -> Any:
        return SimpleNamespace(install=None if driver is None else SimpleNamespace(nvidia_driver=driver))

    assert _drivers.waiting({"gw1": plan(True), "gw2": plan(False), "gw3": plan(None)}) == ["gw1"]


def test_hosts_with_a_new_driver_are_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = applied(monkeypatch, {"gw1": Outcome.DONE, "gw2": Outcome.FAILED})
    done = _drivers.install(fleet("gw1", "gw2", "gw3"), ["gw1", "gw2"], BEFORE, True, View())  # type: ignore[arg-type]
    assert (jobs[0].lock, jobs[0].task_timeout) == ({"lock_id": "x"}, 60)
    assert (jobs[0].playbook, jobs[0].extra_vars) == ("driver", {"nvidia_runtime_allow_reboot": True})
    assert done.seen.documents["gw1"] == {"seen": "again"}
    assert done.seen.documents["gw2"] == done.seen.documents["gw3"] == {"seen": "first"}
    assert [result.host for result in done.failed] == ["gw2"]
    assert not done.interrupted


def test_a_driver_is_tried_on_one_host_before_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = applied(monkeypatch, {"gw1": Outcome.FAILED, "gw2": Outcome.DONE})
    done = _drivers.install(fleet("gw1", "gw2"), ["gw1", "gw2"], BEFORE, True, View())  # type: ignore[arg-type]
    assert len(jobs) == 1
    assert [(result.host, result.outcome) for result in done.failed] == [
        ("gw1", Outcome.FAILED),
        ("gw2", Outcome.UNTOUCHED),
    ]
    assert "gw1 first" in done.failed[1].reason


def test_nobody_is_looked_at_when_no_driver_was_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    applied(monkeypatch, {"gw1": Outcome.UNREACHABLE})
    done = _drivers.install(fleet("gw1"), ["gw1"], BEFORE, False, View())  # type: ignore[arg-type]
    assert done.seen is BEFORE
    assert [result.outcome for result in done.failed] == [Outcome.UNREACHABLE]
