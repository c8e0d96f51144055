"""Sockets that systemd listens on for this service (sd_listen_fds(3)): handed over as open files, from number 3 on.

The port belongs to systemd then. It is never free, also not while this process is restarted, and what arrives in
between waits in the kernel.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import MutableMapping

from phi4_engine.errors import ConfigurationError

FIRST_FILE = 3
"""SD_LISTEN_FDS_START."""
MOST_FILES = 16
"""A socket unit with more addresses than this is no unit for this engine."""


def take(environ: MutableMapping[str, str]) -> list[socket.socket]:
    """The sockets that were handed to this process; none when there are none, or when they are another process's.

    The variables are gone afterwards and the files are not inherited, so that the model process gets neither. Raises
    ConfigurationError for a file that is no listening TCP socket.
    """
    pid, count, names = (environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    environ.pop("LISTEN_PIDFDID", None)  # systemd 259 and later
    if pid != str(os.getpid()) or not count:
        return []
    if not (count.isascii() and count.isdigit() and len(count) <= 3 and int(count) <= MOST_FILES):
        raise ConfigurationError(f"LISTEN_FDS is {count[:40]!r}: it must be a whole number up to {MOST_FILES}")
    labels = [label if label.isprintable() else "unknown" for label in names.split(":")]
    return [
        _listening(FIRST_FILE + index, labels[index] if index < len(labels) else "unknown")
        for index in range(int(count))
    ]


def _listening(number: int, label: str) -> socket.socket:
    """The open file `number` as a socket that is not inherited."""
    try:
        if not stat.S_ISSOCK(os.fstat(number).st_mode):
            raise OSError("no socket")
        os.set_inheritable(number, False)
        channel = socket.socket(fileno=number)
    except OSError as error:
        raise _refused(number, label, str(error.strerror or error)) from error
    if channel.family not in (socket.AF_INET, socket.AF_INET6) or channel.type != socket.SOCK_STREAM:
        raise _refused(number, label, f"a socket of {channel.family.name} and {channel.type.name}")
    if not channel.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise _refused(number, label, "a socket that does not listen")
    return channel


def _refused(number: int, label: str, found: str) -> ConfigurationError:
    return ConfigurationError(
        f"systemd handed over file {number} ({label[:40]}): found {found}, needed a listening TCP socket; "
        "correct the socket unit (ListenStream=, Accept=no)"
    )
