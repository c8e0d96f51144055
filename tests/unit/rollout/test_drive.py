"""A rollout as it is driven: what is run on whom, and what is said of each host."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from phi4_edge.core.rollout.budget import Budget
from phi4_edge.core.rollout.machine import Rollout, Stop
from phi4_edge.core.rollout.outcome import Outcome
from phi4_edge.core.rollout.waves import Size, Wave
from phi4_edge.rollout.apply import Play
from phi4_edge.rollout.drive import Driver
from phi4_edge.rollout.interrupt import Interrupts
from phi4_edge.runner.run import HostEvent
from tests.unit.rollout.fake_executor import FakeExecutor

WAVES = (Wave("canary", 0, ("c1",)), Wave("wave 1", 1, ("a1", "a2")), Wave("wave 2", 2, ("b1", "b2")))
HOSTS = [host for wave in WAVES for host in wave.hosts]
PLAY = Play("provision", {"plan_store": "x"}, releases=dict.fromkeys(HOSTS, "r-1"), lock={"lock_id": "id"})
BEFORE = dict.fromkeys(HOSTS, "r-0")


@dataclass
class Heard:
    """What a view and a journal were told, in order."""

    lines: list[tuple[Any, ...]] = field(default_factory=list)

    def wave(self, wave: Wave) -> None:
        self.lines.append(("wave", wave.name))

    def bake(self, wave: Wave, seconds: float) -> None:
        self.lines.append(("bake", wave.name, seconds))

    def spent(self, bad: int, exceeded: bool) -> None:
        self.lines.append(("spent", bad, exceeded))

    def event(self, name: Any, **fields: Any) -> None:
        if isinstance(name, str):
            self.lines.append(("log", name))

    def host_event(self, event: HostEvent) -> None:
        self.lines.append(("task", event.host))

    def finished(self, host: str, outcome: str) -> None:
        self.lines.append(("finished", host, outcome))


def drive(
    fake: FakeExecutor,
    allowed: str = "0",
    bake: float = 0.0,
    interrupts: Interrupts | None = None,
    before: dict[str, str] | None = None,
    beside: dict[str, Outcome] | None = None,
) -> tuple[Driver, Rollout]:
    heard = Heard()
    base = BEFORE if before is None else before
    driver = Driver(fake, PLAY, interrupts or Interrupts(), heard, heard, base)
    ended = driver.run(Rollout.start(WAVES, Budget(Size.parse(allowed)), bake, beside or {}))
    assert set(driver.results) == set(HOSTS)
    for host, result in driver.results.items():
        assert result.host == host
        assert ended.outcomes[host] is result.outcome
        assert result.reason or result.outcome in (Outcome.DONE, Outcome.UNCHANGED)
    return driver, ended


def outcomes(driver: Driver) -> dict[str, str]:
    return {host: str(driver.results[host].outcome) for host in HOSTS}


def test_waves_run_one_after_the_other_with_a_bake_between() -> None:
    fake = FakeExecutor()
    driver, ended = drive(fake, bake=30.0)
    assert [(call.playbook, hosts) for call, hosts in fake.calls] == [
        ("provision", ("c1",)),
        ("bake", ("c1",)),
        ("provision", ("a1", "a2")),
        ("bake", ("a1", "a2")),
        ("provision", ("b1", "b2")),
    ]
    assert fake.calls[0][0].extra_vars == {"lock_id": "id", "plan_store": "x"}
    assert fake.calls[1][0].extra_vars == {"lock_id": "id", "lock_wait": 60, "health_watch_seconds": 30.0}
    assert ended.stop is None
    assert set(outcomes(driver).values()) == {"done"}
    assert [driver.results[host].wave for host in HOSTS] == [0, 1, 1, 2, 2]
    told = driver.watch.lines  # type: ignore[attr-defined]
    assert [line[0] for line in told if line[0] in ("wave", "bake")] == ["wave", "bake", "wave", "bake", "wave"]
    assert [line[1] for line in told if line[0] == "log"].count("bake_end") == 2


def test_a_bad_canary_is_all_that_is_touched() -> None:
    fake = FakeExecutor({"provision": {"c1": "rolled_back"}})
    driver, ended = drive(fake)
    assert fake.hosts_of("provision") == ["c1"]
    assert fake.hosts_of("rollback") == []
    assert ended.stop is Stop.BUDGET
    assert (driver.results["c1"].outcome, driver.results["c1"].release) == (Outcome.ROLLED_BACK, "r-0")
    assert driver.results["b2"].outcome is Outcome.UNTOUCHED
    assert "1 of 5 hosts went wrong, --max-failures allows 0" in driver.results["b2"].reason


def test_the_good_hosts_of_a_wave_go_back_when_the_budget_is_spent() -> None:
    fake = FakeExecutor({"provision": {"a2": "failed"}})
    driver, _ = drive(fake)
    back = fake.calls[-1]
    assert (back[0].playbook, back[1]) == ("rollback", ("a1",))
    wanted = {"service_rollback_to": {"a1": "r-0"}, "receipt_forget_previous": True}
    assert back[0].extra_vars == {"lock_id": "id", "lock_wait": 60, **wanted}
    assert outcomes(driver) == {"c1": "done", "a1": "reverted", "a2": "failed", "b1": "untouched", "b2": "untouched"}
    assert driver.results["a1"].release == "r-0"
    assert "is back on r-0" in driver.results["a1"].reason


@pytest.mark.parametrize("before", [{}, {"a1": "r-1"}])
def test_a_good_host_that_has_nothing_to_go_back_to_stays(before: dict[str, str]) -> None:
    fake = FakeExecutor({"provision": {"a2": "failed"}})
    driver, _ = drive(fake, before=before)
    assert fake.hosts_of("rollback") == []
    assert driver.results["a1"].outcome is Outcome.DONE
    assert "no release before to go back to" in driver.results["a1"].reason


def test_a_way_back_that_fails_is_said_of_the_host() -> None:
    driver, _ = drive(FakeExecutor({"provision": {"a2": "unreachable"}, "rollback": {"a1": "failed"}}))
    assert driver.results["a1"].outcome is Outcome.FAILED
    assert "going back to r-0 did not end well: found no space" in driver.results["a1"].reason


def test_a_host_that_falls_ill_in_the_bake_goes_back_also_within_the_budget() -> None:
    fake = FakeExecutor({"bake": {"a1": "failed"}})
    driver, ended = drive(fake, allowed="1", bake=5.0)
    assert fake.hosts_of("rollback") == ["a1"]
    assert fake.hosts_of("provision") == HOSTS
    assert ended.stop is None
    assert driver.results["a1"].outcome is Outcome.UNHEALTHY
    assert driver.results["a1"].release == "r-0"
    assert "back on r-0" in driver.results["a1"].reason


def test_a_host_that_falls_ill_takes_its_wave_back_beyond_the_budget() -> None:
    fake = FakeExecutor({"bake": {"a1": "timed_out", "a2": "done"}})
    driver, _ = drive(fake, bake=5.0)
    assert fake.hosts_of("rollback") == ["a1", "a2"]
    assert outcomes(driver) == {
        "c1": "done",
        "a1": "unhealthy",
        "a2": "reverted",
        "b1": "untouched",
        "b2": "untouched",
    }


def test_a_host_that_another_run_took_before_the_bake_is_no_bad_one() -> None:
    fake = FakeExecutor({"bake": {"a1": "locked"}})
    driver, ended = drive(fake, bake=5.0)
    assert fake.hosts_of("rollback") == []
    assert ended.stop is Stop.LOCKED
    assert outcomes(driver) == {
        "c1": "done", "a1": "locked", "a2": "done", "b1": "untouched", "b2": "untouched",
    }  # fmt: skip
    assert "another run locked it before it was watched: found the lock of " in driver.results["a1"].reason


def test_a_sick_host_goes_back_before_a_locked_one_ends_the_rollout() -> None:
    fake = FakeExecutor({"bake": {"a1": "locked", "a2": "failed"}})
    driver, ended = drive(fake, allowed="1", bake=5.0)
    assert fake.hosts_of("rollback") == ["a2"]
    assert ended.stop is Stop.LOCKED
    assert fake.hosts_of("provision") == ["c1", "a1", "a2"]
    assert outcomes(driver)["a2"] == "unhealthy"


def test_a_host_that_is_lost_in_the_bake_is_unreachable() -> None:
    driver, ended = drive(FakeExecutor({"bake": {"c1": "unreachable"}}), bake=5.0)
    assert driver.results["c1"].outcome is Outcome.UNREACHABLE
    assert ended.stop is Stop.BUDGET


def test_hosts_that_were_down_before_stop_everything_when_they_spend_the_budget() -> None:
    fake = FakeExecutor()
    driver, ended = drive(fake, beside={"gone": Outcome.UNREACHABLE})
    assert fake.calls == []
    assert ended.stop is Stop.BUDGET
    assert set(outcomes(driver).values()) == {"untouched"}


def test_a_locked_host_ends_the_rollout_after_its_wave_and_takes_nobody_back() -> None:
    fake = FakeExecutor({"provision": {"a1": "locked"}})
    driver, ended = drive(fake)
    assert ended.stop is Stop.LOCKED
    assert fake.hosts_of("rollback") == []
    assert outcomes(driver) == {"c1": "done", "a1": "locked", "a2": "done", "b1": "untouched", "b2": "untouched"}
    assert "eve@other" in driver.results["a1"].reason


def test_a_bake_may_take_longer_than_a_step() -> None:
    fake = FakeExecutor()
    play = Play("provision", task_timeout=10, lock={"lock_id": "id"})
    driver = Driver(fake, play, Interrupts(), Heard())
    driver.watched(["c1"], 3600.0)
    assert fake.calls[0][0].task_timeout > 3600
