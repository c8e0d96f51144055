"""The end of a script that takes too long, or that nobody waits for any more.

Too long: it ends shortly before the controller gives it up, so that it can still say so. Not waited for: its connection
is gone, as when the controller died. What goes on here then keeps the lock of our scripts, and nobody could go on or go
back. Sent in front of the script that uses it; Python 3.8 or newer, standard library only.
"""

from __future__ import annotations

import contextlib
import glob
import os
import select
import signal
import time
from typing import Any, Callable, Iterator

from hostlib import Json

# How long before the controller's end ours comes: a tenth and a second, for sudo and Python start slowly on a board.
SHARE, LEAST, MOST = 0.1, 1.0, 10.0
# What tidies up after itself gets this part of that time; then the script is ended as it is.
GRACE = 0.5
TERM_SECONDS = 0.3
# How often a script looks whether somebody still waits for it, and how long it goes on when nobody does: a step that is
# nearly through, such as a switch, had better be. Together with that, a dead run's step has ended before its lock is
# stale (30 s), except for one that must not be cut.
TICK = 1.0
LOST_SECONDS = 10.0


class OutOfTime(BaseException):
    """The time is over. No Exception, so that nothing that goes on after a failure takes it for one."""


class Lost(OutOfTime):
    """Nobody waits for the answer any more."""

    def __init__(self) -> None:
        super().__init__("the connection to the controller was lost, so it was ended on the host")


def connected() -> bool:
    """Whether somebody still reads what this script writes: sshd closes its end of the pipe as soon as its client left.

    True where nobody can tell, as with programs that keep the pipe themselves.
    """
    watch = select.poll()
    watch.register(1, 0)  # errors and hang-ups are told of unasked
    return not any(event & (select.POLLERR | select.POLLHUP | select.POLLNVAL) for _, event in watch.poll(0))


def spared(seconds: float) -> float:
    """Seconds of `seconds` that are left for the answer to arrive."""
    return min(MOST, LEAST + SHARE * seconds, seconds / 2)


class Clock:
    """When a script has to end: at `end` (monotonic, None for never), or when nobody has waited for it for a while."""

    def __init__(self, end: float | None, cut: bool) -> None:
        self.end, self.cut = end, cut
        self.lost: float | None = None

    def over(self) -> OutOfTime | None:
        """Why it has to end now; None when it may go on."""
        now = time.monotonic()
        if self.end is not None and now >= self.end:
            return OutOfTime()
        if not self.cut or connected():
            return None
        self.lost = self.lost or now
        return Lost() if now - self.lost >= LOST_SECONDS else None

    def next(self) -> float:
        """Seconds until it is to be asked again."""
        return TICK if self.end is None else max(0.001, min(TICK, self.end - time.monotonic()))


@contextlib.contextmanager
def bounded(seconds: float, began: float, do: str, emit: Callable[[Json], None], cut: bool = True) -> Iterator[None]:
    """OutOfTime is raised inside when the controller will give up soon, and no program that was started goes on.

    `seconds`: what was left to the controller at `began` (monotonic); 0 means for ever. `cut`: whether it also ends
    (Lost) when the connection is gone. Whatever then does not end is ended without being asked, after the same answer
    was emitted.
    """
    spare = spared(seconds) if seconds > 0 else LOST_SECONDS
    clock = Clock(began + seconds - spare if seconds > 0 else None, cut)
    calls: list[int] = []

    def tick(_signal: int, _frame: Any) -> None:
        why = clock.over() if not calls else None
        if why is None and not calls:
            signal.setitimer(signal.ITIMER_REAL, clock.next())
            return
        calls.append(1)
        end_children()
        if why is not None:
            signal.setitimer(signal.ITIMER_REAL, spare * GRACE)
            raise why
        with contextlib.suppress(OSError):  # nobody may be listening any more
            emit(late(do, seconds))
        os._exit(124)

    before = signal.signal(signal.SIGALRM, tick)
    signal.setitimer(signal.ITIMER_REAL, clock.next())
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
