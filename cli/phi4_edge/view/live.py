"""The live board: what is told is noted at once, and drawn a few times a second by a thread of its own."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from phi4_edge.core.text import printable
from phi4_edge.view.board import Board
from phi4_edge.view.frame import frame
from phi4_edge.view.screen import Screen

if TYPE_CHECKING:
    from phi4_edge.core.rollout.waves import Wave
    from phi4_edge.runner.run import HostEvent

FRAME_SECONDS = 0.2  # from an event to the screen at most, and the time that drawing takes
_PATIENCE = 2.0  # for a terminal that takes nothing (Ctrl-S), before the program goes on without it


class LiveView:
    """One line per host with its step and the time it takes, grouped by wave, redrawn in place.

    Whoever tells never waits for the terminal, and may be a signal handler: what is told goes into a queue without a
    lock, and only the thread that draws takes it out.
    """

    def __init__(self, steps: Mapping[str, str], stream: TextIO) -> None:
        self._board = Board(steps)
        self._screen = Screen(stream, colour=not os.environ.get("NO_COLOR"))
        self._told: deque[Callable[[], object]] = deque()
        self._notes: list[str] = []
        self._stop = threading.Event()
        self._drawer = threading.Thread(target=self._run, name="view", daemon=True)
        self._second = 0

    def __enter__(self) -> LiveView:
        self._drawer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tell(partial(self._board.close, time.monotonic()))
        self._stop.set()
        self._drawer.join(_PATIENCE)

    def phase(self, text: str) -> None:
        self._tell(partial(self._board.phase, text, time.monotonic()))

    def note(self, text: str) -> None:
        self._tell(partial(self._notes.append, printable(text)))

    def progress(self, name: str, step: str, detail: str, done: int, total: int) -> None:
        self._tell(partial(self._board.progress, name, step, detail, done, total))

    def event(self, event: HostEvent) -> None:
        self._tell(partial(self._board.take, event, time.monotonic()))

    def finished(self, host: str, outcome: str) -> None:
        self._tell(partial(self._board.end, host, outcome, time.monotonic()))

    def rollout(self, id: str, waves: Sequence[Wave], budget: str) -> None:
        self._tell(partial(self._board.rollout, id, waves, budget, time.monotonic()))

    def wave(self, wave: Wave) -> None:
        self._tell(partial(self._board.wave, wave, time.monotonic()))

    def bake(self, wave: Wave, seconds: float) -> None:
        self._tell(partial(self._board.bake, wave, seconds, time.monotonic()))

    def spent(self, bad: int, exceeded: bool) -> None:
        self._tell(partial(self._board.spent, bad, exceeded, time.monotonic()))

    def _tell(self, news: Callable[[], object]) -> None:
        self._told.append(news)

    def _run(self) -> None:
        try:
            while not self._stop.wait(FRAME_SECONDS):
                self._draw()
            self._draw()
            if self._board.waves:
                self._screen.leave()
            else:
                self._screen.clear()
        except OSError:
            return  # the terminal is gone, and there is nobody to tell; the work goes on

    def _draw(self) -> None:
        """Brings the screen up to date: when something was told, and once a second for the times."""
        news = len(self._told)
        for _ in range(news):
            self._told.popleft()()
        now = time.monotonic()
        if not news and int(now) == self._second:
            return
        self._second = int(now)
        notes, self._notes[:] = list(self._notes), []
        self._screen.show(frame(self._board, *self._screen.size(), now), notes)
