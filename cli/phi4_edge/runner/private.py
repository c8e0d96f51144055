"""The private directory of a run, in memory where there is some: made, guarded, and swept where one was left.

Where it is made (/dev/shm) everybody may make anything under any name: what is found there is ours only when it is a
real directory of this user, with mode 0700 and exactly such a name. Whoever lives holds a lock on its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from phi4_edge.environment import Need, allowed
from phi4_edge.errors import RunnerError
from phi4_edge.runner import process
from phi4_edge.runner.process import SOCKETS, clear

_PREFIX = "phi4-edge-run-"
# As tempfile.mkdtemp() makes it: the process that made it, and eight characters.
_NAME = re.compile(_PREFIX + r"[0-9]{1,10}-[a-z0-9_]{8}")
_MIN_FREE = 32 * 1024 * 1024  # Docker gives a container 64 MiB of /dev/shm; events are deleted as they are read
# Somebody may fill the folder with names. What is left there then waits for a later sweep.
_MOST_LOOKED_AT = 10_000
_TRIES = 10


@contextlib.contextmanager
def private_directory(files: Mapping[str, str]) -> Iterator[Path]:
    """A directory (0700) with the given files (0600), in memory where there is some; gone afterwards, whatever ends us.

    Also removes what runs of this user have left that were killed together with their guard. Raises RunnerError where
    no such directory can be made.
    """
    memory = [folder for folder in _memory() if _trusted(folder)]
    for folder in memory:
        _sweep(folder)
    try:
        path, lock = _made(next((folder for folder in memory if _roomy(folder)), None) or _on_disk())
    except OSError as error:
        raise _no_place(error.strerror or str(error)) from error
    try:
        with _guarded(path):
            for name in (SOCKETS, "local"):
                _make(path / name)
            write(path, files)
            yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


@contextlib.contextmanager
def subdirectory(path: Path, files: Mapping[str, str]) -> Iterator[Path]:
    """A new directory in a private one, with the given files; gone afterwards. Raises RunnerError for no room."""
    try:
        _make(path)
        write(path, files)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _memory() -> Iterator[Path]:
    """Places that no disk keeps, the best first; each as it really is, behind links that root made."""
    for name in ("/dev/shm", os.environ.get("XDG_RUNTIME_DIR", "")):  # noqa: S108 - what is found there is not trusted
        with contextlib.suppress(OSError):
            if name.startswith("/"):
                yield Path(name).resolve(strict=True)


def _on_disk() -> Path:
    folder = Path(tempfile.gettempdir()).resolve(strict=True)
    if not _trusted(folder):
        raise PermissionError(0, f"others may rename what is made in {folder}")
    return folder


def _trusted(folder: Path) -> bool:
    """Whether this user can make something in `folder` that no other user can replace."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (0, os.geteuid()):
        return False
    kept = not found.st_mode & stat.S_IWOTH or bool(found.st_mode & stat.S_ISVTX)
    return kept and os.access(folder, os.W_OK | os.X_OK)


def _roomy(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free >= _MIN_FREE
    except OSError:
        return False


def _no_place(why: str) -> RunnerError:
    return RunnerError(
        f"found no place for the private files of a run ({why}), needed room in /dev/shm or in a folder of your own: "
        "free some, or name one in TMPDIR"
    )


def _made(parent: Path) -> tuple[Path, int]:
    """A new directory, and the lock that says that its run lives."""
    for _ in range(_TRIES):
        path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent))
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        # A run that sweeps may have seen it before it was locked, and taken it for one that was left.
        if _locked(handle) is not False and _is(path, handle):
            return path, handle
        os.close(handle)
    raise FileExistsError(0, "each directory was taken away at once")


def _locked(handle: int) -> bool | None:
    """Whether nobody else holds the lock, and this process does from now on; None where there are no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(handle))
    except OSError:
        return False


def _make(path: Path) -> None:
    try:
        path.mkdir(mode=0o700)
    except OSError as error:
        raise _no_place(error.strerror or str(error)) from error


def write(path: Path, files: Mapping[str, str]) -> None:
    """The files are in the private directory, none was there before. Raises RunnerError for no room."""
    try:
        for name, text in files.items():
            target = path / name
            target.parent.mkdir(mode=0o700, exist_ok=True)
            with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
                out.write(text)
    except OSError as error:
        raise _no_place(error.strerror or str(error)) from error


def _sweep(parent: Path) -> None:
    """What dead runs of this user left in `parent` is gone; whatever else is there is nobody's business."""
    try:
        with os.scandir(parent) as entries:
            names = [each.name for each in itertools.islice(entries, _MOST_LOOKED_AT) if _NAME.fullmatch(each.name)]
    except OSError:
        return
    for name in names:
        with contextlib.suppress(OSError):  # another run's, which ended meanwhile; or nothing that we may look at
            _sweep_one(parent / name)


def _sweep_one(path: Path) -> None:
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) != 0o700:
        return
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.path.samestat(found, os.fstat(handle)) and _locked(handle) and not _unlocked_run(path):
            clear(path)
    finally:
        os.close(handle)


def _unlocked_run(path: Path) -> bool:
    """Whether the process that made it may be a run of a version that holds no lock: this user's, and alive."""
    pid = path.name.removeprefix(_PREFIX).partition("-")[0]
    with contextlib.suppress(OSError):
        return int(pid) != os.getpid() and Path(f"/proc/{pid}").stat().st_uid == os.geteuid()
    return False


@contextlib.contextmanager
def _guarded(path: Path) -> Iterator[None]:
    """Even if this process is killed, soon nothing is left of the run whose private directory is `path`.

    Nobody can clean up after SIGKILL, and the run would go on changing hosts: a small process in a session of its own
    waits for the end of this one, which it sees on its standard input.
    """
    guard = subprocess.Popen(
        [sys.executable, "-I", "-S", process.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
        env=allowed(os.environ, Need.PROGRAM),
    )
    assert guard.stdin is not None  # noqa: S101 - it is a pipe
    try:
        os.write(guard.stdin.fileno(), os.fsencode(path))
        yield
    finally:
        guard.kill()  # whoever is alive cleans up by themselves
        guard.communicate()
