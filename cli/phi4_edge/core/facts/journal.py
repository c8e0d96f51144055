"""The steps of one host on the way to a release, its lock and journal, and what a run that finds a half-done one does.

`Machine` is a model of a host: what serves, what is committed and what the journal says, under runs that may end
anywhere. Tests hold the promise to it: a host that served once serves again after the next run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from phi4_edge.core.text import clean

STEPS = ("lock", "stage", "verify", "switch", "probe", "commit", "unlock")
ROLLBACK = "rollback"  # the way back, instead of what comes after a failure
PHASES = ("before", "after", "failed")
# From here on the host may run something else than what was committed.
_SWITCHED = (*STEPS[STEPS.index("switch") :], ROLLBACK)
_CLOSING = frozenset({("commit", "after"), (ROLLBACK, "after"), ("unlock", "before"), ("unlock", "after")})


@dataclass(frozen=True, slots=True)
class Lock:
    """Which run has the host to itself, in its own words.

    `state`: "" for nobody, held (that run lives), ending (it does not, but its last sign of life is not long ago),
    stale (anyone may take the lock over). `age`: seconds since that sign. `started` is the time of its controller.
    """

    state: str = ""
    id: str = ""
    user: str = ""
    host: str = ""
    pid: int = 0
    operation: str = ""
    version: str = ""
    started: str = ""
    age: float = 0.0

    @property
    def present(self) -> bool:
        """Whether there is a lock at all."""
        return self.state != ""


@dataclass(frozen=True, slots=True)
class Journal:
    """The last entry of a host's journal: `operation` was at `step` of bringing it to `release`.

    `closed`: the run said itself that nothing is half done. `at` is the host's own time, for people.
    """

    present: bool = False
    id: str = ""
    operation: str = ""
    release: str = ""
    step: str = ""
    phase: str = ""
    at: str = ""
    closed: bool = False

    @property
    def open(self) -> bool:
        """Whether something is half done."""
        return self.present and not self.closed and (self.step, self.phase) not in _CLOSING

    @property
    def switched(self) -> bool:
        """Whether the host may run something else than what was committed."""
        return self.open and self.step in _SWITCHED

    def then(self, entry: Journal) -> Journal:
        """Return what the journal says once `entry` is written.

        A step before the switch does not replace an open entry that had switched: it would hide that the host may run
        what nobody committed.
        """
        return self if self.switched and entry.step not in _SWITCHED else entry

    @classmethod
    def from_dict(cls, data: object) -> Journal:
        """Return the entry in the host's words; never raises. One that cannot be read counts as switched.

        Nobody knows then how far the host got, so the committed release is made sure of.
        """
        if not isinstance(data, Mapping) or data.get("present") is not True:
            return cls()
        texts = {name: clean(data.get(name)) for name in ("id", "operation", "release", "step", "phase", "at")}
        if texts["step"] not in (*STEPS, ROLLBACK) or texts["phase"] not in PHASES:
            texts |= {"step": "switch", "phase": "before"}
        return cls(present=True, closed=data.get("closed") is True, **texts)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; `from_dict` of it gives an equal entry."""
        return asdict(self)


class Recovery(StrEnum):
    """What a run does about a half-done journal before anything else."""

    NONE = "none"  # nothing is half done, or nothing that the host runs
    FINISH = "finish"  # bring it to the release that was meant: the steps are done again
    UNDO = "undo"  # bring it back to the release that is committed, whatever it runs


def recovery(journal: Journal, committed_release: str, wanted_release: str) -> Recovery:
    """Return what comes first on a host with this journal that shall get `wanted_release` ("" for none)."""
    if not journal.switched:
        return Recovery.NONE
    if wanted_release and (journal.release == wanted_release or not committed_release):
        return Recovery.FINISH
    return Recovery.UNDO if committed_release else Recovery.NONE
