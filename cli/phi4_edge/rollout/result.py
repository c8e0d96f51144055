"""What became of each host, and the exit code of it all. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from phi4_edge.core.rollout import outcome as rollout_outcome
from phi4_edge.core.rollout.outcome import Outcome, RunState
from phi4_edge.errors import InterruptedRunError

__all__ = ["HostResult", "Outcome", "document", "exit_code"]

INTERRUPTED = InterruptedRunError.exit_code


@dataclass(frozen=True)
class HostResult:
    """One host's end: `changed` counts changed tasks, `seconds` is wall time under way, `wave` its wave's number."""

    host: str
    outcome: Outcome
    reason: str = ""
    next_step: str = ""
    release: str | None = None
    changed: int = 0
    seconds: float = 0.0
    wave: int | None = None

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


def exit_code(results: Iterable[HostResult], interrupted: bool = False) -> int:
    """130 when interrupted, also when every host was finished before the end; else what the hosts came to."""
    return INTERRUPTED if interrupted else rollout_outcome.exit_code(result.outcome for result in results)


def document(
    results: Sequence[HostResult], interrupted: bool = False, rollout: str | None = None, stopped: str | None = None
) -> dict[str, Any]:
    """The result document `phi4-edge/result/1` of a command that changes hosts (schema: data/result.schema.json).

    `rollout`: id of its record. `stopped`: why it ended before every host had its turn (budget, locked, interrupted).
    """
    run = RunState({result.host: result.outcome for result in results})
    code = exit_code(results, interrupted)
    ended = code == INTERRUPTED
    return {
        "format": "phi4-edge/result/1",
        "event": "result",
        "rollout": rollout,
        "exit_code": code,
        "interrupted": ended,
        "stopped": stopped or ("interrupted" if ended else None),
        "changed": sum(result.changed for result in results),
        "counts": run.counts,
        "hosts": [{**result.to_dict(), "wave": result.wave} for result in results],
    }
