"""What hosts are, as a table: one line per host, then what could not be read. Takes `HostFacts.to_dict()`. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from phi4_edge.core.facts import words
from phi4_edge.report.text import table, wrap

Facts = Mapping[str, Any]


def overview(hosts: Sequence[Facts], width: int) -> list[str]:
    """One line per host: system, processor, memory, disk, GPU and what it serves."""
    head = ["HOST", "SYSTEM", "ARCH", "CORES", "RAM", "GPU", "SERVES", "FREE DISK"]
    rows = [
        [
            facts["host"],
            words.system(facts),
            facts["architecture"],
            facts["cpu"]["cores"],
            words.ram(facts),
            words.gpu(facts),
            words.serves(facts),
            words.free_disk(facts),
        ]
        for facts in hosts
    ]
    if width < 100:  # the plan says when the disk does not do
        head, rows = head[:-1], [row[:-1] for row in rows]
    return table(head, rows, width, right=(3, 4, 7))


def gaps(hosts: Sequence[Facts], width: int) -> list[str]:
    """What could not be read on each host and why, except tools that are simply not installed."""
    lines: list[str] = []
    for facts in hosts:
        found = [f"{gap['source']} {gap['kind']}" for gap in facts["gaps"] if gap["kind"] != "missing"]
        found += [f"{name} truncated" for name in facts["truncated"]]
        if found:
            lines += wrap(f"{facts['host']}: not read: {', '.join(found)}", width, rest="    ")
    return lines
