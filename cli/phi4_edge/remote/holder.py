"""This run as the holder of a lock: the process that runs it, and who and where that is."""

from __future__ import annotations

import getpass
import os
import socket
from pathlib import Path
from typing import Any

from phi4_edge import __version__


def controller(pid: int) -> dict[str, Any]:
    """The process that does the run, so that whoever is on the same machine can see whether it lives."""
    boot, space = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    return {
        "boot_id": boot.read_text().strip() if boot.exists() else "",
        "space": str(space.readlink()) if space.is_symlink() else "",
        "pid": pid,
        "start": started(pid),
    }


def started(pid: int) -> int:
    """When a process began, in clock ticks since boot; 0 where there is none."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


def here() -> dict[str, str]:
    """User, host and version of this machine; a container may run as a user that has no name."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return {"user": user, "host": socket.gethostname(), "version": __version__}
