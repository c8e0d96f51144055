"""One thing about a host that somebody has to know: what was found, what was needed, and what mends it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad, best first. Only a problem would stop provisioning; a warning costs time, safety or the GPU."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    PROBLEM = "problem"

    @property
    def rank(self) -> int:
        """0 for ok; higher is worse."""
        return list(Level).index(self)


@dataclass(frozen=True, slots=True)
class Condition:
    """What the judge says of a host. A problem is a blocker of the plan, a warning is a warning of it.

    `check`: the doctor's check that it belongs to. `passing`: it comes and goes while nobody changes anything, so that
    a plan, which people review, does not tell of it unless it is in the way. `terse`: the plan's sentence leaves out
    what was needed, which what was found says already.
    """

    check: str
    level: Level
    found: str
    needed: str
    fix: str
    passing: bool = False
    terse: bool = False

    @property
    def sentence(self) -> str:
        """The condition in the words of the plan, which are those of the doctor."""
        if self.terse:
            return f"found {self.found}; {self.fix}"
        return f"{self.found}, needed {self.needed}: {self.fix}"
