"""What is said of a host whose way back was ended by a second Ctrl-C."""

from __future__ import annotations

from phi4_edge.rollout import reasons
from phi4_edge.rollout.interpret import untouched
from phi4_edge.rollout.result import HostResult, Outcome


def test_a_host_that_was_changed_is_not_untouched() -> None:
    good = HostResult("gw1", Outcome.DONE, release="r-2", changed=5, seconds=9.0)
    found = reasons.reverted(good, untouched("gw1"), "r-1", "1 of 2 hosts are bad")
    assert (found.outcome, found.release) == (Outcome.INTERRUPTED, "r-2")
    assert "going back to r-1 did not end well" in found.reason
