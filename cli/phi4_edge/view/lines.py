"""Progress as lines: for logs, pipes, and terminals that cannot redraw."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING

import click

from phi4_edge.core.text import printable
from phi4_edge.report.text import count, cut, duration
from phi4_edge.view.board import ENDS, Board, counts, word

if TYPE_CHECKING:
    from phi4_edge.core.rollout.waves import Wave
    from phi4_edge.runner.run import HostEvent

_WIDTH = 400


class Writer:
    """Writes lines one after the other, also when a signal handler speaks into a line that is being written.

    A reader that went away or a disk that is full is no reason to end what is under way on hosts: lines get lost then.
    """

    def __init__(self, err: bool) -> None:
        self._err = err
        self._waiting: deque[str] = deque()
        self._writing = False

    def line(self, text: str) -> None:
        """One line; a stream that is written to must not be written to from within (RuntimeError of io)."""
        self._waiting.append(text)
        while self._waiting and not self._writing:
            self._writing = True
            try:
                with contextlib.suppress(OSError):
                    click.echo(self._waiting.popleft(), err=self._err)
            finally:
                self._writing = False


class PlainView:
    """One line per new step of a host, and per thing that concerns all of them."""

    def __init__(self, steps: Mapping[str, str], clock: Callable[[], float] = time.monotonic) -> None:
        self._board = Board(steps)
        self._clock = clock
        self._making = ("", "")
        self._writer = Writer(err=True)

    def __enter__(self) -> PlainView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wave_so_far()

    def phase(self, text: str) -> None:
        self._board.phase(text, self._clock())
        self._writer.line(printable(text))

    def note(self, text: str) -> None:
        self._writer.line(printable(text))

    def progress(self, name: str, step: str, detail: str, done: int, total: int) -> None:
        if (name, step) != self._making:
            self._making = (name, step)
            self._writer.line("  " + cut(f"{name}: {step} {detail}", _WIDTH))

    def event(self, event: HostEvent) -> None:
        if self._board.take(event, self._clock()):
            failed = event.kind in ENDS
            message = f"{event.kind}: {event.message}".rstrip(": ") if failed else self._board.line(event.host).step
            self._host(event.host, message)

    def finished(self, host: str, outcome: str) -> None:
        self._board.end(host, outcome, self._clock())
        self._host(host, word(outcome))

    def rollout(self, id: str, waves: Sequence[Wave], budget: str) -> None:
        self._board.rollout(id, waves, budget, self._clock())
        hosts = count(sum(len(wave.hosts) for wave in waves), "host")
        words = f"rollout {id}: {hosts} in {count(len(waves), 'wave')}, bad hosts allowed: {budget}"
        self._writer.line(cut(words, _WIDTH))

    def wave(self, wave: Wave) -> None:
        self._wave_so_far()
        self._board.wave(wave, self._clock())
        self._heading("begins", f"{count(len(wave.hosts), 'host')}: {', '.join(wave.hosts)}")

    def bake(self, wave: Wave, seconds: float) -> None:
        self._heading(f"bakes for {duration(seconds)}", counts(self._board.group(wave)))
        self._board.bake(wave, seconds, self._clock())

    def spent(self, bad: int, exceeded: bool) -> None:
        if self._board.spent(bad, exceeded, self._clock()):
            words = f"bad hosts: {bad} (allowed: {self._board.budget})"
            self._writer.line(cut(words + (", stopping: no further host starts" if exceeded else ""), _WIDTH))

    def _wave_so_far(self) -> None:
        """What became of the wave, before the next one begins."""
        if (wave := self._board.current) is not None:
            self._board.settle(self._clock())
            self._heading("is over", counts(self._board.group(wave)))

    def _heading(self, verb: str, words: str) -> None:
        at = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        self._writer.line(cut(f"{at}  {self._board.place} {verb}: {words}", _WIDTH))

    def _host(self, host: str, words: str) -> None:
        elapsed = duration(self._board.line(host).seconds(self._clock()))
        self._writer.line("  " + cut(f"{host}  {elapsed}  {words}", _WIDTH))
