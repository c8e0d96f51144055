"""A way back: a port of a host's loopback that leads, through one ssh process, to a unix socket of this controller."""

from __future__ import annotations

import re
from pathlib import Path

from phi4_edge.core.inventory import Host
from phi4_edge.errors import UnreachableError
from phi4_edge.ssh import held
from phi4_edge.ssh.held import Held

_PORT = re.compile(rb"^Allocated port ([0-9]{1,5}) for remote forward to ", re.MULTILINE)
# It reads until this process closes its end, or is gone: whatever ends the controller ends the way back too.
_WAIT = "cat >/dev/null"


def command(host: Host, path: Path) -> list[str]:
    """The ssh command that has the host's loopback lead to the socket `path`. Raises UnreachableError as `options`."""
    back = ["-o", "ExitOnForwardFailure=yes", "-R", f"127.0.0.1:0:{path}"]
    return [*held.options(host), *back, "--", host.address, _WAIT]


class Forward:
    """The way back of one host, open until it is closed. `port` is on the host's loopback."""

    def __init__(self, host: Host, path: Path) -> None:
        """Raises UnreachableError, in ssh's own words, where there is none: sshd may forbid it."""
        self._held = Held(command(host, path), _PORT, held.OPEN_SECONDS + host.ssh.timeout)
        self.port = int(self._held.found[1]) if self._held.found else 0
        if not 0 < self.port < 65536:
            self.close()
            raise UnreachableError(f"ssh gave the port {self.port}")

    def close(self) -> None:
        """The process has ended; closing twice does nothing more."""
        self._held.close()

    def __enter__(self) -> Forward:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
