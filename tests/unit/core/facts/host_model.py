"""A host as far as a run that may be cut anywhere matters: every state that it goes through."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from phi4_edge.core.facts.journal import ROLLBACK, STEPS, Journal, Recovery, recovery


@dataclass(frozen=True, slots=True)
class Machine:
    """A host as far as this matters: `current` is what the link names and boots, `up` whether it answers.

    `committed` is the release of the receipt; "" stands for none.
    """

    current: str = ""
    up: bool = False
    committed: str = ""
    journal: Journal = field(default_factory=Journal)

    @property
    def serving(self) -> str:
        """The release that answers, "" when none does."""
        return self.current if self.up else ""

    def rebooted(self, good: frozenset[str]) -> Machine:
        """Return the host after its power was cut: what the link names starts, and answers if it is `good`."""
        return replace(self, up=self.current in good)

    def run(self, wanted: str, good: frozenset[str], fails: str = "") -> Iterator[Machine]:
        """Yield every state that a run to `wanted` goes through; whoever cuts it stops taking them.

        `good` are the releases that answer, `fails` is a step that ends with an error.
        """
        host = self
        if recovery(host.journal, host.committed, wanted) is Recovery.UNDO:
            for after in host._back(wanted, good):
                yield after
                host = after
        for step in STEPS:
            host = host._noted(wanted, step, "before")
            yield host
            failed = step == fails
            for after in () if failed else host._does(step, wanted, good):
                yield after
                host = after
            if failed or (step == "probe" and not host.up):
                host = host._noted(wanted, step, "failed")
                yield host
                yield from host._back(wanted, good) if host.journal.switched else host._left(wanted)
                return
            host = host._noted(wanted, step, "after")
            yield host

    def _does(self, step: str, wanted: str, good: frozenset[str]) -> Iterator[Machine]:
        if step == "switch":
            # Where memory does not hold both, the old one is stopped before the new one starts.
            yield replace(self, up=False)
            yield replace(self, current=wanted, up=False)
            yield replace(self, current=wanted, up=wanted in good)
        if step == "commit":
            yield replace(self, committed=wanted)

    def _back(self, wanted: str, good: frozenset[str]) -> Iterator[Machine]:
        """Yield the way back to what is committed; where nothing is, nothing is left running."""
        host = self._noted(wanted, ROLLBACK, "before")
        yield host
        host = replace(host, current=host.committed, up=False)
        yield host
        host = replace(host, up=host.committed in good)
        yield host
        yield host._noted(wanted, ROLLBACK, "after")

    def _left(self, wanted: str) -> Iterator[Machine]:
        """Yield the end of a run that failed before it had switched anything."""
        yield replace(self, journal=replace(self.journal, closed=True))

    def _noted(self, release: str, step: str, phase: str) -> Machine:
        return replace(self, journal=self.journal.then(Journal(True, "run", "provision", release, step, phase)))
