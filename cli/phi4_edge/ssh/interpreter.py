"""Which Python of a host is used, as a command for its login shell, whichever shell that is."""

from __future__ import annotations

import shlex

from phi4_edge.core.inventory import Host

_FIND = 'p=/usr/bin/python3; [ -x "$p" ] || p=$(command -v python3) || exit 127; "$p" '


def named(host: Host) -> str:
    """The interpreter that the inventory names, "" where the host's own is to be found."""
    python = host.ssh.python
    return "" if python == "auto" or python.startswith("auto_") else python


def ended(host: Host, arguments: str) -> str:
    """The same as `command`, where a signal that ends Python becomes an exit status, as a shell counts it.

    A shell that has nothing left to do gives its process to the last program; what ends that is no status then.
    """
    run = f"{named(host)} {arguments}" if named(host) else _FIND + arguments
    return "sh -c " + shlex.quote(f"{run} || exit $?")


def command(host: Host, arguments: str) -> str:
    """The command that runs the host's Python; `arguments` are for a shell. Exit status 127 without any Python."""
    if named(host):
        return f"{named(host)} {arguments}"
    return "sh -c " + shlex.quote(_FIND + arguments)
