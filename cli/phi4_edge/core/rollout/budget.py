"""The failure budget of a rollout: how many hosts may turn out bad before it stops."""

from __future__ import annotations

from dataclasses import dataclass

from phi4_edge.core.rollout.waves import Size


@dataclass(frozen=True, slots=True)
class Budget:
    """How many bad hosts are accepted.

    A percentage is one of the hosts that were tried, and of `minimum_sample` hosts at least: the first bad host of
    two is not 50 % of a fleet.
    """

    size: Size
    minimum_sample: int = 10

    def exceeded(self, bad: int, finished: int, total: int) -> bool:
        """Return whether `bad` hosts of the `finished` ones are too many in a rollout over `total` hosts."""
        if not self.size.percent:
            return bad > self.size.number
        return bad * 100 > self.size.number * max(finished, min(self.minimum_sample, total))

    def __str__(self) -> str:
        return str(self.size)
