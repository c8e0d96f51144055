"""What is in the way on a host, in words: what the command shows below each other, and one line per host. Pure.

Takes entries of the document `phi4-edge/doctor/1`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from phi4_edge.core.text import joined

Entry = Mapping[str, Any]

ORDER = ("problem", "warning", "note")
# What a line says in full; notes are counted in it.
_IN_FULL = ORDER[:2]
NOTHING = "nothing found"


def told(entry: Entry) -> list[Mapping[str, str]]:
    """Return the findings of a host that say anything, worst first."""
    said = [finding for finding in entry["findings"] if finding["level"] != "ok"]
    return sorted(said, key=lambda finding: ORDER.index(finding["level"]))


def tally(entry: Entry) -> list[int]:
    """Return how many findings of each level a host has, in their order."""
    return [sum(finding["level"] == level for finding in entry["findings"]) for level in ORDER]


def counted(entry: Entry) -> str:
    """Return whether it was reached, and how much was found: "unreachable, 1 problem"."""
    found = [(number, level) for number, level in zip(tally(entry), ORDER, strict=True) if number]
    parts = [f"{number} {level}{'' if number == 1 else 's'}" for number, level in found]
    return ", ".join([*([] if entry["reached"] else ["unreachable"]), *parts])


def text(finding: Mapping[str, str]) -> str:
    """Return what was found and what was needed."""
    return f"{finding['found']}; needed: {finding['needed']}" if finding["needed"] else finding["found"]


def line(entry: Entry) -> str:
    """Return a host with its problems and warnings, each with what mends it."""
    return joined(entry["host"], counted(entry) or NOTHING, *_findings(told(entry)))


def _findings(found: Sequence[Mapping[str, str]]) -> list[str]:
    parts = []
    for finding in found:
        if finding["level"] in _IN_FULL:
            fix = f"; fix: {finding['fix']}" if finding["fix"] else ""
            parts.append(f"{finding['level']} {finding['check']}: {text(finding)}{fix}")
    return parts
