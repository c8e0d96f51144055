"""What nobody needs any more is taken out of the controller's store, and out of its records of rollouts."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi4_edge.artifacts.store import stock, surplus
from phi4_edge.artifacts.store.store import Store
from phi4_edge.artifacts.store.surplus import Rules
from phi4_edge.rollout import pruning

FORMAT = "phi4-edge/prune/1"
REMOVED, KEPT, WOULD = "removed", "kept", "would be removed"


@dataclass
class Thing:
    """One thing that a prune has looked at. `outcome`: removed, kept, or would be removed (nothing was done yet)."""

    kind: str
    name: str
    size: int
    age: float | None
    outcome: str
    why: str

    def to_dict(self) -> dict[str, Any]:
        """Its line in the document."""
        age = None if self.age is None else int(self.age)
        return {
            "kind": self.kind, "name": self.name, "size": self.size, "age_seconds": age, "outcome": self.outcome,
            "why": self.why,
        }  # fmt: skip


@dataclass
class Pruning(ABC):
    """All that is in one place, and what becomes of it. `remove` does it; nothing is changed before."""

    place: Path
    things: list[Thing]

    @property
    def going(self) -> list[Thing]:
        """What is to be removed and is not yet."""
        return [thing for thing in self.things if thing.outcome == WOULD]

    @abstractmethod
    def remove(self) -> None:
        """Nothing is left to be removed; what somebody has begun to use meanwhile is kept, and says so."""

    def to_dict(self) -> dict[str, Any]:
        """The document `phi4-edge/prune/1`."""
        totals = {
            name: sum(thing.size for thing in self.things if thing.outcome == outcome)
            for name, outcome in (("removed_bytes", REMOVED), ("would_be_removed_bytes", WOULD), ("kept_bytes", KEPT))
        }
        return {"format": FORMAT, "place": str(self.place), **totals, "things": [one.to_dict() for one in self.things]}


def _ended(thing: Thing, stays: str) -> None:
    thing.outcome, thing.why = (KEPT, stays) if stays else (REMOVED, thing.why)


@dataclass
class StorePruning(Pruning):
    """The store of artifacts."""

    store: Store
    items: Sequence[stock.Item]

    @classmethod
    def look(cls, state: Path, keep: int, older_than: float, models: bool) -> StorePruning:
        """What becomes of each thing in the store; `state`: where the records of rollouts are.

        Raises RecordError for a record whose plans count and cannot be read, ArtifactError for a store that cannot.
        """
        store, now = Store(), time.time()
        rules = Rules(pruning.named(state, keep), keep, environments(), older_than, models)
        verdicts = surplus.judge(stock.stock(store), rules, now)
        things = [
            Thing(one.item.kind, one.item.name, one.item.size, max(now - one.item.touched, 0.0),
                  WOULD if one.goes else KEPT, one.why)
            for one in verdicts
        ]  # fmt: skip
        return cls(store.root, things, store, [one.item for one in verdicts])

    def remove(self) -> None:
        """As in any place."""
        for thing, item in zip(self.things, self.items, strict=True):
            if thing.outcome == WOULD:
                _ended(thing, stock.remove(self.store, item))


@dataclass
class RecordsPruning(Pruning):
    """The records of rollouts, the oldest first: what a kill leaves is as if fewer had been asked for."""

    state: Path

    @classmethod
    def look(cls, state: Path, keep: int, older_than: float) -> RecordsPruning:
        """What becomes of each record. Raises RecordError where they cannot be read."""
        found = pruning.judge(state, keep, older_than)
        things = [Thing("rollout", one.id, one.size, one.age, WOULD if one.goes else KEPT, one.why) for one in found]
        return cls(pruning.folder(state), things, state)

    def remove(self) -> None:
        """As in any place; also what an earlier, killed prune left out of sight."""
        pruning.sweep(self.state)
        for thing in self.going:
            _ended(thing, pruning.remove(self.state, thing.name))


def environments() -> frozenset[str]:
    """Folders below environments/ that this release uses."""
    from phi4_edge.artifacts.convert import environment, llamacpp, onnx_prover, prover

    return frozenset(
        {environment.name(), prover.name(), onnx_prover.name(), llamacpp.sources_name(), llamacpp.tool_name()}
    )
