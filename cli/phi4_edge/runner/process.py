"""The processes of a run: exactly which they are, and that none of them is left.

Runs alone as the guard of a run (`python -I -S process.py`), so it imports the standard library only.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

# Every process of a run inherits this variable, whose value is the name of the run's private directory: core's workers
# call setsid(), so no process group holds them all.
MARKER = "PHI4_EDGE_RUN"
# A shared ssh connection writes its title over its environment: "ssh: <socket> [mux]", padded with zeros. The socket is
# in this folder of the private directory.
SOCKETS = "cp"
_PROC = Path("/proc")


class Process(NamedTuple):
    """One process, and not another one that got its number later: `started` is in clock ticks since the boot."""

    pid: int
    started: int


class _Seen(NamedTuple):
    """What /proc says of a process that is no zombie."""

    process: Process
    parent: int


def clear(directory: Path) -> None:
    """No process of the run with this private directory is left, and no file."""
    reap(directory)
    shutil.rmtree(directory, ignore_errors=True)


def family(directory: Path) -> set[int]:
    """Processes of the run with this private directory, and all their descendants. Never this process."""
    return {process.pid for process in _members(directory)}


def reap(directory: Path, grace: float = 0.5, spared: Collection[int] = ()) -> set[int]:
    """No process of the run is left but those `spared`, except one that may not be killed: those are returned.

    First SIGTERM, so that a shared ssh connection removes its socket; after `grace` seconds SIGKILL. Who is to end is
    decided before the first signal: afterwards orphans without the marker could not be told from strangers.
    """
    left = _members(directory, spared)
    _signal(left, signal.SIGTERM)
    end = time.monotonic() + grace
    while left and time.monotonic() < end:
        time.sleep(0.02)
        left = _alive(left) or _members(directory, spared)
    left |= _members(directory, spared) if left else set()
    _signal(left, signal.SIGKILL)
    end = time.monotonic() + grace
    while left and time.monotonic() < end:
        time.sleep(0.02)
        left = _alive(left)
    return {process.pid for process in left}


def _members(directory: Path, spared: Collection[int] = ()) -> set[Process]:
    """Who carries the marker, and whoever descends from them: sudo drops the variable."""
    children: dict[int, list[Process]] = {}
    found: set[Process] = set()
    for seen in _all():
        children.setdefault(seen.parent, []).append(seen.process)
        if _carries(seen.process.pid, directory):
            found.add(seen.process)
    new = list(found)
    while new:
        more = set(children.get(new.pop().pid, ())) - found
        found |= more
        new += more
    return {process for process in found if process.pid not in {os.getpid(), *spared}}


def _all() -> Iterator[_Seen]:
    for entry in _PROC.iterdir() if _PROC.is_dir() else ():
        if re.fullmatch("[0-9]+", entry.name) and (seen := _look(int(entry.name))):
            yield seen


def _look(pid: int) -> _Seen | None:
    """None for a process that has ended, or that this user cannot look at."""
    try:
        # The name before the last ")" is of the process' own choice.
        words = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
        return None if words[0] in b"ZX" else _Seen(Process(pid, int(words[19])), int(words[1]))
    except (OSError, IndexError, ValueError):
        return None


def _carries(pid: int, directory: Path) -> bool:
    """Whether a process says itself that it belongs to the run. What another user's says does not count."""
    entry = _PROC / str(pid)
    name = os.fsencode(directory.name)
    try:
        marked = MARKER.encode() + b"=" + name in (entry / "environ").read_bytes().split(b"\0")
    except OSError:
        marked = False  # another user's, or one that nobody may look into
    try:
        return (marked or _is_connection(entry, directory)) and _user(entry) == os.getuid()
    except OSError:
        return False


def _is_connection(entry: Path, directory: Path) -> bool:
    title = (entry / "cmdline").read_bytes().rstrip(b"\0")
    sockets = re.escape(os.fsencode(directory / SOCKETS))
    return re.fullmatch(rb"ssh: " + sockets + rb"/[^/]+ \[mux\]", title) is not None


def _user(entry: Path) -> int:
    """The real user of a process, which its own directory in /proc does not tell of every process."""
    found = re.search(rb"^Uid:\s+([0-9]+)", (entry / "status").read_bytes(), re.MULTILINE)
    return int(found[1]) if found else -1


def _signal(processes: Iterable[Process], number: signal.Signals) -> None:
    for process in _alive(processes):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process.pid, number)


def _alive(processes: Iterable[Process]) -> set[Process]:
    return {process for process in processes if (seen := _look(process.pid)) and seen.process == process}


if __name__ == "__main__":
    if guarded_path := sys.stdin.buffer.read():
        clear(Path(os.fsdecode(guarded_path)))
