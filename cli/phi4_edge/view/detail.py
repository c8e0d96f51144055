"""More of what happens, for whoever asks for it: each task as it ends, what it said, and Ansible's own words."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from phi4_edge.core.text import printable
from phi4_edge.report.text import cut

if TYPE_CHECKING:
    from phi4_edge.runner.run import HostEvent

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
