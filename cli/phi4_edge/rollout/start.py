"""Whether a rollout may begin at all, and what is said of every host when it may not. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any

from phi4_edge.core.facts import activity, lock
from phi4_edge.core.facts.model import HostFacts
from phi4_edge.core.facts.sources import Sources
from phi4_edge.core.rollout.machine import End, Rollout, Stop
from phi4_edge.core.rollout.outcome import BAD, COUNTED, Outcome
from phi4_edge.errors import FactsError
from phi4_edge.rollout.result import HostResult

_NAMED = 5  # hosts that a command to copy still names


def says_held(document: Mapping[str, Any]) -> bool:
    """Whether a host says in its facts document that a run which lives has it."""
    try:
        return activity.lock(Sources(document)).state == "held"
    except FactsError:
        return False


def held(facts: Mapping[str, HostFacts]) -> dict[str, HostResult]:
    """Results of those hosts that say another run holds them; each speaks for itself alone."""
    wait = "wait for that run, or give --lock-wait SECONDS; of a run that is dead: phi4-edge lock release INVENTORY"
    locks = {host: asdict(one.lock) for host, one in facts.items() if one.lock.state == "held"}
    return {
        host: HostResult(host, Outcome.LOCKED, f"{lock.found(holder)}; needed it unlocked", wait)
        for host, holder in locks.items()
    }


def too_many_down(rollout: Rollout, limit: str | None = None) -> dict[str, HostResult]:
    """Results of all hosts of the waves where those that count before the first wave are already too many; else {}.

    `limit`: as it was given; what is advised reaches no host beyond it.
    """
    action = rollout.action
    if not isinstance(action, End) or action.stop not in (Stop.BUDGET, Stop.LOCKED):
        return {}
    counted = BAD if rollout.skip_locked else COUNTED
    bad = [host for host, outcome in rollout.before.items() if outcome in counted]
    without = _without(limit or "all", bad)
    out = f"leave them out (--limit {without})" if len(bad) <= _NAMED else "leave them out with --limit"
    reason = (
        f"the rollout did not start: {rollout.bad} of {rollout.total} hosts cannot be used{_claims(rollout)}, "
        f"--max-failures allows {rollout.budget}; nothing was changed on any host"
    )
    step = f"fix those hosts, or {out}, or allow them: --max-failures {rollout.bad}"
    if action.stop is Stop.LOCKED:
        step = f"wait for that run, or {out}, or skip locked hosts: --skip-locked"
    return {
        host: replace(HostResult(host, Outcome.UNTOUCHED, reason, step), wave=wave.number)
        for wave in rollout.waves
        for host in wave.hosts
    }


def _claims(rollout: Rollout) -> str:
    """Who of them says that another run has locked it."""
    names = [host for host, outcome in rollout.before.items() if outcome is Outcome.LOCKED]
    if not names or rollout.skip_locked:
        return ""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f" ({', '.join(names[:_NAMED])}{more}: locked by another run, as they report)"


def _without(limit: str, hosts: Iterable[str]) -> str:
    """The pattern `limit` without these hosts, for a shell. Ansible takes no mix of its two separators."""
    separator = ":" if ":" in limit and "," not in limit else ","
    return "'" + separator.join([limit, *(f"!{host}" for host in hosts)]).replace("'", "'\\''") + "'"
