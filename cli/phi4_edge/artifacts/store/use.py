"""Who needs what of the store: shared locks, so that nothing is pruned under a process that needs it.

A process holds what it uses from before it looks whether that is there; who removes holds it alone. The kernel frees
both when a process dies. A thing is named by its path in the store, such as `wheelhouses/<runtime id>`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import weakref
from collections.abc import Iterator
from pathlib import Path

_PREFIX, _SUFFIX = "use-", ".lock"


class Uses:
    """What this process needs, for as long as this object lives."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._held: dict[str, int] = {}
        weakref.finalize(self, _close, self._held)

    def hold(self, thing: str) -> None:
        """Nobody prunes `thing` from now on, there or not; waits for one that is removing it.

        A store that this user may only read is left as it is: it is not this user who prunes it.
        """
        if thing in self._held:
            return
        try:
            handle = _locked(_path(self._root, thing), fcntl.LOCK_SH)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                return
            raise
        assert handle is not None, "it was waited for"  # noqa: S101
        self._held[thing] = handle


@contextlib.contextmanager
def alone(root: Path, thing: str) -> Iterator[bool]:
    """True while no process uses `thing`: none can begin to until this ends. False when one does.

    The lock's own file goes with a thing that is gone afterwards.
    """
    path = _path(root, thing)
    handle = _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if handle is None:
        yield False
        return
    try:
        yield True
    finally:
        if not (root / thing).exists():
            path.unlink(missing_ok=True)
        os.close(handle)


def _locked(path: Path, how: int) -> int | None:
    """A handle of the lock file that holds it in this way; None where somebody else does and it is not waited for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, how)
            if _is(handle, path):
                return handle
        except BlockingIOError:
            os.close(handle)
            return None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # who removed the thing removed this file too: the next one counts


def _is(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _path(root: Path, thing: str) -> Path:
    return root / "locks" / f"{_PREFIX}{thing.replace('/', '_')}{_SUFFIX}"


def _close(held: dict[str, int]) -> None:
    for handle in held.values():
        os.close(handle)
    held.clear()
