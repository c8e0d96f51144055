"""A rollout as one HTML page that needs nothing else: no network, no script. Takes `phi4-edge/rollout/1`.

What the page says is prepared here, how it says it is in `page.html.j2` and `page.css`. The page forbids itself to
load or run anything (Content-Security-Policy); its one style sheet is allowed by its hash.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from phi4_edge.core.rollout.outcome import BAD, GOOD
from phi4_edge.core.text import printable
from phi4_edge.report.outcomes import Word, word
from phi4_edge.report.rollout import next as rollout_next
from phi4_edge.report.rollout import story
from phi4_edge.report.rollout.story import Section, Trouble, Turns
from phi4_edge.report.text import count, cut, duration

Document = Mapping[str, Any]

# A log tells what it tells in a few hosts; where more have failed, the others show their last lines.
WHOLE_LOGS = 12
LAST_LINES = 5
# Hosts of one trouble that are named at once; the others are in the list of hosts.
NAMED = 40
# Beyond this many hosts only those that need somebody keep their names under their wave; the others become signs.
SIGNS_BEYOND = 48

_FILES = PackageLoader("phi4_edge.report.rollout", "")
_SIGNS = {"good": "✓", "bad": "✕", "warn": "!", "idle": "…"}


def page(document: Document, written: str) -> str:
    """The whole page. `written`: when, for the reader of a rollout that goes on."""
    environment, found = _environment(), story.troubles(document)
    style, *_ = _FILES.get_source(environment, "page.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return environment.get_template("page.html.j2").render(
        **_whole(document, found), **_parts(document, found), written=written, style=style, digest=digest
    )


@cache
def _environment() -> Environment:
    """Everything that a template prints is cleaned and escaped; a name that it does not know is an error."""
    environment = Environment(
        loader=_FILES,
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(cut=cut, duration=duration, share=_share, count=count)
    return environment


def _finalized(value: object) -> object:
    """Markup as it is, and anything else cleaned: it is escaped next."""
    return value if hasattr(value, "__html__") else printable(value, lines=False)


def _share(value: float, whole: float, least: float = 0.0) -> str:
    """A part of `whole` in hundredths, within the frame of a bar."""
    hundredths = max(value * 100 / whole if whole > 0 else 0.0, least)
    return f"{min(hundredths, 100.0):.1f}".removesuffix(".0")


@dataclass(frozen=True)
class _Host:
    """One host; `place` is its number, which links to it carry."""

    place: int
    name: str
    short: str
    word: Word
    release: str
    changed: int
    began: str
    seconds: float
    what: str
    reason: str
    log_above: bool
    next_step: str
    turns: Mapping[str, Turns]
    topics: Sequence[tuple[str, list[str]]] | None


@dataclass(frozen=True)
class _Wave:
    name: str
    counted: str
    when: str
    hosts: Sequence[_Host]


@dataclass(frozen=True)
class _Log:
    """A host's own lines; the first log is open, for it is what most readers are here for."""

    host: str
    lines: Sequence[str]
    length: int
    open: bool


@dataclass(frozen=True)
class _Trouble:
    word: Word
    reason: str
    next_step: str
    hosts: Sequence[_Host]
    more: int
    logs: Sequence[_Log]


def _whole(document: Document, found: Sequence[Trouble]) -> dict[str, Any]:
    """What is said of the rollout as a whole."""
    colour = story.tone(document)
    return {
        "name": f"{document['operation']} {document['id']}",
        "operation": document["operation"],
        "id": document["id"],
        "tone": colour,
        "sign": _SIGNS[colour],
        "verdict": story.verdict(document),
        "reach": story.reach(document),
        "why": next((each.reason for each in found if each.outcome in BAD), ""),
        "facts": _facts(document),
        "notes": document.get("notes") or (),
        "steps": rollout_next.steps(document),
        "total": story.counted(document["hosts"]),
    }


def _facts(document: Document) -> list[tuple[str, object]]:
    budget = document["budget"]
    took = story.elapsed(document.get("started"), document.get("ended"))
    spent = f"{budget['bad']} bad, {budget['size'] or '?'} allowed"
    code = document.get("exit_code")
    return [
        ("Started", story.clock(document.get("started"), day=True)),
        ("Took", "no end yet" if took is None else duration(took)),
        ("By", f"{document.get('user') or '?'}@{document.get('controller') or '?'}"),
        ("Inventory", ", ".join(map(str, document["inventory"]))),
        *([("Limit", document["limit"])] if document.get("limit") else []),
        ("Budget", spent + (", exceeded" if budget["exceeded"] else "")),
        ("Exit code", "none yet" if code is None else code),
        ("Version", document.get("version") or "?"),
    ]


def _parts(document: Document, found: Sequence[Trouble]) -> dict[str, Any]:
    """What is said of hosts, by trouble, by wave, by step and one after the other."""
    short = story.short_names([str(host["host"]) for host in document["hosts"]])
    hosts = {str(each["host"]): _host(document, each, n, short) for n, each in enumerate(document["hosts"])}
    timings = story.timings(document)
    turns = [turn for host in hosts.values() for step in host.turns.values() for turn in step]
    return {
        "hosts": hosts,
        "troubles": _troubles(found, hosts),
        "waves": [_wave(section, hosts) for section in story.sections(document)],
        "signs": len(hosts) > SIGNS_BEYOND,
        "timings": timings,
        "slowest": max((each.slowest for each in timings), default=0.0),
        "longest": max((host.seconds for host in hosts.values()), default=0.0),
        "span": max((first + length for first, length in turns), default=0.0),
    }


def _host(document: Document, host: story.Host, place: int, short: Mapping[str, str]) -> _Host:
    name, plan = str(host["host"]), host.get("plan")
    reason, log = story.split(host.get("reason"))
    topics = groupby(story.plan_topics(plan) if plan else (), itemgetter(0))
    return _Host(
        place=place,
        name=name,
        short=short[name],
        word=word(story.outcome(host)),
        release=str(host.get("release") or "-"),
        changed=host.get("changed") or 0,
        began=story.clock(host.get("began")),
        seconds=float(host.get("seconds") or 0),
        what=_what(plan) if plan else "",
        reason=reason,
        log_above=bool(log) and story.outcome(host) not in GOOD,
        next_step=story.next_step(host, document),
        turns=story.step_turns(host),
        topics=[(topic, [text for _, text in each]) for topic, each in topics] if plan else None,
    )


def _what(plan: Mapping[str, Any]) -> str:
    return f"{plan.get('engine')} {plan.get('quantization')}, {plan.get('profile')}" if plan.get("fits") else "no fit"


def _wave(section: Section, hosts: Mapping[str, _Host]) -> _Wave:
    members = [hosts[str(host["host"])] for host in section.hosts]
    when = _when(section.wave) if section.wave and section.wave.get("began") else ""
    return _Wave(section.name, story.counted(section.hosts), when, members)


def _when(wave: Mapping[str, Any]) -> str:
    took = story.elapsed(wave["began"], wave.get("ended"))
    text = f"from {story.clock(wave['began'])}" + (f", {duration(took)}" if took is not None else ", no end yet")
    bake = float(wave.get("bake_seconds") or 0)
    return text + (f", baked {duration(bake)}" if bake else "")


def _troubles(found: Sequence[Trouble], hosts: Mapping[str, _Host]) -> list[_Trouble]:
    shown, logs = [], 0
    for trouble in found:
        told = [(hosts[name].short, log) for name, log in trouble.hosts if log]
        written = [_log(name, log, number) for number, (name, log) in enumerate(told, logs)]
        named = [hosts[name] for name, _ in trouble.hosts[:NAMED]]
        more = len(trouble.hosts) - len(named)
        shown.append(_Trouble(word(trouble.outcome), trouble.reason, trouble.next_step, named, more, written))
        logs += len(written)
    return shown


def _log(host: str, lines: Sequence[str], number: int) -> _Log:
    return _Log(host, lines if number < WHOLE_LOGS else lines[-LAST_LINES:], len(lines), open=number == 0)
