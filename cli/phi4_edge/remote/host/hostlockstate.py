"""Whether a host is locked, by whom, and whether that run still lives: what the probe and the lock itself both ask.

Python 3.8, standard library. Also sent as a part of the probe, one text with it: the names begin with `lock_`.

Ages are of CLOCK_BOOTTIME, which nobody sets and which counts while the host sleeps; the wall clock does neither.
"""

from __future__ import annotations

import json
import os
import stat
import time
from typing import Any, Dict

Json = Dict[str, Any]

LOCK_FORMAT = "phi4-edge/lock/1"
LOCK_BEAT = "/run/phi4-edge-lock.json"  # in memory: a heartbeat must not wear out an SD card
LOCK_LIMIT = 16 * 1024
LOCK_JOURNAL_LIMIT = 128 * 1024  # 40 records, each with an error of up to 500 characters
LOCK_STALE_SECONDS = 30.0
LOCK_TEXTS = ("id", "user", "host", "operation", "version", "started")


def lock_read(path: str, limit: int = LOCK_LIMIT) -> Json | None:
    """The JSON object in `path`; None where there is no regular file, {} where it holds something else."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return {} if os.path.lexists(path) else None
    found = os.fstat(handle)
    # Root's, or of whoever looks where nobody is root: another user's is no word of a run.
    if not stat.S_ISREG(found.st_mode) or found.st_uid not in (0, os.geteuid()):
        os.close(handle)
        return {}
    with os.fdopen(handle, "rb") as stream:
        try:
            document = json.loads(stream.read(limit).decode("utf-8", "replace"))
        except (RecursionError, ValueError):
            return {}
    return document if isinstance(document, dict) else {}


def lock_boot(root: str = "") -> str:
    """Which boot of the kernel this is."""
    try:
        with open(root + "/proc/sys/kernel/random/boot_id") as stream:
            return stream.read(64).strip()
    except OSError:
        return ""


def lock_now() -> float:
    """Seconds since the kernel was started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def lock_process(pid: int, root: str = "") -> tuple[str, int, int] | None:
    """(name, parent, start in clock ticks since boot) of a living process, else None."""
    try:
        with open("%s/proc/%d/stat" % (root, pid), errors="replace") as stream:
            head, _, tail = stream.read(4096).rpartition(")")
        words = tail.split()
        if words[0] in "ZX":
            return None
        return head.partition("(")[2], int(words[1]), int(words[19])
    except (IndexError, OSError, TypeError, ValueError):
        return None


def lock_lives(process: Any, root: str = "") -> bool:
    """Whether the process [pid, start] is still the one that was meant; a pid alone may be somebody else's by now."""
    if not isinstance(process, list) or len(process) != 2 or not isinstance(process[0], int):
        return False
    found = lock_process(process[0], root)
    return found is not None and found[2] == process[1]


def lock_last(lock: Json, beat: Json, root: str = "") -> float:
    """When the run that holds the lock gave its last sign of life, in seconds of `lock_now`.

    Without a heartbeat that is since the host was started: what held the lock cannot have lived before. PID 1 says
    when, also in a container, which shares the kernel's boot with others.
    """
    boot = lock_boot(root)
    times = []
    for found in (lock, beat if beat.get("id") == lock.get("id") else {}):
        if found.get("boot_id") == boot and isinstance(found.get("at"), (int, float)):
            times.append(float(found["at"]))
    if len(times) < 2:
        first = lock_process(1, root)
        times.append(first[2] / os.sysconf("SC_CLK_TCK") if first else 0.0)
    return min(max(times), lock_now())


def lock_stale(lock: Json) -> float:
    """Seconds without a sign of life after which the lock may be taken over."""
    seconds = lock.get("stale_seconds")
    if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and 0 < seconds < 86400:
        return float(seconds)
    return LOCK_STALE_SECONDS


def lock_status(folder: str, beat_path: str, root: str = "") -> Json:
    """{"present": False}, or who holds the lock, and `state`.

    held: its run lives. ending: it does not, but its last sign of life is not long ago. stale: anyone may take it.
    """
    lock = lock_read(os.path.join(root + folder, "lock"))
    if lock is None:
        return {"present": False}
    beat = lock_read(root + beat_path) or {}
    age = lock_now() - lock_last(lock, beat, root)
    same = beat.get("id") == lock.get("id") and beat.get("boot_id") == lock_boot(root)
    lives = same and lock_lives(beat.get("keeper"), root) and lock_lives(beat.get("watch"), root)
    left = lock_stale(lock) - age
    answer: Json = {name: str(lock.get(name) or "")[:200] for name in LOCK_TEXTS}
    answer["pid"] = lock["pid"] if isinstance(lock.get("pid"), int) else 0
    answer["age"], answer["left"] = round(age, 1), round(max(0.0, left), 1)
    return dict(answer, present=True, state="held" if lives else "ending" if left > 0 else "stale")


def lock_journal(folder: str, root: str = "") -> Json | None:
    """The last entry of the host's journal, not those before; None where there is none, {} for an unreadable one."""
    found = lock_read(os.path.join(root + folder, "journal.json"), LOCK_JOURNAL_LIMIT)
    return None if found is None else {name: value for name, value in found.items() if name != "records"}
