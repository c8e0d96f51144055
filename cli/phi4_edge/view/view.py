"""What a long command shows while it works: a live board on a terminal, lines elsewhere, JSON Lines on request.

Progress goes to stderr, so that stdout holds the result alone; with JSON Lines the events are the result's first lines.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from phi4_edge.core.engines.table import ENGINES
from phi4_edge.view.detail import Detail
from phi4_edge.view.json_lines import JsonView
from phi4_edge.view.lines import PlainView
from phi4_edge.view.live import LiveView

if TYPE_CHECKING:
    from phi4_edge.core.rollout.waves import Wave
    from phi4_edge.runner.run import HostEvent

NO_DETAIL = Detail()
# What a role is doing, for people. A role that is not here shows under its own name.
STEPS = {
    "lock": "lock",
    "probe": "looking",
    "plan": "planning",
    "docker": "installing packages",
    "nvidia_runtime": "installing the NVIDIA runtime",
    "artifact": "receiving files",
    **{engine.name: engine.doing for engine in ENGINES.values()},
    "webui": "preparing the chat page",
    "service": "switching the release",
    "health": "proving that it answers",
    "receipt": "writing the receipt",
}


class View(Protocol):
    """Where progress goes. Entered around everything that may take long.

    All calls come from one thread; signal handlers that run in it may call too.
    """

    def __enter__(self) -> View: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def phase(self, text: str) -> None:
        """Something that concerns all hosts begins."""

    def note(self, text: str) -> None:
        """Something worth a line of its own."""

    def progress(self, name: str, step: str, detail: str, done: int, total: int) -> None:
        """Something is being made on the controller; `done` of `total` bytes, 0 when the amount is not known."""

    def event(self, event: HostEvent) -> None:
        """A task began or ended on a host."""

    def finished(self, host: str, outcome: str) -> None:
        """A host is through."""

    def rollout(self, id: str, waves: Sequence[Wave], budget: str) -> None:
        """A rollout of these waves begins; `budget`: how many bad hosts it allows (3, 20%)."""

    def wave(self, wave: Wave) -> None:
        """The work on a wave begins."""

    def bake(self, wave: Wave, seconds: float) -> None:
        """The wave's good hosts are watched for so long; until the next phase, wave or count of bad hosts."""

    def spent(self, bad: int, exceeded: bool) -> None:
        """So many hosts count against the budget by now."""


class DetailedView:
    """A view that tells the details as notes."""

    def __init__(self, view: View, detail: Detail) -> None:
        self._view, self._detail = view, detail

    def __enter__(self) -> DetailedView:
        self._view.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._view.__exit__(kind, error, trace)

    def phase(self, text: str) -> None:
        self._view.phase(text)

    def note(self, text: str) -> None:
        self._view.note(text)

    def progress(self, name: str, step: str, detail: str, done: int, total: int) -> None:
        self._view.progress(name, step, detail, done, total)

    def event(self, event: HostEvent) -> None:
        for line in self._detail.lines(event):
            self._view.note(line)
        if event.kind != "detail":
            self._view.event(event)

    def finished(self, host: str, outcome: str) -> None:
        self._view.finished(host, outcome)

    def rollout(self, id: str, waves: Sequence[Wave], budget: str) -> None:
        self._view.rollout(id, waves, budget)

    def wave(self, wave: Wave) -> None:
        self._view.wave(wave)

    def bake(self, wave: Wave, seconds: float) -> None:
        self._view.bake(wave, seconds)

    def spent(self, bad: int, exceeded: bool) -> None:
        self._view.spent(bad, exceeded)


def progress_view(output: str = "table", steps: Mapping[str, str] = STEPS, detail: Detail = NO_DETAIL) -> View:
    """The view that fits: JSON Lines when asked, a live board on a terminal that can redraw, lines otherwise."""
    view = _plain_view(output, steps)
    return DetailedView(view, detail) if detail.verbosity else view


def _plain_view(output: str, steps: Mapping[str, str]) -> View:
    if output == "json":
        return JsonView()
    if sys.stderr.isatty() and (os.environ.get("TERM") or "dumb") != "dumb":
        return LiveView(steps, sys.stderr)
    return PlainView(steps)
