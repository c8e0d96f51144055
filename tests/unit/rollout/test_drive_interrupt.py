"""Ctrl-C while a rollout is driven: what is finished, what is not begun, and what is given back."""

from __future__ import annotations

from typing import Any

import pytest

from phi4_edge.core.rollout.budget import Budget
from phi4_edge.core.rollout.machine import Rollout, Stop
from phi4_edge.core.rollout.outcome import Outcome
from phi4_edge.core.rollout.waves import Size, Wave
from phi4_edge.rollout.apply import Play
from phi4_edge.rollout.drive import Driver
from phi4_edge.rollout.interrupt import Interrupts
from tests.unit.rollout.fake_executor import FakeExecutor

WAVES = (Wave("wave 1", 0, ("a1", "a2")), Wave("wave 2", 1, ("b1", "b2")))
HOSTS = [host for wave in WAVES for host in wave.hosts]
LATER = {"b1": "untouched", "b2": "untouched"}


class Blind:
    """Sees nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments, **named: None


def drive(fake: FakeExecutor, where: tuple[str, str], times: int = 1) -> tuple[dict[str, str], Rollout]:
    """Drives it; Ctrl-C is pressed so many times when a playbook is at a host."""
    interrupts = Interrupts()

    def after(playbook: str, host: str) -> None:
        if (playbook, host) == where and not interrupts.stopping:
            for _ in range(times):
                interrupts.request()

    fake.after = after
    play = Play("provision", releases=dict.fromkeys(HOSTS, "r-1"), lock={"lock_id": "id"})
    driver = Driver(fake, play, interrupts, Blind(), before=dict.fromkeys(HOSTS, "r-0"))
    ended = driver.run(Rollout.start(WAVES, Budget(Size(0)), 5.0, {}))
    assert set(driver.results) == set(HOSTS)
    return {host: str(driver.results[host].outcome) for host in HOSTS}, ended


def played(fake: FakeExecutor) -> list[tuple[str, tuple[str, ...]]]:
    return [(call.playbook, hosts) for call, hosts in fake.calls]


def test_before_the_switch_the_wave_ends_and_its_locks_are_given_back() -> None:
    fake = FakeExecutor(role={"provision": "artifact"})
    outcomes, ended = drive(fake, ("provision", "a2"))
    assert played(fake) == [("provision", ("a1", "a2")), ("unlock", ("a1", "a2"))]
    assert outcomes == {"a1": "done", "a2": "interrupted", **LATER}
    assert ended.stop is Stop.INTERRUPTED


def test_during_the_switch_the_wave_is_finished_and_nothing_else_begins() -> None:
    fake = FakeExecutor(role={"provision": "health"})
    outcomes, ended = drive(fake, ("provision", "a1"))
    assert played(fake) == [("provision", ("a1", "a2"))]
    assert outcomes == {"a1": "done", "a2": "done", **LATER}
    assert ended.stop is Stop.INTERRUPTED


@pytest.mark.parametrize("role", ["artifact", "service"])
def test_twice_ends_it_in_any_role_and_starts_nothing_more(role: str) -> None:
    fake = FakeExecutor(role={"provision": role})
    outcomes, ended = drive(fake, ("provision", "a1"), times=2)
    assert played(fake) == [("provision", ("a1", "a2"))]
    assert outcomes == {"a1": "interrupted", "a2": "untouched", **LATER}
    assert ended.stop is Stop.INTERRUPTED


def test_the_watching_ends_at_once_though_it_is_of_the_role_that_switches() -> None:
    fake = FakeExecutor(role={"bake": "health"})
    outcomes, ended = drive(fake, ("bake", "a1"))
    assert played(fake) == [("provision", ("a1", "a2")), ("bake", ("a1", "a2")), ("unlock", ("a1",))]
    assert outcomes == {"a1": "done", "a2": "done", **LATER}
    assert ended.stop is Stop.INTERRUPTED


def test_hosts_on_their_way_back_get_there() -> None:
    fake = FakeExecutor({"bake": {"a1": "failed"}})
    outcomes, ended = drive(fake, ("rollback", "a1"))
    assert played(fake)[-1] == ("rollback", ("a1", "a2"))
    assert outcomes == {"a1": "unhealthy", "a2": "reverted", **LATER}
    assert ended.stop is Stop.BUDGET


def test_a_way_back_that_is_ended_by_force_is_said() -> None:
    fake = FakeExecutor({"bake": {"a1": "failed"}}, role={"rollback": "service"})
    outcomes, ended = drive(fake, ("rollback", "a2"), times=2)
    assert outcomes == {"a1": "unhealthy", "a2": "interrupted", **LATER}
    assert ended.stop is Stop.INTERRUPTED


def test_a_way_back_that_is_due_begins_though_ctrl_c_was_pressed_before() -> None:
    fake = FakeExecutor({"provision": {"a2": "failed"}}, role={"provision": "service"})
    outcomes, ended = drive(fake, ("provision", "a1"))
    assert played(fake) == [("provision", ("a1", "a2")), ("rollback", ("a1",))]
    assert outcomes == {"a1": "reverted", "a2": "failed", **LATER}
    assert ended.stop is Stop.BUDGET
    assert ended.outcomes["a1"] is Outcome.REVERTED
