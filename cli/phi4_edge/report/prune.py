"""What a prune removes and keeps, as a table. Takes the document `phi4-edge/prune/1`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phi4_edge.report.text import count, duration, size_of, table

_DAY = 86_400


def lines(document: Mapping[str, Any], width: int) -> list[str]:
    """A line for each thing: what goes first, then what stays."""
    things = sorted(document["things"], key=lambda thing: thing["outcome"] == "kept")
    rows = [(thing["name"], thing["kind"], size_of(thing["size"]), _age(thing), _what(thing)) for thing in things]
    return table(("NAME", "KIND", "SIZE", "AGE", "WHAT AND WHY"), rows, width, right=(2, 3)) if rows else []


def summed(document: Mapping[str, Any]) -> str:
    """What was done, in one line."""
    outcomes = [thing["outcome"] for thing in document["things"]]
    removed, would = outcomes.count("removed"), outcomes.count("would be removed")
    if would:
        return f"{count(would, 'thing')} would be removed, {size_of(document['would_be_removed_bytes'])}"
    return f"{count(removed, 'thing')} removed, {size_of(document['removed_bytes'])} freed"


def _what(thing: Mapping[str, Any]) -> str:
    return f"{'kept' if thing['outcome'] == 'kept' else 'remove'}: {thing['why']}"


def _age(thing: Mapping[str, Any]) -> str:
    age = thing["age_seconds"]
    if age is None:
        return "-"
    return duration(age) if age < _DAY else f"{age // _DAY}d"
