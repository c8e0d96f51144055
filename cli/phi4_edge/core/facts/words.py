"""What a host is and serves, in words: the cells of the commands' tables, and one line per host from the same cells.

Takes documents as they are published: `HostFacts.to_dict()` and an entry of `phi4-edge/status/1`. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phi4_edge.core.text import gb, gib, joined

Facts = Mapping[str, Any]
Entry = Mapping[str, Any]

NONE = "-"
# Of a line; a table names all of them below it.
_MOST_FILES = 3


def system(facts: Facts) -> str:
    """Return the board, or the distribution where it has no name."""
    return str(facts["board"] or facts["os"]["pretty_name"] or NONE)


def ram(facts: Facts) -> str:
    """Return the memory in the unit of boards and of /proc/meminfo."""
    return NONE if facts["ram_bytes"] is None else gib(facts["ram_bytes"])


def gpu(facts: Facts) -> str:
    """Return the NVIDIA GPUs in a few words; why they are of no use where that is so."""
    nvidia = facts["nvidia"]
    if nvidia["gpus"]:
        first = nvidia["gpus"][0]
        more = f" x{len(nvidia['gpus'])}" if len(nvidia["gpus"]) > 1 else ""
        size = NONE if first["memory_total"] is None else gib(first["memory_total"])
        return f"{first['name']}{more} {size}"
    return NONE if nvidia["state"] == "none" else str(nvidia["state"]).replace("_", " ")


def serves(facts: Facts) -> str:
    """Return the committed release and whether its service is up."""
    receipt, service = facts["receipt"], facts["service"]
    if not receipt["present"]:
        return NONE
    active = (service or {}).get("active") or "unknown"
    return f"{receipt['release'] or 'damaged receipt'} ({active})"


def free_disk(facts: Facts) -> str:
    """Return the room where models go."""
    disks = facts["disks"]
    chosen = next((disk for disk in disks if disk["path"] == facts["layout"]["state"]), disks[0] if disks else None)
    return gb(chosen["free"]) if chosen else NONE


def found(facts: Facts) -> str:
    """Return what a host is in one line."""
    cores = facts["cpu"]["cores"]
    graphics, release = gpu(facts), serves(facts)
    parts = (
        system(facts), str(facts["architecture"]), f"{cores} core{'' if cores == 1 else 's'}", f"{ram(facts)} RAM",
        "no GPU" if graphics == NONE else f"GPU {graphics}", f"{free_disk(facts)} free",
        "serves nothing" if release == NONE else f"serves {release}",
    )  # fmt: skip
    return joined(facts["host"], ", ".join(parts))


def engine(entry: Entry) -> str:
    """Return the engine and the quantization that were committed."""
    return f"{entry['engine']} {entry['quantization']}".strip() or NONE


def committed(entry: Entry) -> str:
    """Return when the release was committed, to the minute."""
    return (entry["committed_at"] or NONE).replace("T", " ")[:16]


def why(entry: Entry) -> str:
    """Return the state, and what is behind it where it is not what was wanted."""
    return f"{entry['state']}: {entry['detail']}" if entry["detail"] else str(entry["state"])


def drifted(item: Mapping[str, str]) -> str:
    """Return one managed file that is not as it was committed."""
    return f"{item['problem']}: {item['path']}"


def serving(entry: Entry) -> str:
    """Return what a host serves in one line, with what drifted and what was killed on it."""
    drift = [drifted(item) for item in entry["drift"][:_MOST_FILES]]
    if len(entry["drift"]) > _MOST_FILES:
        drift.append(f"and {len(entry['drift']) - _MOST_FILES} more")
    cells = (entry["release"], engine(entry), entry["address"], entry["model"])
    serves = ", ".join(str(cell) for cell in cells if cell and cell != NONE)
    parts = [why(entry), serves, *drift, *entry["endings"], *entry["notes"]]
    return joined(entry["host"], *(part for part in parts if part))
