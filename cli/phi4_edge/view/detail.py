"""More of what happens, for whoever asks for it: each task as it ends, what it said, and Ansible's own words."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

from phi4_edge.core.text import printable
from phi4_edge.report.text import cut

if TYPE_CHECKING:
    from phi4_edge.core.rollout.waves import Wave
    from phi4_edge.runner.run import HostEvent
    from phi4_edge.view.view import View

TASKS, RESULTS = 1, 2
HIDDEN = "********"
_MOST, _WIDTH = 2000, 400


@dataclass(frozen=True)
class Detail:
    """How much is told beside the progress, 0 for nothing; `secrets` are in none of it."""

    verbosity: int = 0
    secrets: Collection[str] = field(default=(), repr=False)

    def lines(self, event: HostEvent) -> list[str]:
        """What is told of an event."""
        if event.kind == "detail":
            return [self._clean(line, _MOST) for line in event.message.splitlines() if line.strip()]
        if event.kind == "start" or self.verbosity < TASKS:
            return []
        task = f"{event.role} : {event.task}" if event.role else event.task
        told = [self._clean(f"{event.host}: {event.kind}: {task} ({event.seconds:.1f} s)", _WIDTH)]
        if self.verbosity >= RESULTS and (said := _said(event.result)):
            told += [self._clean(f"{event.host}:   {line}", _MOST) for line in said.splitlines()]
        return told

    def _clean(self, text: str, most: int) -> str:
        for secret in sorted(filter(None, self.secrets), key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return cut(printable(text, lines=False), most)


def _said(result: Mapping[str, Any]) -> str:
    """The words of a task's result: its message, what a program printed, or what the host answered."""
    if result.get("_ansible_no_log") or "censored" in result:
        return "the output is hidden because it may hold secrets"
    words = [str(result[name]) for name in ("msg", "stdout", "stderr") if result.get(name)]
    if isinstance(answer := result.get("answer"), Mapping) and answer:
        words.append(json.dumps(answer, ensure_ascii=True, sort_keys=True))
    return "\n".join(words)


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
