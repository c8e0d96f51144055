"""The same work for many hosts side by side, such that none can hold the others, the operator, or the program's end.

Not concurrent.futures: its threads are waited for when a pool is left and once more when the program ends, so one host
that answers nothing would hold both.
"""

from __future__ import annotations

import collections
import math
import queue
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from phi4_edge.errors import InterruptedRunError

Item = TypeVar("Item")
Result = TypeVar("Result")

POLL_SECONDS = 0.1  # how soon a wish to stop is seen
LEAVE_SECONDS = 0.8  # for those that were cut to clear up behind them; of the 2 s that the operator waits at most
# Where all take long this machine is busy, and more at a time would make each take longer still.
SLOWER = 3.0
_LATEST = 33  # items of which is known how long they took
INTERRUPTED = "interrupted while checking the hosts; nothing was changed on any host"


@dataclass(frozen=True)
class Limits(Generic[Item, Result]):
    """After `seconds` and what an item has `more`, the work on it is given up, and `late(item)` is its result.

    An item that takes longer than `patience` seconds, and much longer than others do, keeps no other waiting: somebody
    else is found for as long as it takes, up to `most` at work at a time.
    """

    seconds: float
    late: Callable[[Item], Result]
    more: Callable[[Item], float] = lambda _: 0.0
    patience: float = math.inf
    most: int = 0


def each(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    at_a_time: int,
    cut: Callable[[], None],
    stopping: Callable[[], bool] = lambda: False,
    limits: Limits[Item, Result] | None = None,
    tell: Callable[[Result], None] = lambda _: None,
    begin: Callable[[Item], None] = lambda _: None,
) -> list[Result]:
    """The results in the order of the items; `begin` hears of each item that is begun, `tell` of each result.

    Both are called in this thread.

    When `stopping()` turns true, or anything is raised here or by the work, nothing more begins, `cut()` ends what is
    under way, and this returns at once: with InterruptedRunError, or with what was raised.
    """
    crew = _Crew(work, items)
    try:
        for _ in range(min(at_a_time, len(items))):
            crew.hire()
        return crew.gather(stopping, limits, tell, begin)
    except BaseException:
        crew.dismiss()
        cut()
        crew.see_off()
        raise


@dataclass(frozen=True)
class _Raised:
    error: BaseException


class _Begun:
    """An item is at work."""


class _Crew(Generic[Item, Result]):
    def __init__(self, work: Callable[[Item], Result], items: Sequence[Item]) -> None:
        self._work, self._items = work, items
        self._todo = collections.deque(range(len(items)))
        self._guard = threading.Lock()
        self._begun: dict[int, float] = {}
        self._took: collections.deque[float] = collections.deque(maxlen=_LATEST)
        self._results: dict[int, Result] = {}
        self._done: queue.SimpleQueue[tuple[int, Result | _Raised | _Begun]] = queue.SimpleQueue()
        self._replaced: set[int] = set()
        self._threads: list[threading.Thread] = []

    def hire(self) -> None:
        thread = threading.Thread(target=self._run, name=f"host-{len(self._threads)}", daemon=True)
        thread.start()
        self._threads.append(thread)

    def dismiss(self) -> None:
        self._todo.clear()

    def see_off(self) -> None:
        """The threads have ended, but for those that nothing can cut."""
        end = time.monotonic() + LEAVE_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def gather(
        self,
        stopping: Callable[[], bool],
        limits: Limits[Item, Result] | None,
        tell: Callable[[Result], None],
        begin: Callable[[Item], None],
    ) -> list[Result]:
        while len(self._results) < len(self._items):
            if stopping():
                raise InterruptedRunError(INTERRUPTED)
            if limits is not None:
                self._give_up(limits, tell)
            try:
                number, outcome = self._done.get(timeout=POLL_SECONDS)
            except queue.Empty:
                continue
            if number in self._results:
                continue  # it was given up before
            if isinstance(outcome, _Begun):
                begin(self._items[number])
                continue
            if isinstance(outcome, _Raised):
                raise outcome.error
            self._results[number] = outcome
            tell(outcome)
        return [self._results[number] for number in range(len(self._items))]

    def _give_up(self, limits: Limits[Item, Result], tell: Callable[[Result], None]) -> None:
        now = time.monotonic()
        with self._guard:
            at_work = {number: now - begun for number, begun in self._begun.items() if number not in self._results}
        for number, taken in at_work.items():
            if taken > limits.seconds + limits.more(self._items[number]):
                self._results[number] = limits.late(self._items[number])
                tell(self._results[number])
                self._replace(number)
            elif taken > limits.patience and len(at_work) < limits.most and self._todo and taken > self._much():
                self._replace(number)

    def _much(self) -> float:
        with self._guard:
            return SLOWER * statistics.median(self._took) if self._took else 0.0

    def _replace(self, number: int) -> None:
        """Somebody else does what is left; who is at work on this item does no more behind it."""
        with self._guard:
            if number not in self._begun or number in self._replaced:
                return
            self._replaced.add(number)
        self.hire()

    def _run(self) -> None:
        while True:
            try:
                number = self._todo.popleft()
            except IndexError:
                return
            with self._guard:
                self._begun[number] = time.monotonic()
            self._done.put((number, _Begun()))
            try:
                outcome: Result | _Raised = self._work(self._items[number])
            except BaseException as error:
                outcome = _Raised(error)
            with self._guard:
                self._took.append(time.monotonic() - self._begun.pop(number))
                replaced = number in self._replaced
            self._done.put((number, outcome))
            if replaced:
                return
