"""The end of a script that takes too long: shortly before the controller gives it up, so that it can still say so.

What is given up by the controller alone would go on here, keep the lock of our scripts, and nobody could go back.
Sent in front of the script that uses it; Python 3.8 or newer, standard library only.
"""

from __future__ import annotations

import contextlib
import glob
import os
import signal
import time
from typing import Any, Callable, Iterator

from hostlib import Json

# How long before the controller's end ours comes: a tenth and a second, for sudo and Python start slowly on a board.
SHARE, LEAST, MOST = 0.1, 1.0, 10.0
# What tidies up after itself gets this part of that time; then the script is ended as it is.
GRACE = 0.5
TERM_SECONDS = 0.3


class OutOfTime(BaseException):
    """The time is over. No Exception, so that nothing that goes on after a failure takes it for one."""


def spared(seconds: float) -> float:
    """Seconds of `seconds` that are left for the answer to arrive."""
    return min(MOST, LEAST + SHARE * seconds, seconds / 2)


@contextlib.contextmanager
def bounded(seconds: float, began: float, do: str, emit: Callable[[Json], None]) -> Iterator[None]:
    """OutOfTime is raised inside when the controller will give up soon, and no program that was started goes on.

    `seconds`: what was left to the controller at `began` (monotonic); 0 means for ever. Whatever then does not end is
    ended without being asked, after the same answer was emitted.
    """
    if seconds <= 0:
        yield
        return
    spare = spared(seconds)
    calls = []

    def over(_signal: int, _frame: Any) -> None:
        calls.append(1)
        end_children()
        if len(calls) == 1:
            raise OutOfTime
        with contextlib.suppress(OSError):  # nobody may be listening any more
            emit(late(do, seconds))
        os._exit(124)

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, max(0.001, began + seconds - spare - time.monotonic()), spare * GRACE)
    try:
        yield
    finally:
        # Still on while what was interrupted tidies up; from here on nothing is left to interrupt.
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def late(do: str, seconds: float) -> Json:
    """The answer of a script that was out of time. `timedout` is the name that Ansible has for it."""
    return {
        "error": f"found no end of {do} after {seconds - spared(seconds):.0f} s, needed one: it was ended on the host. "
        "Look at what the host is busy with, or give a step more time (--step-timeout)",
        "timedout": {"period": round(seconds)},
    }


def descendants() -> list[int]:
    """Processes that this one has started, and all that they have started; not those that went their own way."""
    parents = {}
    for path in glob.glob("/proc/[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError), open(path, "rb") as stream:
            parents[int(path.split("/")[2])] = int(stream.read().rpartition(b")")[2].split()[1])
    found = [os.getpid()]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found[1:]


def end_children() -> None:
    """Nothing that this script has started runs any more: asked first, for dpkg and Docker tidy up after themselves."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in descendants():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        time.sleep(TERM_SECONDS if number == signal.SIGTERM else 0)
