"""What long work tells its caller: a step, and how much of it is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """One sign of life. `done` and `total` are bytes; `total` is 0 where the amount is not known beforehand."""

    artifact: str
    step: str
    detail: str = ""
    done: int = 0
    total: int = 0


Progress = Callable[[Event], None]


def silent(event: Event) -> None:
    """A progress callback for callers that show none."""
    del event
