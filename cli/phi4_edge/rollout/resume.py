"""What is left of a rollout that did not come to its end."""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phi4_edge.core.rollout.outcome import GOOD
from phi4_edge.core.rollout.waves import Size, Wave, plan_waves
from phi4_edge.errors import RecordError
from phi4_edge.rollout import record
from phi4_edge.rollout.result import HostResult, Outcome

_AGAIN = " (resumed)"


@dataclass(frozen=True)
class Resumed:
    """A rollout to go on with. `finished` hosts are not touched again; `unwatched` are those of them whose wave was not
    watched to the end, and `cut` the other hosts of that wave. `waves`: name and hosts of each, without the finished
    ones."""

    id: str
    limit: str | None
    options: Mapping[str, Any]
    finished: Mapping[str, HostResult]
    unwatched: tuple[str, ...] = ()
    cut: tuple[str, ...] = ()
    waves: tuple[tuple[str, tuple[str, ...]], ...] = ()
    plans: tuple[Mapping[str, Any], ...] = field(default=())

    def require(self, extra_vars: int) -> None:
        """Raises RecordError where another number of `--extra-vars` is given than before: no record has what they say.

        Without them the hosts that are left would get something else than those that are finished.
        """
        before = self.options.get("extra_vars", extra_vars)
        if before != extra_vars:
            raise RecordError(
                f"found {extra_vars} --extra-vars, needed {before} as the rollout {self.id} was begun with, for no "
                "record keeps them: give the same ones again, or begin anew without --resume"
            )

    def doubtful(self, ready: Mapping[str, HostResult], hosts: Container[str]) -> dict[str, HostResult]:
        """Those of `hosts` that are to be watched before another one is changed, with what became of them so far.

        `ready`: hosts that turned out to be as planned. One of a wave that was killed may be so because it was changed
        just before, when nobody could say so any more.
        """
        known = {host: self.finished[host] for host in self.unwatched if host in hosts}
        return known | {host: ready[host] for host in self.cut if host in ready and host in hosts}

    def waves_of(self, kinds: Mapping[str, Hashable], wave: Size) -> tuple[Wave, ...]:
        """The waves as they were planned, with those of their hosts that are in `kinds`; new hosts come last."""
        parts = [(name, tuple(host for host in hosts if host in kinds)) for name, hosts in self.waves]
        known = {host for _, hosts in parts for host in hosts}
        new = plan_waves({host: kind for host, kind in kinds.items() if host not in known}, Size(0), wave)
        parts += [(f"new hosts, {part.name}", part.hosts) for part in new]
        named = [(name, hosts) for name, hosts in parts if hosts]
        return tuple(Wave(name, number, hosts) for number, (name, hosts) in enumerate(named))


def newest(root: Path, inventory: Sequence[str], operation: str) -> Resumed:
    """The rollout that is gone on with. Raises RecordError when there is none, LockedError while it still runs."""
    name = record.newest_unfinished(root, inventory, operation)
    if name is None:
        raise RecordError(
            f"found no unfinished {operation} of {', '.join(inventory)} on record, needed one to continue: "
            "run without --resume; see phi4-edge rollout list"
        )
    return resumed(record.load(root, name), record.events(root, name))


def resumed(document: Mapping[str, Any], events: Iterable[Mapping[str, Any]]) -> Resumed:
    """What is left, from the document `phi4-edge/rollout/1` and its events. Pure."""
    finished = {host["host"]: _result(host) for host in document["hosts"] if host["outcome"] in GOOD}
    place = {host["host"]: host["wave"] for host in document["hosts"]}
    changed, wave_hosts = _unwatched(events)
    waves = tuple(
        (
            wave["name"].removesuffix(_AGAIN),
            tuple(host for host in wave["hosts"] if host not in finished and place.get(host) == wave["number"]),
        )
        for wave in document["waves"]
    )
    return Resumed(
        id=document["id"],
        limit=document["limit"],
        options=document["options"],
        finished=finished,
        unwatched=tuple(host for host in changed if host in finished),
        cut=tuple(host for host in wave_hosts if host not in finished),
        waves=waves,
        plans=tuple(host["plan"] for host in document["hosts"] if host["plan"] and host["host"] in finished),
    )


def _result(host: Mapping[str, Any]) -> HostResult:
    return HostResult(
        host["host"],
        Outcome(host["outcome"]),
        str(host["reason"] or ""),
        release=host["release"],
        changed=int(host["changed"]),
        seconds=float(host["seconds"]),
    )


def _unwatched(events: Iterable[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Of the wave that began last, unless its bake came to its end: hosts that are known as changed, and all of it."""
    waiting: list[str] = []
    wave: list[str] = []
    for event in events:
        name = event["event"]
        if name in ("wave", "bake_end", "revert"):
            waiting, wave = [], list(event["hosts"]) if name == "wave" else []
        elif name == "host" and event["result"]["outcome"] == Outcome.DONE:
            waiting.append(event["result"]["host"])
    return waiting, wave
