"""Memory of a command and of all that it started: what a flood must not fill."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def measured(pid: int) -> Iterator[list[int]]:
    """The most memory (bytes, shared pages counted once) that a process and its children had, hostile hosts aside."""
    most, done = [0], threading.Event()

    def look() -> None:
        while not done.wait(0.5):
            most[0] = max(most[0], sum(map(held, family(pid))))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        done.set()
        thread.join()


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    parents: dict[int, list[int]] = {}
    # Not by a pattern: pathlib looks at each match, and fails where one ended a moment ago.
    for name in filter(str.isdigit, (entry.name for entry in Path("/proc").iterdir())):
        with contextlib.suppress(OSError, ValueError):
            fields = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()
            parents.setdefault(int(fields[1]), []).append(int(name))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def held(pid: int) -> int:
    """Bytes of a process, its part of what it shares; 0 for one that is gone or is a hostile host."""
    with contextlib.suppress(OSError):
        if b"hostile/actor.py" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return 0
        found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
        return int(found[1]) * 1024 if found else 0
    return 0
