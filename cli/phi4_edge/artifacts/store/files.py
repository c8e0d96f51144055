"""Small file operations that survive a power cut: written fully or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any


def write_json(path: Path, document: Any, mode: int = 0o666) -> None:
    """Replace `path` by `document` as JSON, as `write_text` does."""
    write_text(path, json.dumps(document, indent=2, sort_keys=True) + "\n", mode)


def write_text(path: Path, text: str, mode: int = 0o666) -> None:
    """Replace `path` by `text`; a reader sees the old or the new text, never a part.

    `mode`: who may read it, within what the umask leaves.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_fresh(path: Path, raw: bytes) -> None:
    """Have `raw` at `path` as a file of its own: what has other names, or is being read, keeps its bytes.

    For what is made durable with its folder; see `sync_tree`.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        temporary.write_bytes(raw)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_plain(path: Path, limit: int) -> bytes | None:
    """At most `limit` bytes of the file at `path`; None where there is none: a link does not count."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(handle).st_mode):  # a folder could not even be made a stream
        os.close(handle)
        return None
    with os.fdopen(handle, "rb") as stream:
        return stream.read(limit)


class NotOwnError(ValueError):
    """A file that somebody else may have written, or read where it is private, or that is no file."""


def read_own(path: Path, most: int, private: bool = False) -> bytes | None:
    """The file at `path`, None where there is none; one byte more than `most` of a larger one.

    Raises NotOwnError where others than this user and root may write it, or may read it where it has to be `private`;
    OSError for a link and what cannot be read.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    found = os.fstat(handle)
    others, may = (0o077, "read or written") if private else (0o022, "written")
    if not stat.S_ISREG(found.st_mode) or found.st_uid not in (0, os.geteuid()) or found.st_mode & others:
        os.close(handle)
        raise NotOwnError(f"{path} is no file, or may be {may} by others than its owner")
    with os.fdopen(handle, "rb") as stream:
        return stream.read(most + 1)


def sync_folder(path: Path) -> None:
    """Make the names in the folder `path` durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path, executables: Collection[str] = ()) -> None:
    """Make every file below `folder` durable, readable for all and writable for its owner only.

    `executables` are relative paths of files that may also be executed; symbolic links are left as they are.
    """
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            continue
        runs = path.is_dir() or path.relative_to(folder).as_posix() in executables
        path.chmod(0o755 if runs else 0o644)
        if path.is_dir():
            sync_folder(path)
            continue
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
    folder.chmod(0o755)
    sync_folder(folder)


def erase(path: Path) -> None:
    """Remove a file or a whole folder; nothing to do when it is not there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: Path, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock file `path`, waiting for its holder; `on_wait` is called once before waiting.

    The kernel frees the lock when its holder dies, so a killed run never leaves one behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if on_wait:
                on_wait()
            fcntl.flock(stream, fcntl.LOCK_EX)
        try:
            yield
        finally:
            # Closing would leave it to a program that another thread is starting right now, which has the file too.
            fcntl.flock(stream, fcntl.LOCK_UN)


def try_lock(path: Path) -> bool:
    """Whether nobody holds the lock file `path` at this moment."""
    with path.open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def lock_of(folder: Path) -> Path:
    """The lock file of whoever works in `folder`, beside it."""
    return folder.with_name(f"{folder.name}.lock")


def abandoned(folder: Path) -> list[Path]:
    """What lies in `folder` and belongs to no living process; lock files without what they are for among it."""
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.suffix == ".lock":
            if not path.with_suffix("").exists() and try_lock(path):
                found.append(path)
        elif not lock_of(path).exists() or try_lock(lock_of(path)):
            found.append(path)
    return found


def sweep(folder: Path) -> None:
    """Remove what killed processes left in `folder`."""
    for path in abandoned(folder):
        erase(path)
        if path.suffix != ".lock":
            lock_of(path).unlink(missing_ok=True)
