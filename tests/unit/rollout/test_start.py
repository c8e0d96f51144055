"""What keeps a rollout from beginning, and what is said of every host then."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from phi4_edge.core.facts.journal import Lock
from phi4_edge.core.rollout.budget import Budget
from phi4_edge.core.rollout.machine import Rollout
from phi4_edge.core.rollout.outcome import Outcome
from phi4_edge.core.rollout.waves import Size, Wave
from phi4_edge.rollout.start import held, too_many_down

WAVES = (Wave("canary", 0, ("gw1",)), Wave("wave 1", 1, ("gw2",)))


def test_a_host_that_says_it_is_held_is_locked_and_no_other() -> None:
    eve = Lock("held", "x", "eve", "other", 7, "provision", "1", "noon")
    states = {"gw1": Lock(), "gw2": eve, "gw3": replace(eve, state="ending"), "gw4": replace(eve, state="stale")}
    found = held({host: SimpleNamespace(lock=lock) for host, lock in states.items()})  # type: ignore[misc]
    assert list(found) == ["gw2"]
    assert found["gw2"].outcome is Outcome.LOCKED
    assert "according to this host, by eve@other (provision since noon, pid 7)" in found["gw2"].reason
    assert "--lock-wait" in found["gw2"].next_step


def test_held_hosts_beyond_the_budget_are_said_to_be_so_by_their_own_word() -> None:
    begun = Rollout.start(WAVES, Budget(Size(0)), 1.0, {"gw3": Outcome.LOCKED})
    found = too_many_down(begun)
    assert {result.outcome for result in found.values()} == {Outcome.UNTOUCHED}
    assert "gw3: locked by another run, as they report" in found["gw1"].reason
    assert "--skip-locked" in found["gw1"].next_step and "--limit 'all,!gw3'" in found["gw1"].next_step
    assert too_many_down(Rollout.start(WAVES, Budget(Size(1)), 1.0, {"gw3": Outcome.LOCKED})) == {}
    assert too_many_down(Rollout.start(WAVES, Budget(Size(0)), 1.0, {"gw3": Outcome.LOCKED}, skip_locked=True)) == {}


def test_too_many_hosts_down_is_said_with_the_ways_out() -> None:
    begun = Rollout.start(WAVES, Budget(Size(0)), 1.0, {"gw3": Outcome.UNREACHABLE})
    found = too_many_down(begun)
    assert list(found) == ["gw1", "gw2"]
    assert {result.outcome for result in found.values()} == {Outcome.UNTOUCHED}
    assert "1 of 3 hosts cannot be used, --max-failures allows 0" in found["gw1"].reason
    assert "--limit 'all,!gw3'" in found["gw1"].next_step
    assert "--max-failures 1" in found["gw1"].next_step
    assert [result.wave for result in found.values()] == [0, 1]


@pytest.mark.parametrize(
    ("limit", "advised"),
    [("eu_*", "'eu_*,!gw3'"), ("eu_1:&gw", "'eu_1:&gw:!gw3'"), ("a,b:c", "'a,b:c,!gw3'"), (None, "'all,!gw3'")],
)
def test_leaving_hosts_out_reaches_no_host_beyond_the_limit(limit: str | None, advised: str) -> None:
    begun = Rollout.start(WAVES, Budget(Size(0)), 1.0, {"gw3": Outcome.UNREACHABLE})
    assert f"(--limit {advised})" in too_many_down(begun, limit)["gw1"].next_step


def test_a_command_that_would_leave_out_only_some_is_not_advised() -> None:
    down = dict.fromkeys([f"down{number}" for number in range(6)], Outcome.UNREACHABLE)
    step = too_many_down(Rollout.start(WAVES, Budget(Size(0)), 1.0, down))["gw1"].next_step
    assert "leave them out with --limit, or allow them: --max-failures 6" in step


def test_hosts_down_within_the_budget_keep_nobody_back() -> None:
    assert too_many_down(Rollout.start(WAVES, Budget(Size(1)), 1.0, {"gw3": Outcome.UNREACHABLE})) == {}


def test_hosts_that_nothing_fits_are_no_reason_to_stop() -> None:
    assert too_many_down(Rollout.start(WAVES, Budget(Size(0)), 1.0, {"gw3": Outcome.NO_FIT})) == {}
