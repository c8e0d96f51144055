"""What a rollout comes to, in words: the verdict, what failed and why, what to run next. Takes `phi4-edge/rollout/1`.

Pure. Page and Markdown tell the same story from here; nothing here is escaped or cleaned yet.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Any

from phi4_edge.core.rollout.outcome import BAD, GOOD
from phi4_edge.report import plans
from phi4_edge.report.outcomes import WORDS, word
from phi4_edge.report.text import count

Document = Mapping[str, Any]
Host = Mapping[str, Any]
# Of one step: how many seconds after the host's first it began, and how many it took.
Turns = Sequence[tuple[float, float]]


# Hosts that the rollout has in its list and that nothing was done to, nor should be.
QUIET = GOOD | {"untouched", "running"}
_AFTERWARDS = re.compile(r" \((?:the host is back on|and going back to|there is no release before) .*\)$")
_UNENDED = {"running": "Still running", "dead": "Died without a result, its process is gone"}


def outcome(host: Host) -> str:
    """The host's outcome; in a rollout without an end a host that has begun is under way."""
    return str(host.get("outcome") or ("running" if host.get("began") else "untouched"))


def counts(hosts: Sequence[Host]) -> list[tuple[str, int]]:
    """Outcome and number of hosts, the worst first."""
    found: dict[str, int] = {}
    for host in hosts:
        found[outcome(host)] = found.get(outcome(host), 0) + 1
    order = list(WORDS)
    return sorted(found.items(), key=lambda item: order.index(item[0]) if item[0] in order else -1)


def counted(hosts: Sequence[Host]) -> str:
    """'2 failed, 6 not begun'."""
    return ", ".join(f"{number} {word(name).text}" for name, number in counts(hosts))


@dataclass(frozen=True)
class Section:
    """A wave with its hosts; `wave` is None for hosts that were left out before the first wave."""

    name: str
    hosts: tuple[Host, ...]
    wave: Mapping[str, Any] | None = None


def sections(document: Document) -> list[Section]:
    """Every host once: the waves in their order, then those that are in no wave."""
    waves = document.get("waves") or ()
    numbers = {wave["number"] for wave in waves}
    hosts = document["hosts"]
    found = [Section(wave["name"], tuple(h for h in hosts if h.get("wave") == wave["number"]), wave) for wave in waves]
    rest = tuple(host for host in hosts if host.get("wave") not in numbers)
    return [*found, Section("in no wave", rest)] if rest else found


def tone(document: Document) -> str:
    """The colour of the whole."""
    names = {outcome(host) for host in document["hosts"]}
    if names & BAD or document["state"] == "dead" or document.get("stopped") == "budget":
        return "bad"
    if document["state"] == "running":
        return "idle"
    return "good" if names <= GOOD and document["state"] == "done" else "warn"


def verdict(document: Document) -> str:
    """One sentence: how it ended."""
    hosts = document["hosts"]
    state, stopped = document["state"], document.get("stopped")
    total, bad = count(len(hosts), "host"), sum(outcome(host) in BAD for host in hosts)
    ready = sum(outcome(host) in GOOD for host in hosts)
    budget = document["budget"]["size"] or "?"
    said = f"{ready} of {total} ready, {bad} bad"
    if stopped == "budget":
        return f"Stopped: {bad} bad of {total}, {budget} allowed"
    if stopped == "locked":
        held = [host["host"] for host in hosts if outcome(host) == "locked"]
        says = "says that another run has locked it" if len(held) == 1 else "say that another run has locked them"
        return f"Stopped: {_some(held) or 'hosts'} {says}"
    if stopped == "interrupted" or state == "interrupted":
        return f"Interrupted: {said}, {len(hosts) - ready - bad} left"
    if state in _UNENDED:
        return f"{_UNENDED[state]}: {said}"
    if ready == len(hosts):
        return f"Done: {total}, all good"
    return f"Ended with {len(hosts) - ready} of {total} not ready" + (f", {bad} of them bad" if bad else "")


def short_names(names: Sequence[str]) -> dict[str, str]:
    """The first label of every name, where that still tells all of them apart; addresses stay as they are."""
    short = {name: name if re.fullmatch(r"[0-9.]+", name) else name.split(".")[0] for name in names}
    return short if len(set(short.values())) == len(short) and all(short.values()) else {name: name for name in names}


def _some(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def reach(document: Document) -> str:
    """How far the harm went: which waves have bad hosts, what was left alone, what went back."""
    hosts, found = document["hosts"], sections(document)
    short = short_names([str(host["host"]) for host in hosts])
    said = [
        f"{section.name}: {_some([short[str(host['host'])] for host in harmed])}"
        for section in found
        if (harmed := [host for host in section.hosts if outcome(host) in BAD])
    ]
    text = f"Bad in {'; '.join(said)}. " if said else ""
    backs = sum(outcome(host) in ("rolled_back", "reverted") for host in hosts)
    alone = sum(outcome(host) == "untouched" for host in hosts)
    new = sum(outcome(host) == "done" for host in hosts)
    parts = [f"{count(backs, 'host')} back on the release before"] if backs else []
    parts += [f"{count(alone, 'host')} not touched"] if alone and document["state"] != "running" else []
    parts += [f"{count(new, 'host')} changed and ready"] if new and (said or alone) else []
    return text + (", ".join(parts) or counted(hosts)) + "."


@dataclass(frozen=True)
class Trouble:
    """One reason and the hosts that gave it; each with its own log lines."""

    outcome: str
    reason: str
    next_step: str
    hosts: tuple[tuple[str, tuple[str, ...]], ...]


def next_step(host: Host, document: Document) -> str:
    """What the host's result says to do, with the inventory of this rollout in its place."""
    sources = shlex.join(str(path) for path in document["inventory"])
    return re.sub(r"\bINVENTORY\b", lambda _: sources, str(host.get("next_step") or ""))


def split(reason: object) -> tuple[str, tuple[str, ...]]:
    """A message as what happened and the host's log lines under it, whose deepest common indent goes.

    What the rollout says after the log, that is where the host is now, goes to what happened.
    """
    first, _, rest = str(reason or "").partition("\n")
    lines = [line.rstrip() for line in rest.splitlines() if line.strip()]
    told = first.strip().removesuffix("; the last lines of its journal:")
    if lines and (after := _AFTERWARDS.search(lines[-1])):
        told, lines[-1] = f"{told} {after[0].strip()}", lines[-1][: after.start()]
    indent = min((len(line) - len(line.lstrip(" ")) for line in lines), default=0)
    return told, tuple(line[indent:] for line in lines)


def troubles(document: Document) -> list[Trouble]:
    """What went wrong, equal reasons once, the worst outcome first."""
    found: dict[tuple[str, str, str], list[tuple[str, tuple[str, ...]]]] = {}
    for host in document["hosts"]:
        if outcome(host) not in QUIET:
            reason, log = split(host.get("reason"))
            key = (outcome(host), reason or "no reason given", next_step(host, document))
            found.setdefault(key, []).append((str(host["host"]), log))
    order = [name for name, _ in counts(document["hosts"])]
    keys = sorted(found, key=lambda key: order.index(key[0]))
    return [Trouble(*key, tuple(found[key])) for key in keys]


def moment(text: object) -> datetime | None:
    """An ISO time of the journal; None for what is none."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def clock(text: object, day: bool = False) -> str:
    """A time for people, in UTC; a dash for none."""
    found = moment(text)
    form = "%Y-%m-%d %H:%M:%S UTC" if day else "%H:%M:%S"
    return found.astimezone(UTC).strftime(form) if found else "-"


def elapsed(began: object, ended: object) -> float | None:
    """Seconds between two times of the journal."""
    first, last = moment(began), moment(ended)
    return max((last - first).total_seconds(), 0.0) if first and last else None


@dataclass(frozen=True)
class Timing:
    """How long one step took over the fleet."""

    step: str
    hosts: int
    median: float
    slowest: float
    host: str


def timings(document: Document) -> list[Timing]:
    """Every step that ran, in the order in which they first occur. What a host did in several turns counts once."""
    found: dict[str, list[tuple[float, str]]] = {}
    for host in document["hosts"]:
        for name, turns in step_turns(host).items():
            found.setdefault(name, []).append((sum(seconds for _, seconds in turns), str(host["host"])))
    return [
        Timing(name, len(times), median(seconds for seconds, _ in times), *max(times)) for name, times in found.items()
    ]


def step_turns(host: Host) -> dict[str, list[tuple[float, float]]]:
    """Step → its turns as (seconds after the host's first, seconds). One without a time follows the one before."""
    found: dict[str, list[tuple[float, float]]] = {}
    steps, after = host.get("steps") or (), 0.0
    begin = next((step.get("began") for step in steps), None)
    for step in steps:
        offset = elapsed(begin, step.get("began"))
        first, length = after if offset is None else offset, float(step.get("seconds") or 0)
        found.setdefault(str(step["role"]), []).append((first, length))
        after = first + length
    return found


def plan_topics(plan: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a plan says as (topic, text), the reasons first. One of another version may lack what we ask for."""
    first = ("missing", "not yet", "blocked", "why", "warning", "rejected")
    try:
        found = plans.topics(plan)
    except (KeyError, TypeError, AttributeError, ValueError):
        return [("plan", "was made by another version of phi4-edge; it is in the record: --output json")]
    return sorted(found, key=lambda each: first.index(each[0]) if each[0] in first else len(first))
