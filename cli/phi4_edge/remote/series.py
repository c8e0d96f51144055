"""Several operations on a host in one exchange: what one costs there is mostly its way and Python's start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from phi4_edge.errors import FactsError
from phi4_edge.remote import answers
from phi4_edge.remote.framing import MAX_DOCUMENT
from phi4_edge.remote.inquiry import NEXT, held

KEY = "answers"


@dataclass(frozen=True, slots=True)
class Step:
    """One operation of a series.

    `takes`: arguments that are what an earlier step answered, as (its place in the series, its key). `needs`: what the
    answer must hold for the series to go on. `seconds`: most of its time, 0 for the operation's own.
    """

    operation: answers.Key
    args: Mapping[str, Any]
    takes: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    needs: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def script(self) -> tuple[str, str]:
        """Role and name of its script."""
        return self.operation[:2]

    @property
    def limit(self) -> float:
        """Most seconds that it may take."""
        return self.seconds or answers.OPERATIONS[self.operation].seconds

    def to_dict(self) -> dict[str, Any]:
        """What the host is told of it."""
        role, script, do = self.operation
        return {
            "script": f"{role}/{script}", "args": {**self.args, "do": do}, "seconds": self.limit,
            "takes": {name: list(source) for name, source in self.takes.items()}, "needs": dict(self.needs),
        }  # fmt: skip


def seconds(steps: Sequence[Step]) -> float:
    """Most seconds that a series may take."""
    return sum(step.limit for step in steps)


def size(steps: Sequence[Step]) -> int:
    """Most bytes of its answer."""
    return min(MAX_DOCUMENT, sum(answers.OPERATIONS[step.operation].size for step in steps))


def read(steps: Sequence[Step], name: str, document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The answers of host `name`, each held to the schema of its operation; the last one may be a failure.

    Fewer than steps: one failed, or did not answer what the next ones need. Raises FactsError for what is no answer of
    ours.
    """
    given = document.get(KEY)
    if set(document) != {KEY} or not isinstance(given, list) or not 0 < len(given) <= len(steps):
        raise _invalid(name, "needs a list of answers, one for each step")
    found: list[dict[str, Any]] = []
    for step, answer in zip(steps, given, strict=False):
        if not isinstance(answer, dict):
            raise _invalid(name, "an answer is no object")
        if found and not _goes_on(steps[len(found) - 1], found[-1]):
            raise _invalid(name, "it went on where the series ends")
        found.append(held(step.operation, name, answer))
    if len(found) < len(steps) and _goes_on(steps[len(found) - 1], found[-1]):
        raise _invalid(name, "it ended where the series goes on")
    return found


def _goes_on(step: Step, answer: Mapping[str, Any]) -> bool:
    return "error" not in answer and all(answer.get(name) == value for name, value in step.needs.items())


def _invalid(name: str, why: str) -> FactsError:
    return FactsError(f"found an invalid answer from {name} (series: {why}), needed what our own script sends: {NEXT}")
