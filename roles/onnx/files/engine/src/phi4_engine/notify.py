"""systemd's notification protocol (sd_notify(3)), which is one datagram; without systemd nothing is sent."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

log = logging.getLogger("phi4_engine")


class Notifier:
    """Tells the service manager what the service is doing."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        # Open from the start: where no file is left later, the watchdog must hear of us all the same.
        self._channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) if path else None
        if self._channel is not None:
            self._channel.setblocking(False)  # a manager that does not read must not stop this process
        self.watchdog_seconds = _watchdog_seconds(environ)
        """Interval in seconds at which the manager wants to hear from this process; None when it does not listen."""

    def send(self, *assignments: str) -> None:
        """Sends lines like READY=1. A manager that cannot be reached is logged: it will act on the silence itself."""
        if self._channel is None:
            return
        try:
            self._channel.sendto("\n".join(assignments).encode(), self._address)
        except OSError as error:
            log.warning("cannot notify the service manager: %s", error)


def _watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    """Half of the manager's limit, as sd_watchdog_enabled(3) recommends."""
    usec, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not usec.isdigit() or int(usec) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(usec) / 2_000_000
