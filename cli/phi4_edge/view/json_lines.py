"""Progress as JSON Lines."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from phi4_edge.report import output
from phi4_edge.view.lines import Writer

if TYPE_CHECKING:
    from phi4_edge.core.rollout.waves import Wave
    from phi4_edge.runner.run import HostEvent


class JsonView:
    """Events as JSON Lines on stdout; the caller ends them with the result document."""

    def __init__(self) -> None:
        self._making = ("", "")
        self._told = 0.0
        self._budget = ""
        self._spent = (0, False)
        self._writer = Writer(err=False)

    def __enter__(self) -> JsonView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def emit(self, event: str, **fields: Any) -> None:
        """One line: `event` names it, the rest is its data."""
        self._writer.line(output.to_line({"event": event, **fields}))

    def phase(self, text: str) -> None:
        self.emit("phase", text=text)

    def note(self, text: str) -> None:
        self.emit("note", text=text)

    def progress(self, name: str, step: str, detail: str, done: int, total: int) -> None:
        now = time.monotonic()
        if (name, step) == self._making and now - self._told < 1.0 and done != total:
            return
        self._making, self._told = (name, step), now
        self.emit("artifact", name=name, step=step, detail=detail, done=done, total=total)

    def event(self, event: HostEvent) -> None:
        self.emit(
            "step",
            host=event.host,
            kind=event.kind,
            role=event.role,
            task=event.task,
            message=event.message,
            seconds=round(event.seconds, 3),
        )

    def finished(self, host: str, outcome: str) -> None:
        self.emit("host", host=host, outcome=outcome)

    def rollout(self, id: str, waves: Sequence[Wave], budget: str) -> None:
        self._budget, self._spent = budget, (0, False)
        listed = [{"name": wave.name, "number": wave.number, "hosts": list(wave.hosts)} for wave in waves]
        self.emit("rollout", id=id, waves=listed, budget=budget)

    def wave(self, wave: Wave) -> None:
        self.emit("wave", name=wave.name, number=wave.number, hosts=list(wave.hosts))

    def bake(self, wave: Wave, seconds: float) -> None:
        self.emit("bake", name=wave.name, number=wave.number, seconds=seconds)

    def spent(self, bad: int, exceeded: bool) -> None:
        if (bad, exceeded) == self._spent:
            return
        self._spent = (bad, exceeded)
        self.emit("budget", bad=bad, budget=self._budget, exceeded=exceeded)
