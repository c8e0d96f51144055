"""Journals as a rollout leaves them: the calls of a driver on a fleet of four, up to wherever it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from phi4_edge.core.rollout.budget import Budget
from phi4_edge.core.rollout.waves import Size, Wave
from phi4_edge.rollout.journal import Journal
from phi4_edge.rollout.result import HostResult, Outcome, document
from phi4_edge.runner.run import HostEvent

WAVES = (Wave("canary", 0, ("gw1",)), Wave("wave 1", 1, ("gw2", "gw3")), Wave("wave 2", 2, ("gw4",)))
ROLES = ("artifact", "onnx", "service", "health", "receipt")
OPTIONS = {"canary": None, "wave": "50%", "bake": 60.0, "max_failures": "0", "step_timeout": 2700}


def begin(root: Path, inventory: Sequence[str] = ("hosts.ini",), **header: Any) -> Journal:
    """A journal with its plans and waves."""
    meant = {"operation": "provision", "inventory": list(inventory), "limit": None, "options": OPTIONS, **header}
    journal = Journal.begin(root, meant)
    journal.waves(WAVES, Budget(Size(0)))
    return journal


def host(journal: Journal, name: str, roles: Sequence[str] = ROLES, failing: str = "") -> None:
    """What a host tells on its way; with `failing` its last task fails with these words."""
    for role in roles:
        journal.host_event(HostEvent(name, "start", role, f"{role} begins"))
        journal.host_event(HostEvent(name, "changed", role, f"{role} changes something", result={"secret": "hunter2"}))
    if failing:
        journal.host_event(HostEvent(name, "failed", roles[-1], "it breaks", failing))


def wave(journal: Journal, number: int, ends: Mapping[str, HostResult], **failing: str) -> None:
    """A wave from its begin to its end."""
    journal.event("wave", name=WAVES[number].name, number=number, hosts=list(WAVES[number].hosts))
    for name in ends:
        host(journal, name, failing=failing.get(name, ""))
    for result in ends.values():
        journal.event("host", result=result.to_dict(), wave=number)
    journal.event("wave_end", name=WAVES[number].name, number=number)
    journal.event("budget", bad=len(failing), exceeded=bool(failing))


def done(name: str, **more: Any) -> HostResult:
    values: dict[str, Any] = {"release": "r-2", "changed": 5, "seconds": 12.0, **more}
    return HostResult(name, Outcome.DONE, **values)


def bake(journal: Journal, number: int) -> None:
    """A wave is watched and stays well."""
    journal.event("bake", name=WAVES[number].name, number=number, seconds=60.0)
    journal.host_event(HostEvent("gw1", "start", "health", "Watch it"))
    journal.event("bake_end", name=WAVES[number].name, number=number)


def good(root: Path, **header: Any) -> str:
    """All four hosts are done."""
    journal = begin(root, **header)
    ends = {name: done(name) for each in WAVES for name in each.hosts}
    for each in WAVES:
        wave(journal, each.number, {name: ends[name] for name in each.hosts})
        if each.number + 1 < len(WAVES):
            bake(journal, each.number)
    journal.result(document(list(ends.values()), rollout=journal.id))
    return journal.id


WHY = (
    "found no answer to a real question within 30 s, needed one; the last lines of its journal:\n  no token after 30 s"
)


def contained(root: Path, **header: Any) -> str:
    """The first wave after the canary breaks a host; its other host goes back, and the last one is not touched."""
    journal = begin(root, **header)
    wave(journal, 0, {"gw1": done("gw1")})
    bake(journal, 0)
    broken = HostResult("gw2", Outcome.ROLLED_BACK, WHY, "fix the cause, then run again", "r-1", 5, 31.0)
    wave(journal, 1, {"gw2": broken, "gw3": done("gw3")}, gw2=WHY)
    journal.event("revert", name="wave 1", number=1, hosts=["gw3"], why="1 of 3 hosts are bad, and the budget is 0")
    host(journal, "gw3", ("service", "health"))
    back = HostResult("gw3", Outcome.REVERTED, "it was good, and went back to r-1", "", "r-1", 7, 20.0)
    journal.event("host", result=back.to_dict(), wave=1)
    journal.event("stop", why="budget")
    left = HostResult("gw4", Outcome.UNTOUCHED, "the rollout was stopped; nothing was changed", "mend the cause")
    ends = [replace(each, wave=number) for each, number in ((done("gw1"), 0), (broken, 1), (back, 1), (left, 2))]
    journal.result(document(ends, False, journal.id, "budget"))
    return journal.id


def cut(root: Path, **header: Any) -> Journal:
    """The controller dies while gw2 is in role service and gw3 has not begun; close it to let it be dead."""
    journal = begin(root, **header)
    wave(journal, 0, {"gw1": done("gw1")})
    journal.event("wave", name="wave 1", number=1, hosts=["gw2", "gw3"])
    host(journal, "gw2", ROLES[:3])
    return journal
