"""What action plugins decide a plan from: the host's variables, and what this controller holds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from phi4_edge import content
from phi4_edge.core.plan.decide import Inputs, Plan
from phi4_edge.core.plan.overrides import EXTRA, PREFIX
from phi4_edge.core.rollout import planned

# With fact injection on, our own facts look like variables of the inventory; they may be of a play before this one.
RESULTS = (
    "phi4_facts", "phi4_lock", "phi4_plan", "phi4_images", "phi4_rollback", "phi4_watch", "phi4_doctor", "phi4_gate",
    "phi4_exchange", "phi4_bench",
)  # fmt: skip


def wishes(variables: Mapping[str, Any], evaluated: Callable[[Any], Any]) -> dict[str, Any]:
    """What the inventory asks for, of all variables of a task; `evaluated`: a value without its templates."""
    return {
        name: evaluated(value)
        for name, value in variables.items()
        if name in EXTRA or (name.startswith(PREFIX) and name not in (*RESULTS, *planned.VARIABLES))
    }


def place(variables: Mapping[str, Any], evaluated: Callable[[Any], Any]) -> tuple[str, tuple[str, ...]]:
    """Address of a task's host, and the sources of its inventory."""
    address = str(evaluated(variables.get("ansible_host")) or "")
    return address, tuple(map(str, variables.get("ansible_inventory_sources") or ()))


def inputs(store: Path) -> Inputs:
    """What releases are made of, as far as a store of this controller has it."""
    return Inputs(
        artifacts=_indexed(store / "index.json", "artifacts"),
        runtimes=content.runtimes(),
        images=_indexed(store / "images.json", "images"),
    )


def refusal(plan: Plan, expected: str) -> str:
    """Why this plan must not be applied, or "" when it may."""
    if not plan.fits:
        return "nothing fits this host: " + "; ".join([*plan.missing, *plan.reasons]) + ". Nothing was changed"
    if not plan.applicable:
        return f"the plan cannot be applied: {plan.not_applicable}. Nothing was changed"
    if plan.blockers:
        return f"something is in the way: {'; '.join(plan.blockers)}. Nothing was changed"
    if plan.awaits:
        return (
            f"found no {' and no '.join(plan.awaits)} in the store of this controller, needed all that the release is "
            "made of. Nothing was changed; make it with `phi4-edge provision` or `phi4-edge model`, or from a bundle"
        )
    if expected and plan.fingerprint != expected:
        return (
            f"found plan {str(plan.fingerprint)[:12]} for this host, needed {expected[:12]}, which was agreed to: its "
            "facts, variables or artifacts changed since. Nothing was changed; run the same command again"
        )
    return ""


def _indexed(index: Path, key: str) -> dict[str, str]:
    """Digest by name of what an index of the store holds; nothing where there is no store yet."""
    if not index.is_file():
        return {}
    return {name: str(line["digest"]) for name, line in json.loads(index.read_text())[key].items()}
