"""What a task changed in files, as unified differences. Takes the `diff` of a task's result: text of a host."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from phi4_edge.core.text import printable
from phi4_edge.report.text import cut

# A model file that changed is not worth reading.
MOST_LINES = 200


def lines(host: str, diff: object) -> list[str]:
    """Clean lines, the host's name before each difference; empty when there is none."""
    shown: list[str] = []
    for part in diff if isinstance(diff, list) else [diff]:
        body = _body(part) if isinstance(part, Mapping) else []
        if body:
            shown += [f"{cut(host, 60)}:", *(f"  {line}" for line in body[:MOST_LINES])]
            if len(body) > MOST_LINES:
                shown.append(f"  and {len(body) - MOST_LINES} more lines")
    return shown


def _body(part: Mapping[str, object]) -> list[str]:
    if isinstance(part.get("prepared"), str):
        return printable(part["prepared"]).splitlines()
    before, after = (_text(part.get(side)) for side in ("before", "after"))
    names = [str(part.get(f"{side}_header") or side) for side in ("before", "after")]
    found = difflib.unified_diff(before, after, names[0], names[1], lineterm="")
    return [printable(line, lines=False) for line in found]


def _text(value: object) -> list[str]:
    """A file's text, or the settings of a file as lines."""
    if isinstance(value, Mapping):
        return [f"{key}: {value[key]}" for key in sorted(value, key=str)]
    return value.splitlines() if isinstance(value, str) else []
