"""The processes that a side starts: their CPU, their end, the memory of a program and all below it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_TICKS = os.sysconf("SC_CLK_TCK")
LOOK_SECONDS = 0.2


def adopt() -> None:
    """From now on, what loses its parent below us becomes a child of ours."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def cpu() -> float:
    """CPU seconds of all children of ours, those that have ended and those that run now."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    running = sum(int(field) for stat in _children().values() for field in stat[11:15])
    return used.ru_utime + used.ru_stime + running / _TICKS


def end_leftovers() -> None:
    """End what a side left running (SSH connections that were to persist): its CPU counts, the next run starts cold."""
    while True:
        for pid in _children():
            with contextlib.suppress(OSError):  # it ended meanwhile
                os.kill(pid, signal.SIGTERM)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _children() -> dict[int, list[str]]:
    """Our children: /proc/PID/stat from the state on."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[1]) == os.getpid():
                found[int(path.parent.name)] = fields
    return found


@dataclass(frozen=True)
class Watched:
    """A finished program: seconds, CPU seconds, and the greatest memory (bytes) of itself and of all below it."""

    code: int
    out: str
    err: str
    seconds: float
    cpu: float
    own: int
    tree: int


def watched(command: Sequence[str], env: Mapping[str, str], folder: Path) -> Watched:
    """Run a program to its end and look at its memory meanwhile."""
    used, begun = cpu(), time.perf_counter()
    process = subprocess.Popen(
        command, env=env, cwd=folder, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    peak = [0, 0]
    watcher = threading.Thread(target=_watch, args=(process, peak), daemon=True)
    watcher.start()
    try:
        out, err = process.communicate()
    finally:
        process.kill()
    seconds = time.perf_counter() - begun
    watcher.join()
    end_leftovers()
    return Watched(process.returncode, out, err, seconds, cpu() - used, peak[0], peak[1])


def _watch(process: subprocess.Popen[str], peak: list[int]) -> None:
    """`peak` holds the greatest memory that was seen."""
    while process.poll() is None:
        tree = list(family(process.pid))
        peak[0] = max(peak[0], _memory(process.pid))
        peak[1] = max(peak[1], sum(_memory(pid) for pid in tree))
        time.sleep(LOOK_SECONDS)


def family(pid: int) -> Iterator[int]:
    """It, and all below it that are there."""
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue  # it ended meanwhile
        for child in children:
            yield from family(int(child))


def _memory(pid: int) -> int:
    """Proportional set size in bytes: what is shared by forks counts once; 0 for a process that has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
