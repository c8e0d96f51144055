"""A plan that was reviewed: read from a file, and held against what the hosts and the inventory are now."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi4_edge.core.text import clean
from phi4_edge.errors import PreflightError
from phi4_edge.rollout.planning import FORMAT, PlanSet

MOST_BYTES = 256 * 1024 * 1024
MOST_TOLD = 20
# What is carried out: the names of a plan's document, in the order in which a reader wants to hear of them.
_CARRIED = (
    *("engine", "quantization", "accelerator", "service_manager", "context_length", "parallel", "kv_cache_type"),
    *("bind", "port", "knobs", "model", "runtime", "image", "webui", "content"),
)
# Of those, what is decided when a plan is reviewed; digests and sizes are known only when the artifacts are there.
_DECIDED = _CARRIED[:9]
AGAIN = "make and review a new one: phi4-edge plan INVENTORY -o json > FILE"


@dataclass(frozen=True)
class PlanFile:
    """A reviewed `phi4-edge/plans/1`. `plans`: documents by host; `without`: hosts that had none, and why."""

    path: Path
    plans: Mapping[str, Mapping[str, Any]]
    without: Mapping[str, str]
    inventory: tuple[str, ...]
    inventory_digest: str
    limit: str | None


def read(path: Path) -> PlanFile:
    """The reviewed plans in a file. Raises PreflightError when they cannot be applied from there."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise _refused(path, f"found more than {MOST_BYTES // 2**20} MiB")
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _refused(path, f"it cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise _refused(path, f"found text that is not JSON ({clean(str(error), 120)})") from error
    if not isinstance(found, Mapping) or found.get("format") != FORMAT:
        raise _refused(path, "found another document")
    digest = found.get("inventory_digest")
    if not isinstance(digest, str):
        raise _refused(path, "found plans that were made without an inventory, or by an older release")
    try:
        return PlanFile(
            path,
            {str(plan["host"]): _whole(plan) for plan in found["plans"]},
            {str(problem["host"]): str(problem["outcome"]) for problem in found["problems"]},
            tuple(str(source) for source in found["inventory"]),
            digest,
            None if found["limit"] is None else str(found["limit"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise _refused(path, f"found a document that lacks or mixes up something ({clean(str(error), 80)})") from error


def _whole(plan: Mapping[str, Any]) -> Mapping[str, Any]:
    """The plan, when all is there that it is compared by; raises KeyError or TypeError."""
    wanted = (*_CARRIED, "fits", "action", "release", "fingerprint", "steps", "facts_digest", "inventory_digest")
    lacking = [name for name in wanted if name not in plan]
    if lacking:
        raise KeyError(lacking[0])
    list(plan["steps"])
    return plan


def _refused(path: Path, why: str) -> PreflightError:
    return PreflightError(f"{clean(str(path), 200)}: {why}, needed a plan of format {FORMAT}; {AGAIN}")


def differences(file: PlanFile, now: PlanSet) -> list[str]:
    """What is not as it was when the plan was reviewed, a sentence each; empty when it can be applied as it is.

    A host that runs what was reviewed already, as after a run that was cut short, is as it was meant to be. One that
    cannot be looked at now is not compared: nothing is done to it.
    """
    found = list(_inventories(file, now))
    if found:
        return found
    plans = {plan["host"]: plan for plan in now.to_dict()["plans"]}
    for host, plan in plans.items():
        found += _host(host, file.plans.get(host), plan)
    return found


def strayed(file: PlanFile, now: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Hosts that were planned for anew since, with a driver or with artifacts that were made, and otherwise now."""
    found = {}
    for plan in now:
        reviewed = file.plans.get(str(plan["host"]))
        if reviewed is None:
            continue
        if told := [f"{name} {plan[name]}, was {reviewed[name]}" for name in _DECIDED if reviewed[name] != plan[name]]:
            found[str(plan["host"])] = clean(f"found another plan than was reviewed: {'; '.join(told)}", 300)
    return found


def _inventories(file: PlanFile, now: PlanSet) -> Iterator[str]:
    """Hosts that came or went, and a limit that explains both."""
    if now.source is None:
        yield "found plans that were made without an inventory, needed hosts to apply the reviewed plan to"
        return
    if now.source.digest == file.inventory_digest:
        return
    reviewed, here = [*file.plans, *file.without], list(now.source.hosts)
    added = [host for host in here if host not in reviewed]
    gone = [host for host in reviewed if host not in here]
    if (added or gone) and file.limit != now.source.limit:
        yield f"found {_limit(now.source.limit)}, needed {_limit(file.limit)}, with which the plan was reviewed"
        return
    yield from (f"found {host} in the inventory, needed only hosts that were reviewed" for host in added)
    yield from (f"found no {host} in the inventory, needed every host that was reviewed" for host in gone)


def _limit(limit: str | None) -> str:
    return f"--limit {limit}" if limit else "no --limit"


def _host(host: str, reviewed: Mapping[str, Any] | None, now: Mapping[str, Any]) -> Iterator[str]:
    if reviewed is None:
        yield f"{host}: found a plan, needed one that was reviewed: it could not be looked at then"
        return
    if now["inventory_digest"] != reviewed["inventory_digest"]:
        yield f"{host}: found another address or other phi4_ variables in the inventory than were reviewed"
    same = now["fingerprint"] == reviewed["fingerprint"]
    if same and now["action"] == "none":
        return
    if now["facts_digest"] != reviewed["facts_digest"]:
        yield f"{host}: found another machine or another release on it (facts changed) than was reviewed"
    if not same:
        yield f"{host}: found a plan for {_release(now)}, needed {_release(reviewed)} as reviewed{_what(reviewed, now)}"
    elif (now["action"], list(now["steps"])) != (reviewed["action"], list(reviewed["steps"])):
        yield f"{host}: found that it would {_doing(now)}, needed {_doing(reviewed)} as reviewed"


def _release(plan: Mapping[str, Any]) -> str:
    return f"release {clean(str(plan['release']), 60)}" if plan["fits"] else "nothing (nothing fits)"


def _doing(plan: Mapping[str, Any]) -> str:
    return clean(f"{plan['action']} ({', '.join(map(str, plan['steps'])) or 'no step'})", 200)


def _what(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Which parts of what is carried out differ, with their values where those are short."""
    told = []
    for name in _CARRIED:
        old, new = _plain(before[name]), _plain(after[name])
        if old == new:
            continue
        simple = not isinstance(old, (dict, list)) and not isinstance(new, (dict, list))
        told.append(clean(f"{name} {new}, was {old}" if simple else f"{name} {_inside(old, new)}", 160))
    return f": {'; '.join(told)}" if told else ""


def _inside(old: Any, new: Any) -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        return f"({', '.join(map(str, names))})"
    return "is there now" if new else "is there no more"


def _plain(value: Any) -> Any:
    """As JSON would give it, so that tuples and lists are equal."""
    return json.loads(json.dumps(value))


def refuse(file: PlanFile, found: Sequence[str]) -> PreflightError:
    """The error of a plan that cannot be applied as it was reviewed, a line for each difference."""
    told = [f"  {line}" for line in found[:MOST_TOLD]]
    told += [f"  and {len(found) - MOST_TOLD} more"] if len(found) > MOST_TOLD else []
    head = f"{clean(str(file.path), 200)} cannot be applied as it was reviewed, and nothing was changed:"
    return PreflightError("\n".join([head, *told, AGAIN]))
