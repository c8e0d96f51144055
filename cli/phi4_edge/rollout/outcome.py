"""What became of each host, and the exit code of it all. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from phi4_edge.core.waves import Outcome, RunState

__all__ = ["HostResult", "Outcome", "document", "exit_code", "state"]


@dataclass(frozen=True)
class HostResult:
    """One host's end: `changed` counts changed tasks, `seconds` is wall time under way."""

    host: str
    outcome: Outcome
    reason: str = ""
    next_step: str = ""
    release: str | None = None
    changed: int = 0
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """The host's line of a result document."""
        return {
            "host": self.host,
            "outcome": str(self.outcome),
            "reason": self.reason or None,
            "next_step": self.next_step or None,
            "release": self.release,
            "changed": self.changed,
            "seconds": round(self.seconds, 3),
        }


def state(results: Sequence[HostResult], interrupted: bool = False) -> RunState:
    """The run that these results are of, for its counts and its exit code."""
    run = RunState({result.host: result.outcome for result in results})
    return run.interrupt() if interrupted else run


def exit_code(results: Iterable[HostResult]) -> int:
    """The exit code of hosts that were only looked at."""
    return state(list(results)).exit_code


def document(results: Sequence[HostResult], interrupted: bool = False) -> dict[str, Any]:
    """The result document `phi4-edge/result/1` of a command that changes hosts (schema: data/result.schema.json)."""
    run = state(results, interrupted)
    return {
        "format": "phi4-edge/result/1",
        "event": "result",
        "exit_code": run.exit_code,
        "interrupted": interrupted,
        "changed": sum(result.changed for result in results),
        "counts": run.counts,
        "hosts": [result.to_dict() for result in results],
    }
