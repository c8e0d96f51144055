"""From the files of a rollout's journal to the document `phi4-edge/rollout/1`. Pure: the same files, the same document.

Events of a resumed rollout follow those of its earlier parts: its waves come after the ones that had begun by then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from phi4_edge.core.rollout.outcome import BAD, COUNTED, GOOD
from phi4_edge.errors import AGAIN

Event = Mapping[str, Any]
_ENDED = ("outcome", "reason", "next_step", "release", "changed", "seconds")
_STATES = {"budget": "stopped", "locked": "stopped", "interrupted": "interrupted"}
_DEAD = "the run on the controller died while this host was in progress: the next run finishes or undoes what it began"


@dataclass
class Parts:
    """What the files hold. `alive`: the process that drives it is there."""

    header: Mapping[str, Any]
    plans: Iterable[Mapping[str, Any]] = ()
    events: Iterable[Event] = ()
    result: Mapping[str, Any] | None = None
    alive: bool = False
    notes: tuple[str, ...] = ()


def build(parts: Parts) -> dict[str, Any]:
    """The document. Raises KeyError, TypeError, ValueError or AttributeError when the files are not of ours."""
    story = Story()
    for plan in parts.plans:
        story.host(plan["host"])["plan"] = dict(plan)
    for event in parts.events:
        story.take(event)
    story.conclude(parts.result, parts.alive)
    header, result = parts.header, parts.result or {}
    code, stopped = result.get("exit_code"), result.get("stopped")
    hosts = story.listed(result)
    options = dict(header.get("options") or {})
    counted = BAD if options.get("skip_locked") else COUNTED
    bad = sum(entry["outcome"] in counted for entry in hosts)
    return {
        "format": "phi4-edge/rollout/1",
        "id": str(header["id"]),
        "operation": str(header["operation"]),
        "state": _state(parts, code, stopped, {str(entry["outcome"]) for entry in hosts}),
        "stopped": stopped,
        "started": str(header["started"]),
        "ended": story.ended,
        **{name: str(story.driver.get(name) or header[name]) for name in ("user", "controller", "version")},
        "pid": int(story.driver.get("pid") or header["pid"]),
        "inventory": [str(path) for path in header.get("inventory", ())],
        "limit": header.get("limit"),
        "options": options,
        "exit_code": code,
        "budget": {"size": story.budget, "bad": bad, "exceeded": story.exceeded or stopped == "budget"},
        "waves": [wave | {"hosts": list(wave["hosts"])} for wave in story.waves],
        "hosts": hosts,
        "notes": [*story.notes, *parts.notes],
    }


def _state(parts: Parts, code: int | None, stopped: str | None, outcomes: AbstractSet[str]) -> str:
    if parts.result is None:
        return "running" if parts.alive else "dead"
    if code or stopped or outcomes <= GOOD:
        return _STATES.get(stopped or "", "failed" if code else "done")
    # Its last part went well, for fewer hosts: `--resume --limit` does not end what the others wait for.
    return "failed" if outcomes & BAD else "interrupted"


@dataclass
class Story:
    """What the events told so far."""

    waves: list[dict[str, Any]] = field(default_factory=list)
    hosts: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    driver: Mapping[str, Any] = field(default_factory=dict)
    budget: str | None = None
    exceeded: bool = False
    ended: str | None = None
    _heard: str | None = None
    _offset: int = 0
    _baking: bool = False
    _last: dict[str, str] = field(default_factory=dict)  # when a host was last heard of in the step that it is in

    def host(self, name: str) -> dict[str, Any]:
        """The host's entry, made where there is none."""
        return self.hosts.setdefault(
            str(name),
            {"host": str(name), "wave": None, "outcome": None, "reason": None, "next_step": None, "release": None}
            | {"changed": 0, "seconds": 0.0, "began": None, "ended": None, "steps": [], "plan": None},
        )

    def take(self, event: Event) -> None:
        """One more event; those that this version does not know say nothing."""
        self._heard = str(event["at"])
        handle = getattr(self, f"_on_{event['event']}", None)
        if handle is not None:
            handle(event, str(event["at"]))

    def _on_waves(self, event: Event, at: str) -> None:
        gone = [wave for wave in self.waves if not wave["began"]]
        self.waves = [wave for wave in self.waves if wave["began"]]
        for name in (name for wave in gone for name in wave["hosts"]):  # their numbers are given to other waves
            self.host(name)["wave"] = None
        self._offset = len(self.waves)
        again = " (resumed)" if self._offset else ""
        for wave in event["waves"]:
            number, hosts = int(wave["number"]) + self._offset, [str(host) for host in wave["hosts"]]
            made = {"name": f"{wave['name']}{again}", "number": number, "hosts": hosts}
            self.waves.append(made | {"began": None, "ended": None, "bake_seconds": 0})
            for host in hosts:  # what it came to in an earlier part is not what it comes to in this one
                self.host(host).update(wave=number, outcome=None, reason=None, next_step=None)
        self.budget = str(event["budget"])

    def _wave(self, event: Event) -> dict[str, Any]:
        return self.waves[int(event["number"]) + self._offset]

    def _on_wave(self, event: Event, at: str) -> None:
        self._wave(event)["began"] = at

    def _on_wave_end(self, event: Event, at: str) -> None:
        self._wave(event)["ended"] = at

    def _on_bake(self, event: Event, at: str) -> None:
        self._wave(event)["bake_seconds"] = event["seconds"]
        self._baking = True

    def _on_bake_end(self, event: Event, at: str) -> None:
        self._baking = False

    def _on_revert(self, event: Event, at: str) -> None:
        self._baking = False
        if hosts := [str(host) for host in event["hosts"]]:
            self.notes.append(f"{', '.join(hosts)}: brought back to the release before: {event['why']}")

    def _on_budget(self, event: Event, at: str) -> None:
        self.exceeded = bool(event["exceeded"])

    def _on_note(self, event: Event, at: str) -> None:
        self.notes.append(str(event["text"]))

    def _on_error(self, event: Event, at: str) -> None:
        self.notes.append(f"it ended with an error: {event['message']}")

    def _on_resumed(self, event: Event, at: str) -> None:
        """A later part: who was under way or had failed gets another turn, and is said so then."""
        self.driver, self._baking, self.exceeded, self.ended = event, False, False, None
        self.notes.append(f"resumed at {at} by {event['user']}@{event['controller']}")
        for name in self.hosts:
            self._close(name, self._last.get(name, at))

    def _on_step(self, event: Event, at: str) -> None:
        if self._baking:  # watching is no step of the host: it would dwarf them all
            return
        host = self.host(event["host"])
        self._close(host["host"], at)
        host["began"] = host["began"] or at
        host["changed"] = max(host["changed"], int(event.get("changed") or 0))
        host["steps"].append({"role": str(event["role"]), "began": at, "seconds": None})
        self._last[host["host"]] = at

    def _on_trouble(self, event: Event, at: str) -> None:
        host = self.host(event["host"])
        self._last[host["host"]] = at
        host["reason"] = str(event["message"]) or host["reason"]

    def _on_host(self, event: Event, at: str) -> None:
        found = event["result"]
        host = self.host(found["host"])
        until = str(event.get("until") or at)
        self._close(host["host"], until)
        host["ended"] = until if host["began"] else None
        host.update({name: found.get(name) for name in _ENDED})

    def _on_result(self, event: Event, at: str) -> None:
        self.ended = at

    def _close(self, name: str, at: str) -> None:
        """The step that the host is in ends now."""
        steps = self.hosts[name]["steps"]
        if steps and steps[-1]["seconds"] is None:
            steps[-1]["seconds"] = between(steps[-1]["began"], at)

    def conclude(self, result: Mapping[str, Any] | None, alive: bool) -> None:
        """Nothing more was told: what is open is closed, and every host has an outcome unless it is under way."""
        self.ended = (self.ended or self._heard) if result else None
        for found in result["hosts"] if result else ():
            host = self.host(found["host"])
            host.update({name: found.get(name) for name in _ENDED})
            if found.get("wave") is not None:
                host["wave"] = int(found["wave"]) + self._offset
        for name, host in self.hosts.items():
            last = self._last.get(name, host["began"])
            if last is not None:
                self._close(name, last)
            if host["outcome"] is None and host["began"]:
                host["seconds"] = between(host["began"], str(last))
            if host["outcome"] is None and not alive:
                begun = host["began"] is not None
                host["outcome"] = "interrupted" if begun else "untouched"
                host["reason"] = host["reason"] or (_DEAD if begun else "the run ended before its turn")
                host["next_step"] = AGAIN

    def listed(self, result: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The hosts in the order of the result, which is that of the inventory; else wave by wave."""
        order = {found["host"]: index for index, found in enumerate(result.get("hosts") or ())}
        last = len(self.waves)
        rank = {name: (order.get(name, len(order)), _number(host, last)) for name, host in self.hosts.items()}
        return sorted(self.hosts.values(), key=lambda host: rank[host["host"]])


def _number(host: Mapping[str, Any], last: int) -> int:
    return last if host["wave"] is None else int(host["wave"])


def between(began: str, ended: str) -> float:
    """Seconds from one time of a record to another, never less than none: clocks are set."""
    return round(max(0.0, (_moment(ended) - _moment(began)).total_seconds()), 3)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text} names no time zone")
    return moment
