"""A rollout as Markdown, for a ticket or a chat. Takes `phi4-edge/rollout/1`. Pure.

Text of hosts is escaped, and log lines are indented code, which no line of theirs can end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from phi4_edge.core.text import printable
from phi4_edge.report.outcomes import word
from phi4_edge.report.rollout import next, story
from phi4_edge.report.rollout.story import Host, clock, elapsed, outcome
from phi4_edge.report.text import count, duration

Document = Mapping[str, Any]


def lines(document: Document, written: str) -> list[str]:
    """The whole text. `written`: when, for the reader of a rollout that goes on."""
    found = [f"# {escaped(story.verdict(document))}", "", escaped(story.reach(document)), ""]
    found += [f"- {name}: {escaped(value)}" for name, value in _facts(document, written)]
    found += _troubles(document) + _next(document) + _waves(document) + _times(document) + _hosts(document)
    return [*found, *_plans(document)]


def escaped(text: object) -> str:
    """One clean line in which no sign of Markdown or HTML has its meaning."""
    line = printable(text, lines=False).strip()
    return "".join(f"\\{sign}" if sign in "\\`*_{}[]<>#|&~" else sign for sign in line)


def _facts(document: Document, written: str) -> list[tuple[str, object]]:
    took = elapsed(document.get("started"), document.get("ended"))
    budget, code = document["budget"], document.get("exit_code")
    return [
        ("rollout", f"{document['id']} ({document['operation']})"),
        ("started", clock(document.get("started"), day=True)),
        ("took", "no end yet" if took is None else duration(took)),
        ("by", f"{document.get('user') or '?'}@{document.get('controller') or '?'}"),
        ("inventory", ", ".join(map(str, document["inventory"]))),
        *([("limit", document["limit"])] if document.get("limit") else []),
        ("budget", f"{budget['bad']} bad, {budget['size'] or '?'} allowed"),
        ("exit code", "none yet" if code is None else code),
        ("written", f"{written} by phi4-edge, from the journal of this controller"),
        *(("note", note) for note in document.get("notes") or ()),
    ]


def _troubles(document: Document) -> list[str]:
    found: list[str] = []
    for trouble in story.troubles(document):
        names = ", ".join(escaped(name) for name, _ in trouble.hosts)
        found += ["", f"**{escaped(word(trouble.outcome).text)}**: {names}: {escaped(trouble.reason)}"]
        for name, log in trouble.hosts:
            found += ["", f"Log of {escaped(name)}:", "", *_code(log)] if log else []
        found += ["", f"Next: {escaped(trouble.next_step)}"] if trouble.next_step else []
    return ["", "## What went wrong, and why", *found] if found else []


def _next(document: Document) -> list[str]:
    found = ["", "## What to run next"]
    for step in next.steps(document):
        found += ["", step.why, *(["", *_code([step.command])] if step.command else [])]
    return found


def _code(texts: Iterable[str]) -> list[str]:
    return [f"    {printable(text, lines=False)}".rstrip() for text in texts]


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    return [
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
        *("| " + " | ".join(escaped(cell) for cell in row) + " |" for row in rows),
    ]


def _waves(document: Document) -> list[str]:
    rows = []
    for section in story.sections(document):
        wave = section.wave or {}
        took, bake = elapsed(wave.get("began"), wave.get("ended")), float(wave.get("bake_seconds") or 0)
        times = (clock(wave.get("began")), "-" if took is None else duration(took), duration(bake) if bake else "-")
        rows.append((section.name, len(section.hosts), story.counted(section.hosts), *times))
    return ["", "## Fleet by wave", "", *_table(("Wave", "Hosts", "State", "Began", "Took", "Baked"), rows)]


def _times(document: Document) -> list[str]:
    rows = [
        (each.step, each.hosts, duration(each.median), duration(each.slowest), each.host)
        for each in story.timings(document)
    ]
    head = ("Step", "Hosts", "Median", "Slowest", "Slowest host")
    return ["", "## Timings", "", *_table(head, rows)] if rows else []


def _hosts(document: Document) -> list[str]:
    head = ("Host", "Wave", "Outcome", "Release", "Changed", "Time")
    rows = [_row(section.name, host) for section in story.sections(document) for host in section.hosts]
    return ["", "## Hosts", "", *_table(head, rows)]


def _row(wave: str, host: Host) -> tuple[object, ...]:
    seconds = float(host.get("seconds") or 0)
    name, release = word(outcome(host)).text, host.get("release") or "-"
    return (host["host"], wave, name, release, host.get("changed") or 0, duration(seconds) if seconds else "-")


def _plans(document: Document) -> list[str]:
    found: list[str] = []
    for host in document["hosts"]:
        if host.get("plan"):
            topics = story.plan_topics(host["plan"])
            found += ["", f"### {escaped(host['host'])}", "", *(f"- {name}: {escaped(text)}" for name, text in topics)]
    return ["", f"## Plans of {count(len(document['hosts']), 'host')}", *found] if found else []
