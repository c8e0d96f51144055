"""What a prune removes and keeps, as a table. Takes the document `phi4-edge/prune/1`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phi4_edge.report.text import count, duration, size_of, table, wrap

_DAY = 86_400


def lines(document: Mapping[str, Any], width: int) -> list[str]:
    """What goes, then what stays: each reason once, and a line for each thing below it."""
    things = sorted(document["things"], key=lambda thing: (thing["outcome"] == "kept", thing["why"]))
    if not things:
        return []
    rows = [(thing["name"], thing["kind"], size_of(thing["size"]), _age(thing)) for thing in things]
    head, *body = table(("NAME", "KIND", "SIZE", "AGE"), rows, width - 2, right=(2, 3))
    found, said = [f"  {head}"], ""
    for thing, row in zip(things, body, strict=True):
        reason = f"{'kept' if thing['outcome'] == 'kept' else 'remove'}: {thing['why']}"
        if reason != said:
            found += wrap(reason, width, rest="    ")
            said = reason
        found.append(f"  {row}")
    return found


def summed(document: Mapping[str, Any]) -> str:
    """What was done, in one line."""
    outcomes = [thing["outcome"] for thing in document["things"]]
    removed, would = outcomes.count("removed"), outcomes.count("would be removed")
    if would:
        return f"{count(would, 'thing')} would be removed, {size_of(document['would_be_removed_bytes'])}"
    return f"{count(removed, 'thing')} removed, {size_of(document['removed_bytes'])} freed"


def _age(thing: Mapping[str, Any]) -> str:
    age = thing["age_seconds"]
    if age is None:
        return "-"
    return duration(age) if age < _DAY else f"{age // _DAY}d"
