"""What a run does with a host, and what became of it, in one line: for commands and for playbooks. Pure.

Takes plans as `Plan.to_dict()` gives them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from phi4_edge.core.text import joined

PlanDict = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Verb:
    """What an operation has done to a host that it changed, and how the others were already."""

    done: str
    idle: str = "up to date"


# By operation; "check" is what any of them says that changes nothing.
VERBS: Mapping[str, Verb] = MappingProxyType(
    {
        "provision": Verb("provisioned"),
        "rollback": Verb("went back"),
        "remove": Verb("removed", "had nothing to remove"),
        "balance": Verb("balances", "balances already"),
        "trust": Verb("given the keys", "already had the keys"),
        "check": Verb("would change"),
    }
)


def action(plan: PlanDict) -> str:
    """Return what provision would do with the host, in one or two words."""
    if not plan["fits"]:
        return "no fit"
    if not plan["applicable"]:
        return "not yet"
    return "nothing to do" if plan["action"] == "none" else str(plan["action"])


def planned(plan: PlanDict) -> str:
    """Return what a host is to run, and what is to be done for it."""
    if plan["fits"]:
        runs = f"{plan['profile']}, {plan['engine']} {plan['quantization']} on {plan['accelerator']}"
        return joined(plan["host"], f"{runs}, context {plan['context_length']}: {action(plan)}")
    nearest = plan["nearest_profile"]
    return joined(plan["host"], "no fit" + (f" (nearest profile: {nearest})" if nearest else ""))


def ended(host: str, word: str, detail: str = "") -> str:
    """Return how a host ended: a word for it, and what there is to say besides."""
    return joined(host, f"{word}: {detail}" if detail else word)


def went_well(operation: str, host: str, changed: bool, release: str = "") -> str:
    """Return how a host ended that is as it was to be."""
    verb = VERBS[operation]
    return joined(host, (verb.done if changed else verb.idle) + (f", release {release}" if release else ""))
