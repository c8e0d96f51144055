"""How fast this host reads its memory: what bounds the tokens per second of a model on its CPU.

Python 3.8, standard library. For a host that serves nothing yet: one that does would share its memory with us.
"""

from __future__ import annotations

import ctypes
import os
import re
import threading
import time
from typing import Callable, Dict, List

EMIT = globals()["EMIT"]  # the bootstrap's
SMALLEST, LARGEST = 64 << 20, 256 << 20
PASSES, PASS_SECONDS = 3, 0.08  # memory that gives 2.5 GB/s is read once in 25 ms
MOST_THREADS = 8  # no gateway's memory feeds more, and a smaller share would lie in each core's own cache
PAGE, STACK_BYTES = 4096, 256 * 1024


def sample() -> Dict[str, object]:
    """Bytes per second that one thread reads, that all of them read together, how many they are; or why not."""
    size = buffer_size(number("/sys/devices/system/cpu/cpu0/cache/index3/size", r"(\d+)K") << 10)
    free = number("/proc/meminfo", r"(?m)^MemAvailable:\s+(\d+) kB") << 10
    if 8 * size > free:
        return unknown("%d MiB of memory are free, a sample needs %d" % (free >> 20, size >> 17))
    buffer = bytearray(size)
    buffer[::PAGE] = b"\1" * len(range(0, size, PAGE))  # else every page is the same one, of zeros
    threading.stack_size(STACK_BYTES)
    scan, threads = scanner(buffer), min(MOST_THREADS, len(os.sched_getaffinity(0)))
    if scan is None:  # Python's own search holds its lock: one thread is all there is
        scan, threads = lambda at, end: buffer.find(b"\2", at, end), 1
    one = fastest(scan, size, 1)
    together = max(one, fastest(scan, size, threads) if threads > 1 else 0)
    return {"one": one, "all": together, "threads": threads, "why": ""}


def unknown(why: str) -> Dict[str, object]:
    """The answer without a sample."""
    return {"one": 0, "all": 0, "threads": 0, "why": why[:300]}


def buffer_size(cache: int) -> int:
    """Bytes that do not fit into the largest cache, which has `cache` of them (0: unknown)."""
    return min(LARGEST, max(SMALLEST, 2 * cache))


def number(path: str, pattern: str) -> int:
    """The number that `pattern` finds in a file of the kernel's, 0 without."""
    try:
        with open(path, encoding="ascii", errors="replace") as stream:
            found = re.search(pattern, stream.read(65536))
    except OSError:
        found = None
    return int(found.group(1)) if found else 0


def scanner(buffer: bytearray) -> Callable[[int, int], object] | None:
    """Reads a part of the buffer without Python's lock: the C library's memchr for what is not there."""
    try:
        memchr = ctypes.CDLL(None).memchr
    except (AttributeError, OSError):
        return None
    memchr.argtypes, memchr.restype = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t), ctypes.c_void_p
    base = ctypes.addressof(ctypes.c_char.from_buffer(buffer))  # it is never resized, and outlives every scan
    return lambda at, end: memchr(base + at, 2, end - at)


def fastest(scan: Callable[[int, int], object], size: int, threads: int) -> int:
    """Bytes per second of the best of some passes: what else runs on the host only makes one slower."""
    best, share, end = 0.0, size // threads, time.monotonic() + PASS_SECONDS
    for _ in range(PASSES):
        crew: List[threading.Thread] = [
            threading.Thread(target=scan, args=(share * place, share * (place + 1)), daemon=True)
            for place in range(threads)
        ]
        began, started = time.perf_counter(), 0
        try:
            for thread in crew:
                thread.start()
                started += 1
        finally:  # one that still reads needs the buffer, also where the next one could not start
            for thread in crew[:started]:
                thread.join()
        best = max(best, share * threads / (time.perf_counter() - began))
        if time.monotonic() > end:
            break
    return int(best)


try:
    answer = sample()
except (MemoryError, OSError, RuntimeError) as error:  # RuntimeError: the host allows no more threads
    answer = unknown("%s: %s" % (type(error).__name__, error))
EMIT(answer)
