"""Each host: a table of all, then for each its plan with reasons and its steps with times. Parts of the page. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phi4_edge.report.rollout.markup import Markup, Part, bar, isolated, tag
from phi4_edge.report.rollout.story import (
    GOOD,
    Host,
    clock,
    next_step,
    outcome,
    plan_topics,
    sections,
    split,
    step_turns,
    word,
)
from phi4_edge.report.text import cut, duration

Document = Mapping[str, Any]
_COLUMNS = (
    ("Host", None),
    ("Outcome", "outcome"),
    ("Release", "wide"),
    ("Changed", "number wide"),
    ("Began", "number wide"),
    ("Time", "number"),
    ("", "chart"),
)


def overview(document: Document) -> Markup:
    """One row per host, waves as groups."""
    places = {host["host"]: number for number, host in enumerate(document["hosts"])}
    longest = max((float(host.get("seconds") or 0) for host in document["hosts"]), default=0.0)
    head = [tag("th" if name else "td", name, scope="col" if name else None, class_=style) for name, style in _COLUMNS]
    groups = []
    for section in sections(document):
        title = tag("th", isolated(cut(section.name, 60)), scope="rowgroup", colspan=len(_COLUMNS))
        rows = [_row(host, places[host["host"]], longest) for host in section.hosts]
        groups.append(tag("tbody", tag("tr", title, class_="group"), rows))
    return tag("div", tag("table", tag("thead", tag("tr", head)), groups), class_="frame")


def _row(host: Host, place: int, longest: float) -> Markup:
    seconds = float(host.get("seconds") or 0)
    return tag(
        "tr",
        tag("th", tag("a", isolated(cut(host["host"], 80)), href=f"#h{place}"), scope="row"),
        tag("td", _label(host), class_="outcome"),
        tag("td", isolated(cut(host.get("release") or "-", 40)), class_="wide mono"),
        tag("td", host.get("changed") or 0, class_="number wide"),
        tag("td", clock(host.get("began")), class_="number wide"),
        tag("td", duration(seconds) if seconds else "-", class_="number"),
        tag("td", bar([(0, seconds)], longest) if seconds else None, class_="chart"),
    )


def _label(host: Host) -> Markup:
    known = word(outcome(host))
    return tag("span", f"{known.sign} {cut(known.text, 60)}", class_=f"tag {known.tone}")


def details(document: Document) -> list[Markup]:
    """One <details> per host. The place to jump to is inside: a browser opens what surrounds it."""
    longest = max((_span(host) for host in document["hosts"]), default=0.0)
    return [_host(document, host, number, longest) for number, host in enumerate(document["hosts"])]


def _host(document: Document, host: Host, place: int, longest: float) -> Markup:
    plan = host.get("plan")
    what = _what(plan)
    title = tag(
        "summary",
        tag("strong", isolated(cut(host["host"], 80))),
        _label(host),
        tag("span", what, class_="soft") if what else None,
    )
    inside = tag("div", _why(document, host), _steps(host, longest), _plan(plan), id=f"h{place}", class_="inside")
    return tag("details", title, inside, class_="host")


def _what(plan: Mapping[str, Any] | None) -> str:
    if not plan:
        return ""
    if not plan.get("fits"):
        return "no fit"
    return f"{plan.get('engine')} {plan.get('quantization')}, {plan.get('profile')}"


def _why(document: Document, host: Host) -> Part:
    """What happened and what to do; the log of the host is with what went wrong."""
    reason, log = split(host.get("reason"))
    parts: list[Part] = [tag("p", isolated(host["host"]))] if cut(host["host"], 80) != host["host"] else []
    if reason:
        parts.append(tag("p", isolated(reason), " (its log is above)" if log and outcome(host) not in GOOD else None))
    if step := next_step(host, document):
        parts.append(tag("p", tag("strong", "Next: "), isolated(step)))
    return parts


def _span(host: Host) -> float:
    return max((first + length for turns in step_turns(host).values() for first, length in turns), default=0.0)


def _steps(host: Host, longest: float) -> Markup | None:
    """One row per step; a step that the host came to in several turns has as many pieces in its bar."""
    found = step_turns(host)
    if not found:
        return None
    rows = [
        tag(
            "tr",
            tag("th", isolated(cut(name, 40)), scope="row"),
            tag("td", duration(sum(length for _, length in turns)), class_="number"),
            tag("td", bar(turns, longest), class_="chart"),
        )
        for name, turns in found.items()
    ]
    titles = (("Step", None), ("Took", "number"), (f"From {clock(host.get('began'))}", "chart"))
    head = tag("tr", [tag("th", name, scope="col", class_=style) for name, style in titles])
    return tag("table", tag("thead", head), tag("tbody", rows), class_="steps")


def _plan(plan: Mapping[str, Any] | None) -> Part:
    if not plan:
        return tag("p", "No plan is on record for this host.", class_="soft")
    parts, before = [], ""
    for topic, text in plan_topics(plan):
        if topic != before:
            parts.append(tag("dt", topic))
        before = topic
        parts.append(tag("dd", isolated(text)))
    return tag("dl", parts, class_="facts")
