"""What keeps a rollout from beginning, and what is said of every host then."""

from __future__ import annotations

from phi4_edge.core.budget import Budget
from phi4_edge.core.rollout_machine import Rollout
from phi4_edge.core.wave_plan import Size, Wave
from phi4_edge.core.waves import Outcome
from phi4_edge.rollout.drive_start import locked_out, too_many_down

WAVES = (Wave("canary", 0, ("gw1",)), Wave("wave 1", 1, ("gw2",)))


def test_a_host_that_is_held_keeps_all_others_untouched_and_its_holder_is_named() -> None:
    found = locked_out(["gw1", "gw2"], {"gw2": "the lock of eve@other (provision since noon, pid 7)"})
    assert found["gw1"].outcome is Outcome.UNTOUCHED
    assert "another run holds gw2" in found["gw1"].reason
    assert found["gw2"].outcome is Outcome.LOCKED
    assert "eve@other" in found["gw2"].reason
    assert "--lock-wait" in found["gw2"].next_step


def test_nobody_is_locked_out_where_no_host_is_held() -> None:
    assert locked_out(["gw1"], {}) == {}


def test_too_many_hosts_down_is_said_with_the_ways_out() -> None:
    begun = Rollout.start(WAVES, Budget(Size(0)), 1.0, {"gw3": Outcome.UNREACHABLE})
    found = too_many_down(begun)
    assert list(found) == ["gw1", "gw2"]
    assert {result.outcome for result in found.values()} == {Outcome.UNTOUCHED}
    assert "1 of 3 hosts cannot be used, --max-failures allows 0" in found["gw1"].reason
    assert "--limit 'all,!gw3'" in found["gw1"].next_step
    assert "--max-failures 1" in found["gw1"].next_step
    assert [result.wave for result in found.values()] == [0, 1]


def test_hosts_down_within_the_budget_keep_nobody_back() -> None:
    assert too_many_down(Rollout.start(WAVES, Budget(Size(1)), 1.0, {"gw3": Outcome.UNREACHABLE})) == {}


def test_hosts_that_nothing_fits_are_no_reason_to_stop() -> None:
    assert too_many_down(Rollout.start(WAVES, Budget(Size(0)), 1.0, {"gw3": Outcome.NO_FIT})) == {}
