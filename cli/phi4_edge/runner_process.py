"""What a run leaves for nobody: its private directory in memory, and every process it started."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

# Every process of a run inherits this variable, whose value is the name of the run's private directory: core's workers
# call setsid(), so no process group holds them all. A shared ssh connection writes its title over its environment, but
# that title is the path of its socket, in the same directory.
MARKER = "PHI4_EDGE_RUN"
_PREFIX = "phi4-edge-run-"
_MIN_FREE = 32 * 1024 * 1024  # Docker gives a container 64 MiB of /dev/shm; events are deleted as they are read
_PROC = Path("/proc")


@contextlib.contextmanager
def private_directory(files: Mapping[str, str]) -> Iterator[Path]:
    """A directory (0700) with the given files (0600), in memory where there is some; gone afterwards.

    Also removes what runs of this user have left that were killed together with their guard.
    """
    parent = _parent()
    _sweep(parent)
    path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent))
    try:
        for name in ("cp", "local"):
            (path / name).mkdir(mode=0o700)
        for name, text in files.items():
            target = path / name
            target.parent.mkdir(mode=0o700, exist_ok=True)
            with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
                out.write(text)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _parent() -> Path:
    for candidate in (Path("/dev/shm"), Path(os.environ.get("XDG_RUNTIME_DIR", "/nonexistent"))):  # noqa: S108
        if candidate.is_dir() and os.access(candidate, os.W_OK) and shutil.disk_usage(candidate).free >= _MIN_FREE:
            return candidate
    return Path(tempfile.gettempdir())


def _sweep(parent: Path) -> None:
    for left in parent.glob(f"{_PREFIX}*"):
        pid = left.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdigit() and not (_PROC / pid).exists() and left.stat().st_uid == os.geteuid():
            clear(left)


@contextlib.contextmanager
def guarded(path: Path) -> Iterator[None]:
    """Even if this process is killed, soon nothing is left of the run whose private directory is `path`.

    Nobody can clean up after SIGKILL, and the run would go on changing hosts: a small process in a session of its own
    waits for the end of this one, which it sees on its standard input.
    """
    guard = subprocess.Popen(
        [sys.executable, "-I", "-S", __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
    )
    assert guard.stdin is not None  # noqa: S101 - it is a pipe
    try:
        # Not as an argument: processes that have the name of the directory in theirs belong to the run.
        os.write(guard.stdin.fileno(), os.fsencode(path))
        yield
    finally:
        guard.kill()  # whoever is alive cleans up by themselves
        guard.communicate()


def clear(path: Path) -> None:
    """No process of the run with this private directory is left, and no file."""
    reap(path.name)
    shutil.rmtree(path, ignore_errors=True)


def family(marker: str) -> set[int]:
    """Processes that carry the marker, and all their descendants (sudo drops the variable). Never this process.

    `marker` is the name of the run's private directory.
    """
    parents: dict[int, int] = {}
    found: set[int] = set()
    for entry in _PROC.iterdir() if _PROC.is_dir() else ():
        if not entry.name.isdigit():
            continue
        pid = int(entry.name)
        try:
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            if state == "Z":
                continue
            parents[pid] = int(parent)
            if _carries(entry, marker.encode()):
                found.add(pid)
        except (OSError, ValueError):
            continue  # it ended while we looked, or belongs to another user
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        found |= more
        grown = bool(more)
    return found - {os.getpid()}


def _carries(entry: Path, marker: bytes) -> bool:
    if marker in (entry / "cmdline").read_bytes():
        return True
    return MARKER.encode() + b"=" + marker in (entry / "environ").read_bytes().split(b"\0")


def reap(marker: str, grace: float = 0.5) -> set[int]:
    """No process of the run is left, except one that may not be killed: those are returned.

    First SIGTERM, so that a shared ssh connection removes its socket; after `grace` seconds SIGKILL. Who is to end is
    decided before the first signal: afterwards orphans without the marker could not be told from strangers.
    """
    left = family(marker)
    _signal(left, signal.SIGTERM)
    end = time.monotonic() + grace
    while left and time.monotonic() < end:
        time.sleep(0.02)
        left = {pid for pid in left if _alive(pid)} | family(marker)
    _signal(left, signal.SIGKILL)
    end = time.monotonic() + grace
    while left and time.monotonic() < end:
        time.sleep(0.02)
        left = {pid for pid in left if _alive(pid)}
    return left


def _signal(pids: set[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _alive(pid: int) -> bool:
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return False


if __name__ == "__main__":
    if guarded_path := sys.stdin.buffer.read():
        clear(Path(os.fsdecode(guarded_path)))
