"""Who files on a host belong to: all that we manage is ours, for whoever owns a file can change it."""

from __future__ import annotations

import os


def owner(path: str) -> str:
    """Who the file `path` belongs to, as "uid:gid"."""
    found = os.lstat(path)
    return f"{found.st_uid}:{found.st_gid}"


def our_owner() -> str:
    """Who everything that we write belongs to: the user that runs this, root on a gateway."""
    return f"{os.geteuid()}:{os.getegid()}"
