"""The fleet at a glance: every host under its wave, and where the time went. Parts of the page. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from phi4_edge.report.rollout.markup import Markup, bar, isolated, tag
from phi4_edge.report.rollout.story import (
    Host,
    Section,
    clock,
    counted,
    elapsed,
    outcome,
    sections,
    short_names,
    timings,
    word,
)
from phi4_edge.report.text import cut, duration

Document = Mapping[str, Any]

# Beyond this many hosts only those that need somebody keep their names; the others become signs.
NAMED = 48


def waves(document: Document) -> list[Markup]:
    """One row per wave."""
    names = [str(host["host"]) for host in document["hosts"]]
    chips = _Chips({name: number for number, name in enumerate(names)}, short_names(names), len(names) > NAMED)
    return [_wave(section, chips) for section in sections(document)]


@dataclass(frozen=True)
class _Chips:
    """What all hosts of the page share: where each is described, its short name, whether signs must do."""

    places: Mapping[str, int]
    names: Mapping[str, str]
    small: bool

    def chip(self, host: Host) -> Markup:
        """A link to the host that shows its outcome as colour, sign and word."""
        known, name = word(outcome(host)), str(host["host"])
        text, quiet = cut(known.text, 40), known.tone in ("good", "idle")
        sign = tag("span", known.sign, aria_hidden="true")
        shown = isolated(cut(self.names[name], 60))
        said = tag("span", f" {text}", class_="hidden" if quiet else None)
        dot = self.small and quiet
        return tag(
            "a",
            (sign, tag("span", shown, said, class_="hidden")) if dot else (sign, " ", shown, said),
            class_=f"chip {'dot ' if dot else ''}{known.tone}",
            href=f"#h{self.places[name]}",
            title=f"{cut(name, 200)}: {text}",
        )


def _wave(section: Section, chips: _Chips) -> Markup:
    about = tag(
        "div",
        tag("h3", isolated(cut(section.name, 60))),
        tag("p", counted(section.hosts)),
        tag("p", _when(section.wave), class_="soft") if section.wave and section.wave.get("began") else None,
    )
    return tag("div", about, tag("ul", [tag("li", chips.chip(host)) for host in section.hosts]), class_="wave")


def _when(wave: Mapping[str, Any]) -> str:
    took = elapsed(wave["began"], wave.get("ended"))
    text = f"from {clock(wave['began'])}" + (f", {duration(took)}" if took is not None else ", no end yet")
    bake = float(wave.get("bake_seconds") or 0)
    return text + (f", baked {duration(bake)}" if bake else "")


def times(document: Document) -> Markup:
    """Per step over the fleet: the median, the slowest host, and a bar for each."""
    found = timings(document)
    if not found:
        return tag("p", "No step was timed.")
    places = {host["host"]: number for number, host in enumerate(document["hosts"])}
    longest = max(each.slowest for each in found)
    head = [tag("th", name, scope="col", class_=style) for name, style in _COLUMNS]
    rows = [
        tag(
            "tr",
            tag("th", isolated(cut(each.step, 40)), scope="row"),
            tag("td", each.hosts, class_="number wide"),
            tag("td", duration(each.median), class_="number"),
            tag("td", duration(each.slowest), class_="number"),
            tag("td", tag("a", isolated(cut(each.host, 40)), href=f"#h{places[each.host]}"), class_="wide"),
            tag("td", bar([(0, each.median)], longest), bar([(0, each.slowest)], longest, "bar peak"), class_="chart"),
        )
        for each in found
    ]
    return tag("div", tag("table", tag("thead", tag("tr", head)), tag("tbody", rows)), class_="frame")


_COLUMNS = (
    ("Step", None),
    ("Hosts", "number wide"),
    ("Median", "number"),
    ("Slowest", "number"),
    ("Slowest host", "wide"),
    ("Median, then slowest", "chart"),
)
