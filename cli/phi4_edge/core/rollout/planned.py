"""What an inventory may tell of reviewed plans: variables of hosts, and the groups that they make. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from phi4_edge.core.plan.model import Plan
from phi4_edge.core.rollout.outcome import Outcome
from phi4_edge.core.rollout.waves import Size, kind_of, plan_waves
from phi4_edge.core.text import clean
from phi4_edge.errors import FactsError

Value = str | int | bool

PREFIX = "phi4_plan_"
# What groups are made by: `engine` makes engine_onnx.
GROUPED = (
    *("engine", "profile", "quantization", "accelerator", "service_manager", "model", "action", "wave", "problem"),
)
# The complete list. They tell of a plan and are no wishes, so no plan is made from them.
VARIABLES = tuple(PREFIX + name for name in (*GROUPED, "release", "bind", "port", "context_length", "fits", "ready"))
# Templates of Ansible need braces: what a file of plans says is never one, whoever wrote it.
_PLAIN = re.compile(r"[A-Za-z0-9:][A-Za-z0-9._:/+-]{0,120}", re.ASCII)


def variables(
    plans: Mapping[str, Plan], without: Mapping[str, str], canary: Size | None, wave: Size
) -> dict[str, dict[str, Value]]:
    """The variables of every host: of its plan, its wave where it is to be changed, its problem where it has one.

    `without` are hosts that could not be planned for, with the outcome; `canary` and `wave` are those of `provision`.
    Raises FactsError for a plan with values that none of ours has, WaveError for a wave of no hosts.
    """
    found = {host: _of_plan(host, plan) for host, plan in plans.items()}
    found |= {host: _named(host, {"problem": outcome, "ready": False}) for host, outcome in without.items()}
    kinds = {host: kind_of(plan) for host, plan in plans.items() if to_be_changed(plan)}
    for each in plan_waves(kinds, canary, wave):
        number = each.name.removeprefix("wave ")
        for host in each.hosts:
            found[host][f"{PREFIX}wave"] = number
    return found


def to_be_changed(plan: Plan) -> bool:
    """Whether `provision` would change the host."""
    return problem(plan) is None and plan.action != "none"


def problem(plan: Plan) -> Outcome | None:
    """How `provision` would end on the host before it begins, None where it can begin."""
    if not plan.fits:
        return Outcome.NO_FIT
    if not plan.applicable or plan.blockers:
        return Outcome.PREFLIGHT
    return None


def groups(told: Mapping[str, Value], by: Sequence[str], prefix: str) -> list[str]:
    """Names of the groups of a host with these variables, in the order of `by`; only such as need no quotes."""
    values = [(kind, told.get(PREFIX + kind)) for kind in by]
    return [re.sub(r"[^A-Za-z0-9_]", "_", f"{prefix}{kind}_{value}") for kind, value in values if value is not None]


def _of_plan(host: str, plan: Plan) -> dict[str, Value]:
    hindered = problem(plan)
    about: dict[str, object] = {"fits": plan.fits, "ready": hindered is None, "problem": hindered and hindered.value}
    if plan.fits:
        names = ("engine", "profile", "quantization", "accelerator", "service_manager", "action", "release", "bind")
        about |= {name: getattr(plan, name) for name in (*names, "port", "context_length")}
        about["model"] = plan.model.id if plan.model else None
    return _named(host, about)


def _named(host: str, about: Mapping[str, object]) -> dict[str, Value]:
    """The variables with a value. Raises FactsError for one that is neither a number nor a plain word."""
    found: dict[str, Value] = {}
    for name, value in about.items():
        if value is None:
            continue
        if not isinstance(value, int) and not (isinstance(value, str) and _PLAIN.fullmatch(value)):
            raise FactsError(
                f"found {name} {clean(repr(value), 60)} in the plan of host {host}, needed a plain word or a number: "
                "make the plan again with phi4-edge plan"
            )
        found[PREFIX + name] = value
    return found
