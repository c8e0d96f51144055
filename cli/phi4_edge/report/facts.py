"""What hosts are, as a table: one line per host, then what could not be read. Takes `HostFacts.to_dict()`. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from phi4_edge.report.text import gb, gib, table, wrap

Facts = Mapping[str, Any]


def overview(hosts: Sequence[Facts], width: int) -> list[str]:
    """One line per host: system, processor, memory, disk, GPU and what it serves."""
    head = ["HOST", "SYSTEM", "ARCH", "CORES", "RAM", "GPU", "SERVES", "FREE DISK"]
    rows = [
        [
            facts["host"],
            facts["board"] or facts["os"]["pretty_name"] or "-",
            facts["architecture"],
            facts["cpu"]["cores"],
            gib(facts["ram_bytes"]),
            gpu(facts),
            serves(facts),
            _disk(facts),
        ]
        for facts in hosts
    ]
    if width < 100:  # the plan says when the disk does not do
        head, rows = head[:-1], [row[:-1] for row in rows]
    return table(head, rows, width, right=(3, 4, 7))


def _disk(facts: Facts) -> str:
    disks = facts["disks"]
    chosen = next((disk for disk in disks if disk["path"] == facts["layout"]["state"]), disks[0] if disks else None)
    return gb(chosen["free"]) if chosen else "-"


def gpu(facts: Facts) -> str:
    """The NVIDIA GPUs in a few words; why they are of no use where that is so."""
    nvidia = facts["nvidia"]
    if nvidia["gpus"]:
        first = nvidia["gpus"][0]
        more = f" x{len(nvidia['gpus'])}" if len(nvidia["gpus"]) > 1 else ""
        return f"{first['name']}{more} {gib(first['memory_total'])}"
    return "-" if nvidia["state"] == "none" else str(nvidia["state"]).replace("_", " ")


def serves(facts: Facts) -> str:
    """The committed release and whether its service is up."""
    receipt, service = facts["receipt"], facts["service"]
    if not receipt["present"]:
        return "-"
    active = (service or {}).get("active") or "unknown"
    return f"{receipt['release'] or 'damaged receipt'} ({active})"


def gaps(hosts: Sequence[Facts], width: int) -> list[str]:
    """What could not be read on each host and why, except tools that are simply not installed."""
    lines: list[str] = []
    for facts in hosts:
        found = [f"{gap['source']} {gap['kind']}" for gap in facts["gaps"] if gap["kind"] != "missing"]
        found += [f"{name} truncated" for name in facts["truncated"]]
        if found:
            lines += wrap(f"{facts['host']}: not read: {', '.join(found)}", width, rest="    ")
    return lines
