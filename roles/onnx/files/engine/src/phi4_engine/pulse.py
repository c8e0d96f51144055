"""How long the model process may be silent before it counts as hung."""

from __future__ import annotations

import time
from collections.abc import Callable

LEAST_SECONDS = 20.0
MOST_SECONDS = 300.0
"""A host that stood still for a while once must not make every later fault take hours to be noticed."""
PIECES = 20
"""The limit in units of the slowest piece of work seen: one that is twenty times as slow as any before it has hung."""


class Pulse:
    """Signs of life of one process. A piece of work is what it does between two of them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._heard = self._began = clock()
        self._slowest = 0.0

    def begins(self) -> None:
        """Work comes to a process that has none: what it waited is no piece of it."""
        self._began = self._clock()

    def heard(self, *, working: bool) -> None:
        """It has said something; while `working`, it has done a piece of work since the last time."""
        now = self._clock()
        if working:
            self.learn(now - max(self._heard, self._began))
        self._heard = now

    def learn(self, seconds: float) -> None:
        """A piece of work may take so long."""
        self._slowest = max(self._slowest, seconds)

    @property
    def limit(self) -> float:
        """Seconds of silence after which it is hung."""
        return min(max(LEAST_SECONDS, PIECES * self._slowest), max(LEAST_SECONDS, MOST_SECONDS))

    @property
    def stalled(self) -> bool:
        """It has been silent for half the limit: nothing should be sent to it, and nobody told that all is well."""
        return self._clock() - self._heard >= self.limit / 2

    @property
    def hung(self) -> bool:
        """It has been silent for longer than any work takes."""
        return self._clock() - self._heard >= self.limit
