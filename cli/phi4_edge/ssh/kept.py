"""Sessions that stay open after a look, for those who ask the same hosts next."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

from phi4_edge.ssh.wire import Wire

if TYPE_CHECKING:
    from paramiko import Transport

# Each is an open file and a thread; what comes later connects anew.
MOST = 256
ALIVE_SECONDS = 15  # how often an idle session is heard of: what lies between forgets connections that say nothing


class Lender(Protocol):
    """Who has sessions that are open."""

    def get(self, host: str) -> Transport | None:
        """The session of a host, None where there is none that lives."""


class Sessions:
    """Open sessions by host. Whoever makes it closes it: `with Sessions() as kept`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, tuple[Transport, Wire]] = {}

    def add(self, host: str, transport: Transport, wire: Wire) -> None:
        """The session is kept until all are closed, unless there are MOST."""
        with self._lock:
            before = self._open.pop(host, None)
            if len(self._open) < MOST:
                transport.set_keepalive(ALIVE_SECONDS)
                self._open[host] = (transport, wire)
        if before is not None:
            _close(*before)

    def has(self, wire: Wire) -> bool:
        """Whether the session over this wire is kept."""
        with self._lock:
            return any(kept is wire for _, kept in self._open.values())

    def get(self, host: str) -> Transport | None:
        """The session of a host, None where there is none that lives."""
        with self._lock:
            found = self._open.get(host)
        return found[0] if found is not None and found[0].is_active() else None

    def close(self) -> None:
        """All are over."""
        with self._lock:
            sessions, self._open = list(self._open.values()), {}
        for transport, wire in sessions:
            _close(transport, wire)

    def __enter__(self) -> Sessions:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _close(transport: Transport, wire: Wire) -> None:
    transport.close()
    wire.close()
