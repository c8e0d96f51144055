"""The truth table of a rollout: every mix of outcomes in a wave of two, with every budget.

Ansible's own `max_fail_percentage` and `any_errors_fatal` let the next batch run in several of these rows.
"""

from __future__ import annotations

import itertools

import pytest

from phi4_edge.core.rollout.budget import Budget
from phi4_edge.core.rollout.machine import Rollout, Stop
from phi4_edge.core.rollout.waves import Size, Wave
from phi4_edge.rollout.apply import Play
from phi4_edge.rollout.drive import Driver, Watch
from phi4_edge.rollout.interrupt import Interrupts
from tests.unit.rollout.fake_executor import FakeExecutor

BAD = ("failed", "unreachable", "timed_out", "rolled_back", "unhealthy", "lost")
NAMES = ("a1", "a2")
ENDS = ("done", "unchanged", *BAD)
BUDGETS = ("0", "1", "2", "0%", "20%", "30%", "50%", "100%")
# Of four hosts: bad ones that stop the rollout, by budget; of a percentage at least ten or all hosts are the sample.
STOPS_AT = {"0": 1, "1": 2, "2": 3, "0%": 1, "20%": 1, "30%": 2, "50%": 3, "100%": 5}


class Blind:
    """Sees nothing."""

    def __getattr__(self, name: str) -> object:
        return lambda *arguments, **named: None


def play(mix: tuple[str, ...], budget: str, skip: bool = False) -> tuple[FakeExecutor, Driver, Rollout]:
    """A wave that ends as `mix` says, and a good one after it. Unhealthy and lost show in the bake."""
    plays = {
        "provision": {host: end for host, end in zip(NAMES, mix, strict=True) if end in (*ENDS[:-2], "locked")},
        "bake": {
            host: {"unhealthy": "failed", "lost": "unreachable"}[end]
            for host, end in zip(NAMES, mix, strict=True)
            if end in ENDS[-2:]
        },
    }
    fake = FakeExecutor(plays)
    view: Watch = Blind()  # type: ignore[assignment]
    job = Play("provision", releases=dict.fromkeys(("a1", "a2", "b1", "b2"), "r-1"), lock={"lock_id": "id"})
    driver = Driver(fake, job, Interrupts(), view, before=dict.fromkeys(("a1", "a2", "b1", "b2"), "r-0"))
    waves = (Wave("wave 1", 0, NAMES), Wave("wave 2", 1, ("b1", "b2")))
    return fake, driver, driver.run(Rollout.start(waves, Budget(Size.parse(budget)), 1.0, {}, skip))


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("mix", list(itertools.product(ENDS, repeat=2)), ids="-".join)
def test_the_next_wave_runs_exactly_when_the_budget_allows_it(mix: tuple[str, ...], budget: str) -> None:
    fake, driver, ended = play(mix, budget)
    at_once = sum(end in BAD[:-2] for end in mix) >= STOPS_AT[budget]
    # No bake any more: what would have shown in it is a good host that goes back.
    seen = {host: "done" if at_once and end in BAD[-2:] else end for host, end in zip(NAMES, mix, strict=True)}
    bad = sum(end in BAD for end in seen.values())
    stops = bad >= STOPS_AT[budget]
    touched = {host for _, hosts in fake.calls for host in hosts}
    assert touched == ({"a1", "a2"} if stops else {"a1", "a2", "b1", "b2"})
    assert ended.stop is (Stop.BUDGET if stops else None)
    assert ended.bad == bad
    back = {host for host, end in seen.items() if end == "unhealthy" or (end == "done" and stops)}
    assert set(fake.hosts_of("rollback")) == back
    for host, end in seen.items():
        wanted = {"lost": "unreachable"}.get(end, "reverted" if end == "done" and stops else end)
        assert driver.results[host].outcome == wanted
    assert {str(driver.results[host].outcome) for host in ("b1", "b2")} == {"untouched" if stops else "done"}


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("other", [*ENDS[:-2], "locked"])
def test_a_locked_host_counts_as_one_or_is_skipped_and_takes_nobody_back(other: str, budget: str, skip: bool) -> None:
    fake, driver, ended = play(("locked", other), budget, skip)
    bad = int(other in BAD)
    held = 0 if skip else 1 + (other == "locked")
    stops, alone = bad + held >= STOPS_AT[budget], bad >= STOPS_AT[budget]
    assert ended.stop is ((Stop.BUDGET if alone else Stop.LOCKED) if stops else None)
    assert ended.bad == bad + held
    assert fake.hosts_of("rollback") == []
    assert [str(driver.results[host].outcome) for host in NAMES] == ["locked", other]
    assert {str(driver.results[host].outcome) for host in ("b1", "b2")} == {"untouched" if stops else "done"}
    if stops and not alone:
        assert "--skip-locked" in driver.results["b1"].next_step
