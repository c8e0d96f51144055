"""Small files in /run that only root may have made: what lies there is looked at before it is believed.

Sent in front of the script that uses it; Python 3.8 or newer, standard library only.
"""

from __future__ import annotations

import errno
import os
import stat

from hostlib import HostError

_BLOCK = 65536


def trusted(found: os.stat_result) -> bool:
    """Whether only root, or this user, could have written it."""
    mine = found.st_uid in (0, os.geteuid())
    return stat.S_ISREG(found.st_mode) and mine and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def read_private(path: str, limit: int) -> bytes | None:
    """The first `limit` bytes of the file; None where there is none, or one that somebody else could have written."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if not trusted(os.fstat(handle)):
            return None
        data = b""
        while len(data) < limit:
            block = os.read(handle, min(_BLOCK, limit - len(data)))
            if not block:
                break
            data += block
        return data
    finally:
        os.close(handle)


def lock_file(path: str) -> int:
    """A handle of a file that nobody else can open, and so nobody else can lock; it is made when it is missing.

    Raises HostError for anything else that lies there.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EACCES):
            raise strange(path) from None
        raise
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink != 1:
        os.close(handle)
        raise strange(path)
    if found.st_mode & 0o077:
        os.fchmod(handle, 0o600)
    return handle


def strange(path: str) -> HostError:
    """What is said of something that others put where a file of ours belongs."""
    return HostError(f"{path} is not a file of uid {os.geteuid()} alone: move it away")


def write_new(path: str, text: str) -> None:
    """A file with this text that was not there before. Raises OSError where something lies there."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w") as stream:
        stream.write(text)
