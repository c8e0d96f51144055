"""What of the store nobody needs any more, and why the rest stays. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from phi4_edge.artifacts.store.stock import DOWNLOAD, ENVIRONMENT, IMAGE, LEFTOVER, MODEL, Item


@dataclass(frozen=True)
class Rules:
    """What is needed, and from when on a thing may go.

    `named`: names and digests that plans on record have, each with the rollout that had it last; `rollouts`: of how
    many of each inventory. `environments`: folders of this release. `older_than`: seconds; `models`: those too.
    """

    named: Mapping[str, str]
    rollouts: int
    environments: frozenset[str]
    older_than: float
    models: bool = False


@dataclass(frozen=True)
class Verdict:
    """Whether `item` goes, and why; for people."""

    item: Item
    goes: bool
    why: str


def judge(items: Iterable[Item], rules: Rules, now: float) -> list[Verdict]:
    """What becomes of each, in the same order; `now` in seconds since the epoch."""
    found = [_verdict(item, rules, now) for item in items]
    built = [verdict.item for verdict in found if verdict.item.kind == IMAGE and not verdict.goes]
    # An image that is built here is compared with what it is built from each time that a plan needs it.
    parts = {str(one.source.get(part)): one.name for one in built for part in ("base", "wheels")}
    return [
        Verdict(verdict.item, False, f"{parts[verdict.item.digest]} is built from it")
        if verdict.goes and verdict.item.digest in parts
        else verdict
        for verdict in found
    ]


def _verdict(item: Item, rules: Rules, now: float) -> Verdict:
    if item.kind == LEFTOVER:
        return Verdict(item, True, "left by a process that was killed")
    if keeps := _keeps(item, rules):
        return Verdict(item, False, keeps)
    if now - item.touched < rules.older_than:
        return Verdict(item, False, "not older than --older-than")
    if item.kind == DOWNLOAD:
        return Verdict(item, True, "an interrupted download, or an archive that was unpacked")
    if item.kind == ENVIRONMENT:
        return Verdict(item, True, "this release uses another one")
    return Verdict(item, True, f"no plan of the last {rules.rollouts} rollouts names it")


def _keeps(item: Item, rules: Rules) -> str:
    """Why `item` stays however old it is; "" where only its age counts."""
    if item.source.get("kind") == "import":
        return "imported by hand: only 'phi4-edge model remove' takes it"
    if item.kind == ENVIRONMENT:
        return "this release uses it" if item.name in rules.environments else ""
    if item.kind == DOWNLOAD:
        return ""
    rollout = next((rules.named[name] for name in (*item.names, item.digest) if name in rules.named), "")
    if rollout:
        return f"rollout {rollout} names it"
    if item.kind == MODEL and not rules.models:
        return "a model, and no --all was given"
    return "" if rules.named else "no rollout on record says what is needed"
