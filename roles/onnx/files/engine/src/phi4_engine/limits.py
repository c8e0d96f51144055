"""How many connections there may be, and which one has to go.

A connection that has asked for nothing yet, or for nothing more, *waits*; it costs a file and nothing else. When there
is no room, the one that has waited longest gives way to the new one. So whoever holds idle connections keeps nobody
out, and those that are being answered are never cut. Beyond them a few more are kept for looks at `/health`.
"""

from __future__ import annotations

import logging
import resource
import time
from collections.abc import Callable
from typing import Protocol

log = logging.getLogger("phi4_engine")

RESERVE = 32
"""Connections beyond the limit, for looks at the health."""
OTHER_FILES = 160
"""What the process has open besides: pipes, libraries, the journal, and connections between accept and their end."""
LOG_SECONDS = 10.0


class Guest(Protocol):
    """A connection, as far as this matters."""

    reserved: bool
    """It came when there was room only for looks at the health."""

    def give_way(self) -> None:
        """It ends at once."""


class Rare:
    """A line for the log at most once in ten seconds, with how often it would have been written."""

    def __init__(self, text: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._text = text
        self._clock = clock
        self._count = 0
        self._next = 0.0

    def log(self, *details: object) -> None:
        """Counts one; `details` are those of the last."""
        self._count += 1
        if self._clock() >= self._next:
            log.warning(self._text, self._count, *details)
            self._count, self._next = 0, self._clock() + LOG_SECONDS


class Limits:
    """Who is connected: at most `limit`, and `reserve` more for looks at the health."""

    def __init__(self, limit: int, reserve: int = RESERVE) -> None:
        self._rooms = {False: limit, True: reserve}
        self._here: dict[bool, set[Guest]] = {False: set(), True: set()}
        # In the order in which they began to wait.
        self._waiting: dict[bool, dict[Guest, None]] = {False: {}, True: {}}
        self._ended = Rare("%d connections were ended in the last while to make room for others (limit %d)")

    def __len__(self) -> int:
        return sum(map(len, self._here.values()))

    def admit(self, connection: Guest) -> bool:
        """Whether there is room; `connection.reserved` says afterwards of which kind."""
        for reserved in (False, True):
            room = self._rooms[reserved]
            if len(self._here[reserved]) >= room and self._waiting[reserved]:
                self._end(next(iter(self._waiting[reserved])))
            if len(self._here[reserved]) < room:
                connection.reserved = reserved
                self._here[reserved].add(connection)
                return True
        return False

    def waits(self, connection: Guest, waiting: bool) -> None:
        """The connection begins to wait, or does not wait any more."""
        if connection not in self._here[connection.reserved]:
            return
        self._waiting[connection.reserved].pop(connection, None)
        if waiting:
            self._waiting[connection.reserved][connection] = None

    def leave(self, connection: Guest) -> None:
        """The connection has ended, or is about to."""
        self._here[connection.reserved].discard(connection)
        self._waiting[connection.reserved].pop(connection, None)

    def shed(self, count: int) -> None:
        """Those that have waited longest end: there are no files left for others."""
        for connection in list(self._waiting[False])[:count]:
            self._end(connection)

    def _end(self, connection: Guest) -> None:
        self.leave(connection)
        connection.give_way()
        self._ended.log(self._rooms[False])


def affordable(wanted: int) -> int:
    """How many connections the limit on open files allows, at most `wanted`; the soft limit is raised where it can be.

    Says so in the log when it is fewer.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = wanted + RESERVE + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < need:
        soft = need if hard == resource.RLIM_INFINITY else min(hard, need)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= need:
        return wanted
    possible = max(1, soft - RESERVE - OTHER_FILES)
    log.warning("%d open files allow %d connections, not %d: raise LimitNOFILE=", soft, possible, wanted)
    return possible
