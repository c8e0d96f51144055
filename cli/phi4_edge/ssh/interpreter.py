"""Which Python of a host is used, as a command for its login shell, whichever shell that is."""

from __future__ import annotations

import shlex

from phi4_edge.core.inventory import Host

_FIND = 'p=/usr/bin/python3; [ -x "$p" ] || p=$(command -v python3) || exit 127; "$p" '


def command(host: Host, arguments: str) -> str:
    """The command that runs the host's Python; `arguments` are for a shell. Exit status 127 without any Python."""
    named = host.ssh.python
    if named and named != "auto" and not named.startswith("auto_"):
        return f"{named} {arguments}"
    return "sh -c " + shlex.quote(_FIND + arguments)
