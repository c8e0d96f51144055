"""A plan that was reviewed: read from a file, and held against what the hosts and the inventory are now."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi4_edge import documents
from phi4_edge.core.plan import review
from phi4_edge.core.plan.decide import Plan
from phi4_edge.core.plan.naming import substance
from phi4_edge.core.text import clean
from phi4_edge.errors import FactsError, PreflightError
from phi4_edge.operations.plan import FORMAT, PlanSet
from phi4_edge.rollout.result import HostResult, Outcome

# A fleet of so many hosts is none of ours any more; the plan of one takes 8 KiB as it is written.
MOST_HOSTS = 5000
MOST_BYTES = 48 * 1024 * 1024
MOST_TOLD = 20
# What is carried out: the names of a plan's document, in the order in which a reader wants to hear of them.
_CARRIED = (
    *("engine", "quantization", "accelerator", "service_manager", "context_length", "parallel", "kv_cache_type"),
    *("bind", "port", "knobs", "model", "runtime", "image", "webui", "content"),
)
# Of those, what is decided when a plan is reviewed; digests and sizes are known only when the artifacts are there.
_DECIDED = _CARRIED[:9]
_NAMES = frozenset({"format", "inventory", "limit", "inventory_digest", "plans", "problems", review.DIGEST})
_PROBLEM = frozenset(HostResult("", Outcome.PREFLIGHT).to_dict())
AGAIN = "make and review a new one: phi4-edge plan INVENTORY -o json > FILE"


@dataclass(frozen=True)
class PlanFile:
    """A reviewed `phi4-edge/plans/1`. `plans`: documents by host; `without`: hosts that had none, and why.

    `tampered`: hosts whose plan was changed after it was made, and how that shows.
    """

    path: Path
    plans: Mapping[str, Mapping[str, Any]]
    without: Mapping[str, str]
    inventory: tuple[str, ...]
    inventory_digest: str
    limit: str | None
    tampered: Mapping[str, str]


def read(path: Path) -> PlanFile:
    """The reviewed plans in a file. Raises PreflightError when they cannot be applied from there."""
    try:
        found = documents.read_json(path, MOST_BYTES)
    except documents.DocumentError as error:
        raise _refused(path, str(error)) from error
    if not isinstance(found, Mapping) or found.get("format") != FORMAT:
        raise _refused(path, "found another document")
    if found.get("inventory_digest") is None and "inventory_digest" in found:
        raise _refused(path, "found plans that were made without an inventory")
    try:
        return _plan_file(path, found)
    except _Wrong as error:
        raise _refused(path, str(error)) from error


class _Wrong(Exception):  # noqa: N818  (an answer, not an error)
    """The document is not as we write it; says what was found."""


def _plan_file(path: Path, found: Mapping[str, Any]) -> PlanFile:
    _must_have(found, _NAMES, "the document")
    for name, kind in (("plans", list), ("problems", list), ("inventory", list), ("inventory_digest", str)):
        if not isinstance(found[name], kind):
            raise _Wrong(f"found no {'text' if kind is str else 'list'} under {name}")
    if not all(isinstance(source, str) for source in found["inventory"]):
        raise _Wrong("found an inventory whose name is no text")
    if not isinstance(found["limit"], str | None):
        raise _Wrong("found a limit that is no text")
    plans = [_whole(plan) for plan in found["plans"]]
    without = {_host_of(problem): _problem(problem) for problem in found["problems"]}
    _must_be_single([*(plan["host"] for plan in plans), *(_host_of(problem) for problem in found["problems"])])
    tampered = {plan["host"]: why for plan in plans if (why := review.tampered(plan))}
    if not tampered and found[review.DIGEST] != review.digest(found):
        raise _Wrong("found other hosts, another inventory or another limit than it was made with (see its digest)")
    by_host = {plan["host"]: plan for plan in plans}
    inventory = tuple(found["inventory"])
    return PlanFile(path, by_host, without, inventory, found["inventory_digest"], found["limit"], tampered)


def _must_have(found: object, wanted: Iterable[str], what: str) -> Mapping[str, Any]:
    """The mapping, when it has these names and no others."""
    names = set(wanted)
    if not isinstance(found, Mapping):
        raise _Wrong(f"found no mapping where {what} should be")
    differ = sorted(clean(str(name), 40) for name in names ^ set(found))
    if differ:
        raise _Wrong(f"found {what} that differs from what this release writes in: {', '.join(differ[:5])}")
    return found


def _host_of(found: object) -> str:
    host = found.get("host") if isinstance(found, Mapping) else None
    if not isinstance(host, str) or not host or clean(host, 253) != host:
        raise _Wrong(f"found {clean(ascii(host), 60)}, needed the name of a host")
    return host


def _must_be_single(hosts: Sequence[str]) -> None:
    if len(hosts) > MOST_HOSTS:
        raise _Wrong(f"found {len(hosts)} hosts, needed at most {MOST_HOSTS}")
    host, times = Counter(hosts).most_common(1)[0] if hosts else ("", 0)
    if times > 1:
        raise _Wrong(f"found host {host} {times} times, needed each host once")


def _problem(found: object) -> str:
    host = _host_of(found)
    outcome = _must_have(found, _PROBLEM, f"the problem of host {host}")["outcome"]
    if not isinstance(outcome, str):
        raise _Wrong(f"found an outcome of host {host} that is no text")
    return outcome


def _whole(plan: object) -> Mapping[str, Any]:
    """The plan of one host, when all is there that it is compared by and nothing else."""
    host = _host_of(plan)
    assert isinstance(plan, Mapping)  # noqa: S101 - it has a host
    if lacking := sorted(review.BESIDE - set(plan)):
        raise _Wrong(f"found a plan of host {host} without {', '.join(lacking)}, as older releases wrote it")
    try:
        Plan.from_dict({name: value for name, value in plan.items() if name not in review.BESIDE})
        list(plan["steps"])
    except (FactsError, TypeError) as error:
        raise _Wrong(f"host {host}: {clean(str(error), 200)}") from error
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
    for host, why in file.tampered.items():
        found.append(_tampered(host, why, file.plans[host], plans.get(host)))
    for host, plan in plans.items():
        if host not in file.tampered:
            found += _host(host, file.plans.get(host), plan)
    return found


def _tampered(host: str, why: str, reviewed: Mapping[str, Any], now: Mapping[str, Any] | None) -> str:
    """A plan that was changed after it was made, with what may have been."""
    told = _different(reviewed, now) if now is not None else []
    differs = f"; not as it is planned now: {'; '.join(told)}" if told else ""
    return f"{host}: found a plan that was changed after it was made ({why}), needed it as it was printed{differs}"


def _different(reviewed: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """All that differs from the plan as it is now, what it is named by last."""
    other = [name for name in _NAMED if now[name] != reviewed[name]]
    told = (f"{name} {_shown(now[name])}, was {_shown(reviewed[name])}" for name in other)
    return [*review.differences(reviewed, now), *told]


# Compared one by one where the rest of the plan is not the reviewed one.
_NAMED = ("action", "steps", "release")


def _shown(value: object) -> str:
    return clean(value if isinstance(value, str) else json.dumps(value), 160)


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
    return f"--limit {clean(limit, 120)}" if limit else "no --limit"


def _host(host: str, reviewed: Mapping[str, Any] | None, now: Mapping[str, Any]) -> Iterator[str]:
    if reviewed is None:
        yield f"{host}: found a plan, needed one that was reviewed: it could not be probed then"
        return
    if now["inventory_digest"] != reviewed["inventory_digest"]:
        yield f"{host}: found another address or other phi4_ variables in the inventory than were reviewed"
    now = review.as_reviewed(reviewed, now)
    same = now["fits"] == reviewed["fits"] and (not now["fits"] or substance(now) == substance(reviewed))
    if same and now["action"] == "none":
        return
    if now["facts_digest"] != reviewed["facts_digest"]:
        yield f"{host}: found another machine or another release on it (facts changed) than was reviewed"
    if not same:
        yield f"{host}: found a plan for {_release(now)}, needed {_release(reviewed)} as reviewed{_what(reviewed, now)}"
    elif (now["action"], list(now["steps"])) != (reviewed["action"], list(reviewed["steps"])):
        yield f"{host}: found that it would {_doing(now)}, needed {_doing(reviewed)} as reviewed"
    elif now["facts_digest"] == reviewed["facts_digest"]:
        told = list(review.differences(reviewed, now))
        if told:
            yield f"{host}: found another plan than was shown: {'; '.join(told)}"


def _release(plan: Mapping[str, Any]) -> str:
    if not plan["fits"]:
        return "nothing (nothing fits)"
    if plan["release"] is None:
        return f"a release without a name yet ({clean(', '.join(map(str, plan['awaits'])), 200)} not here)"
    return f"release {clean(str(plan['release']), 60)}"


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
    return "is there now" if new else "is no longer there"


def _plain(value: Any) -> Any:
    """As JSON would give it, so that tuples and lists are equal."""
    return json.loads(json.dumps(value))


def refuse(file: PlanFile, found: Sequence[str]) -> PreflightError:
    """The error of a plan that cannot be applied as it was reviewed, a line for each difference."""
    told = [f"  {line}" for line in found[:MOST_TOLD]]
    told += [f"  and {len(found) - MOST_TOLD} more"] if len(found) > MOST_TOLD else []
    head = f"{clean(str(file.path), 200)} cannot be applied as it was reviewed, and nothing was changed:"
    return PreflightError("\n".join([head, *told, AGAIN]))
