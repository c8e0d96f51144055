"""What hosts serve, as a table, then drift file by file. Takes the status document's hosts. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from phi4_edge.core.facts import words
from phi4_edge.report.text import count, table, wrap

# One screenful; the JSON document holds all of it.
MOST_FILES = 50


def overview(hosts: Sequence[Mapping[str, Any]], width: int) -> list[str]:
    """One line per host: state, release, engine, address, since when."""
    head = ["HOST", "STATE", "RELEASE", "ENGINE", "ADDRESS", "COMMITTED", "MODEL"]
    rows = [
        [
            host["host"],
            host["state"],
            host["release"] or "-",
            words.engine(host),
            host["address"] or "-",
            words.committed(host),
            host["model"] or "-",
        ]
        for host in hosts
    ]
    if width < 100:  # the model is the same nearly everywhere; cut release names would tell less
        head, rows = head[:-1], [row[:-1] for row in rows]
    return table(head, rows, width)


def troubles(hosts: Sequence[Mapping[str, Any]], width: int) -> list[str]:
    """Why a host does not serve, each thing that drifted, what to do next; of every host what was killed or healed."""
    lines: list[str] = []
    for host in hosts:
        if host["state"] == "serving" and not host["endings"] and not host["notes"]:
            continue
        lines += ["", *wrap(f"{host['host']}: {words.why(host)}", width, rest="    ")]
        for text in (*host["endings"], *host["notes"]):
            lines += wrap(text, width, first="    ", rest="        ")
        for item in host["drift"][:MOST_FILES]:
            lines += wrap(words.drifted(item), width, first="    ", rest="        ")
        if len(host["drift"]) > MOST_FILES:
            lines.append(f"    and {count(len(host['drift']) - MOST_FILES, 'more file')}")
        if host["next_step"]:
            lines += wrap(host["next_step"], width, first="    next: ", rest="          ")
    return lines
