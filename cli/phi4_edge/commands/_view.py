"""What a long command shows while it works: a live board on a terminal, lines elsewhere, JSON Lines on request.

Progress goes to stderr, so that stdout holds the result alone; with JSON Lines the events are the result's first lines.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

import click

from phi4_edge.commands._view_json import JsonView
from phi4_edge.report.text import clean, count, cut, duration, size_of

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text

    from phi4_edge.core.wave_plan import Wave
    from phi4_edge.runner import HostEvent

# What a role is doing, for people. A role that is not here shows under its own name.
STEPS = {
    "probe": "looking",
    "plan": "planning",
    "docker": "installing Docker",
    "nvidia_runtime": "installing the NVIDIA runtime",
    "artifact": "receiving files",
    "onnx": "installing the engine",
    "ollama": "making the model's store",
    "vllm": "preparing the engine",
    "webui": "preparing the chat page",
    "service": "switching the release",
    "health": "proving that it answers",
    "receipt": "writing the receipt",
}
ENDS = ("failed", "unreachable")


class View(Protocol):
    """Where progress goes. Entered around everything that may take long."""

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
        """The wave's good hosts are watched for so long before the next one begins."""

    def spent(self, bad: int, exceeded: bool) -> None:
        """So many hosts count against the budget by now."""


@dataclass
class _Line:
    """What one host is doing, since when (monotonic seconds)."""

    step: str = "waiting"
    task: str = ""
    began: float = field(default_factory=time.monotonic)
    ended: float | None = None

    @property
    def seconds(self) -> float:
        return (self.ended if self.ended is not None else time.monotonic()) - self.began


class _Board:
    """The lines of all hosts; shared by the views for people. `steps`: what each role is doing."""

    def __init__(self, steps: Mapping[str, str]) -> None:
        self.steps = steps
        self.lines: dict[str, _Line] = {}
        self.title = ""

    def take(self, event: HostEvent) -> bool:
        """Records the event; true when the host went on to another step or stopped."""
        line = self.lines.setdefault(event.host, _Line())
        step = event.kind if event.kind in ENDS else self.steps.get(event.role, event.role or line.step)
        news = step != line.step
        line.step = step
        line.task = "" if event.task.startswith("Validating arguments") else event.task  # Ansible adds one per role
        if event.kind in ENDS:
            line.ended = time.monotonic()
        return news

    def end(self, host: str, outcome: str) -> None:
        line = self.lines.setdefault(host, _Line())
        line.step, line.task, line.ended = outcome, "", time.monotonic()


def _amount(done: int, total: int) -> str:
    return f" {done * 100 // total} % of {size_of(total)}" if total else ""


class PlainView:
    """One line per new step of a host: for logs and pipes."""

    def __init__(self, steps: Mapping[str, str]) -> None:
        self._board = _Board(steps)
        self._making = ("", "")

    def __enter__(self) -> PlainView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def phase(self, text: str) -> None:
        click.echo(clean(text), err=True)

    def note(self, text: str) -> None:
        click.echo(clean(text), err=True)

    def progress(self, name: str, step: str, detail: str, done: int, total: int) -> None:
        if (name, step) != self._making:
            self._making = (name, step)
            click.echo("  " + cut(f"{name}: {step} {detail}", 400), err=True)

    def event(self, event: HostEvent) -> None:
        if self._board.take(event):
            line = self._board.lines[event.host]
            message = f": {event.message}" if event.kind in ENDS and event.message else ""
            click.echo("  " + cut(f"{event.host}  {duration(line.seconds)}  {line.step}{message}", 400), err=True)

    def finished(self, host: str, outcome: str) -> None:
        self._board.end(host, outcome)
        click.echo("  " + cut(f"{host}  {duration(self._board.lines[host].seconds)}  {outcome}", 400), err=True)

    def rollout(self, id: str, waves: Sequence[Wave], budget: str) -> None:
        self.phase(f"rollout {id}: {count(len(waves), 'wave')}, bad hosts allowed: {budget}")

    def wave(self, wave: Wave) -> None:
        self.phase(f"{wave.name}: {count(len(wave.hosts), 'host')}")

    def bake(self, wave: Wave, seconds: float) -> None:
        self.phase(f"{wave.name}: watching it for {duration(seconds)}")

    def spent(self, bad: int, exceeded: bool) -> None:
        if bad:
            self.phase(f"bad hosts: {bad}" + (", more than allowed: no further host starts" if exceeded else ""))


class LiveView:
    """One line per host with its step and the time it takes, redrawn in place (rich)."""

    COLOURS: Mapping[str, str] = {"failed": "red", "unreachable": "red", "done": "green", "unchanged": "green"}

    def __init__(self, steps: Mapping[str, str]) -> None:
        from rich.console import Console

        self._board = _Board(steps)
        self._console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._live: Live | None = None

    def __enter__(self) -> LiveView:
        from rich.live import Live

        # Host text goes through Text, never through markup; stdout is not ours to redirect.
        self._live = Live(
            get_renderable=self._draw,
            console=self._console,
            refresh_per_second=4,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._board.lines.clear()
            self._board.title = ""
            self._live.stop()
            self._live = None

    def phase(self, text: str) -> None:
        self._board.title = clean(text, lines=False)

    def note(self, text: str) -> None:
        from rich.text import Text

        self._console.print(Text(clean(text)))

    def progress(self, name: str, step: str, detail: str, done: int, total: int) -> None:
        self._board.title = clean(f"{name}: {step}{_amount(done, total)} {detail}", lines=False)

    def event(self, event: HostEvent) -> None:
        self._board.take(event)

    def finished(self, host: str, outcome: str) -> None:
        self._board.end(host, outcome)

    def rollout(self, id: str, waves: Sequence[Wave], budget: str) -> None:
        self.phase(f"rollout {id}: {count(len(waves), 'wave')}")

    def wave(self, wave: Wave) -> None:
        self.phase(f"{wave.name}: {count(len(wave.hosts), 'host')}")

    def bake(self, wave: Wave, seconds: float) -> None:
        self.phase(f"{wave.name}: watching it for {duration(seconds)}")

    def spent(self, bad: int, exceeded: bool) -> None:
        if exceeded:
            self.note(f"bad hosts: {bad}, more than allowed: no further host starts")

    def _draw(self) -> Text:
        from rich.text import Text

        width, height = self._console.width, max(self._console.height - 3, 3)
        shown = self._order()[:height]
        name_width = min(max((len(cut(host, 40)) for host in self._board.lines), default=0), max(width // 3, 8))
        text = Text(no_wrap=True, overflow="crop")
        if self._board.title:
            text.append(cut(self._board.title, width) + "\n")
        for host in shown:
            line = self._board.lines[host]
            start = f"  {cut(host, name_width):<{name_width}} {duration(line.seconds):>6}  "
            rest = f"{line.step}" + (f": {line.task}" if line.task and line.ended is None else "")
            text.append(start)
            text.append(cut(rest, max(width - len(start) - 1, 8)) + "\n", style=self.COLOURS.get(line.step, ""))
        hidden = len(self._board.lines) - len(shown)
        if hidden > 0:
            text.append(f"  and {count(hidden, 'more host')}\n")
        return text

    def _order(self) -> list[str]:
        """Hosts that are at work first, then those that are through; each in the order of their start."""
        return sorted(self._board.lines, key=lambda host: self._board.lines[host].ended is not None)


def view(output: str = "table", steps: Mapping[str, str] = STEPS) -> View:
    """The view that fits: JSON Lines when asked, a live board on a terminal that can redraw, lines otherwise."""
    if output == "json":
        return JsonView()
    if sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        return LiveView(steps)
    return PlainView(steps)
