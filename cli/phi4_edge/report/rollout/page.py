"""A rollout as one HTML page that needs nothing else: no network, no script. Takes `phi4-edge/rollout/1`. Pure.

The page forbids itself to load or run anything (Content-Security-Policy); its one style sheet is allowed by its hash.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

from phi4_edge.report.rollout import next as rollout_next
from phi4_edge.report.rollout import page_fleet, page_hosts
from phi4_edge.report.rollout.markup import Markup, Part, isolated, join, lines, tag
from phi4_edge.report.rollout.story import (
    BAD,
    Trouble,
    clock,
    counts,
    elapsed,
    reach,
    short_names,
    tone,
    troubles,
    verdict,
    word,
)
from phi4_edge.report.rollout.style import CSS
from phi4_edge.report.text import count, cut, duration

Document = Mapping[str, Any]

# A log tells what it tells in a few hosts; where more have failed, the others show their last lines.
WHOLE_LOGS = 12
LAST_LINES = 5
# Hosts of one trouble that are named at once; the others are in the list of hosts.
NAMED = 40

_PLACES = (
    ("trouble", "What went wrong"),
    ("next", "What to run next"),
    ("fleet", "Fleet by wave"),
    ("times", "Timings"),
    ("hosts", "Hosts"),
    ("plans", "Plans and steps"),
)
_SIGNS = {"good": "✓", "bad": "✕", "warn": "!", "idle": "…"}


def page(document: Document, written: str) -> str:
    """The whole page. `written`: when, for the reader of a rollout that goes on."""
    name = cut(f"{document['operation']} {document['id']}", 80)
    found = troubles(document)
    content = join(_header(document, found), tag("main", _main(document, found)), _footer(document, written))
    body = tag("body", content)
    return f"<!doctype html>\n{tag('html', _head(f'{cut(verdict(document), 100)} - {name}'), body, lang='en')}\n"


def _head(title: str) -> Markup:
    digest = base64.b64encode(hashlib.sha256(CSS.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="robots", content="noindex"),
        tag("title", title),
        tag("style", Markup(CSS)),
    )


def _header(document: Document, found: list[Trouble]) -> Markup:
    colour = tone(document)
    sign = tag("span", _SIGNS[colour], " ", aria_hidden="true")
    first = next((each.reason for each in found if each.outcome in BAD), None)
    why = tag("p", tag("strong", "Why: "), isolated(cut(first, 240))) if first else None
    banner = tag("div", tag("h1", sign, verdict(document)), tag("p", reach(document)), why, class_=f"verdict {colour}")
    shown = [each for each in _PLACES if found or each[0] != "trouble"]
    places = tag("ul", [tag("li", tag("a", text, href=f"#{place}")) for place, text in shown])
    return tag(
        "header",
        tag("p", "phi4-edge ", document["operation"], ", rollout ", isolated(document["id"]), class_="kind soft"),
        banner,
        tag("dl", [tag("div", tag("dt", name), tag("dd", isolated(value))) for name, value in _facts(document)]),
        tag("nav", places, aria_label="On this page"),
    )


def _facts(document: Document) -> list[tuple[str, object]]:
    budget = document["budget"]
    took = elapsed(document.get("started"), document.get("ended"))
    spent = f"{budget['bad']} bad, {budget['size'] or '?'} allowed"
    code = document.get("exit_code")
    return [
        ("Started", clock(document.get("started"), day=True)),
        ("Took", "no end yet" if took is None else duration(took)),
        ("By", f"{document.get('user') or '?'}@{document.get('controller') or '?'}"),
        ("Inventory", ", ".join(map(str, document["inventory"]))),
        *([("Limit", document["limit"])] if document.get("limit") else []),
        ("Budget", spent + (", exceeded" if budget["exceeded"] else "")),
        ("Exit code", "none yet" if code is None else code),
        ("Version", document.get("version") or "?"),
    ]


def _main(document: Document, found: list[Trouble]) -> Markup:
    """Trouble first, with what to do beside it; without any, the fleet."""
    fleet, after = _section("fleet", "Fleet by wave", page_fleet.waves(document)), _next(document)
    notes = [tag("p", isolated(note), class_="note") for note in document.get("notes") or ()]
    return join(
        tag("div", _troubles(document, found), after, class_="sides") if found else None,
        [tag("section", notes, class_="card", aria_label="Notes")] if notes else None,
        fleet,
        None if found else after,
        _section("times", "Timings", page_fleet.times(document)),
        _section("hosts", "Hosts", page_hosts.overview(document)),
        _section("plans", "Plans and steps", page_hosts.details(document)),
    )


def _section(place: str, title: str, *parts: Part) -> Markup:
    heading = tag("h2", title, id=f"{place}-title")
    return tag("section", heading, *parts, id=place, class_="card", aria_labelledby=f"{place}-title")


def _troubles(document: Document, found: list[Trouble]) -> Markup:
    names = [str(host["host"]) for host in document["hosts"]]
    short, places = short_names(names), {name: number for number, name in enumerate(names)}
    shown, logs = [], 0
    for trouble in found:
        links = [
            tag("a", isolated(cut(short[name], 60)), href=f"#h{places[name]}", title=cut(name, 200))
            for name, _ in trouble.hosts[:NAMED]
        ]
        written = [(short[name], log) for name, log in trouble.hosts if log]
        shown.append(_trouble(trouble, links, [_log(name, log, logs + n) for n, (name, log) in enumerate(written)]))
        logs += len(written)
    return _section("trouble", "What went wrong, and why", shown)


def _trouble(trouble: Trouble, links: list[Markup], logs: list[Markup]) -> Markup:
    known = word(trouble.outcome)
    listed = [part for link in links for part in (", ", link)][1:]
    more = len(trouble.hosts) - len(links)
    label = tag("span", f"{known.sign} {cut(known.text, 60)}", class_=f"tag {known.tone}")
    return tag(
        "div",
        tag("h3", label, " ", listed, f" and {count(more, 'more host')}" if more else None),
        tag("p", isolated(trouble.reason)),
        logs,
        tag("p", tag("strong", "Next: "), isolated(trouble.next_step)) if trouble.next_step else None,
        class_="trouble",
    )


def _log(name: str, log: tuple[str, ...], number: int) -> Markup:
    """A host's own lines; the first log is open, for it is what most readers are here for."""
    kept = log if number < WHOLE_LOGS else log[-LAST_LINES:]
    left = f", the last {len(kept)}" if len(kept) < len(log) else ""
    title = tag("summary", "Log of ", isolated(cut(name, 60)), f": {count(len(log), 'line')}{left}")
    return tag("details", title, tag("pre", lines(kept), class_="log", dir="ltr"), open=number == 0)


def _next(document: Document) -> Markup:
    steps = [
        tag("li", tag("p", step.why), tag("pre", lines([step.command]), dir="ltr") if step.command else None)
        for step in rollout_next.steps(document)
    ]
    return _section("next", "What to run next", tag("ol", steps, class_="next"))


def _footer(document: Document, written: str) -> Markup:
    total = ", ".join(f"{number} {word(name).text}" for name, number in counts(document["hosts"]))
    text = f"{count(len(document['hosts']), 'host')}: {total}. Written {written} from the journal of this controller."
    return tag("footer", tag("p", text, class_="soft"))
