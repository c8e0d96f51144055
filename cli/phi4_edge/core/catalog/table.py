"""The resource table: what a host must have for a profile, as the operator may edit it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from phi4_edge.core.catalog.fields import Row
from phi4_edge.core.text import closest
from phi4_edge.errors import CatalogError

FORMAT = "phi4-edge/resource-table/1"
PROFILES = ("development", "production_cpu", "production_gpu", "edge_optimized")
GIB = 1 << 30
GB = 10**9


@dataclass(frozen=True, slots=True)
class Profile:
    """One row. RAM and VRAM in GB as boards are sold, disk in decimal GB; VRAM 0 means no GPU is used."""

    name: str
    minimum_ram: float
    recommended_ram: float
    minimum_vram: float
    recommended_vram: float
    disk: float
    meant_for: str

    @property
    def accelerator(self) -> str:
        """Where the model runs: cuda or cpu."""
        return "cuda" if self.minimum_vram else "cpu"


@dataclass(frozen=True, slots=True)
class ResourceTable:
    """The rows and the constants of the memory model.

    `tolerance`: a host "has N GB" from tolerance times N GiB on. `os_reserve`: bytes left to the operating
    system. `usable_vram`: the share of VRAM that may be planned.
    """

    profiles: Mapping[str, Profile]
    auto_order: tuple[str, ...]
    tolerance: float
    os_reserve: int
    usable_vram: float

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> ResourceTable:
        """Return the table in plain data; raises CatalogError that names row and field."""
        top = Row("resource table", data)
        top.only("format", "tolerance", "os_reserve_gib", "usable_vram", "auto_order", "profiles")
        if data.get("format") != FORMAT:
            top.fail("format", FORMAT)
        profiles = {name: _profile(name, row) for name, row in top.rows("profiles").items()}
        order = top.texts("auto_order")
        for name in order:
            if name not in profiles:
                top.fail("auto_order", f"names of profiles ({', '.join(profiles)}){closest(name, list(profiles))}")
        return cls(
            profiles=profiles,
            auto_order=order,
            tolerance=top.number("tolerance", most=1),
            os_reserve=int(top.number("os_reserve_gib", most=1024) * GIB),
            usable_vram=top.number("usable_vram", most=1),
        )

    def has(self, size: int, nominal: float) -> bool:
        """Return whether `size` bytes of memory count as `nominal` GB."""
        return size >= self.counts_from(nominal)

    def counts_from(self, nominal: float) -> int:
        """Return the bytes of memory from which a host counts as having `nominal` GB."""
        return int(self.tolerance * nominal * GIB)


def _profile(name: str, row: Row) -> Profile:
    if name not in PROFILES:
        raise CatalogError(
            f"{row.where}: found an unknown profile, needed one of {', '.join(PROFILES)}{closest(name, list(PROFILES))}"
        )
    row.only("ram", "vram", "disk", "meant_for")
    ram, vram = _range(row, "ram"), _range(row, "vram") if row.data.get("vram") is not None else (0.0, 0.0)
    return Profile(name, *ram, *vram, disk=row.number("disk", most=10**6), meant_for=row.text("meant_for"))


def _range(row: Row, field: str) -> tuple[float, float]:
    inner = row.row(field)
    inner.only("minimum", "recommended")
    minimum = inner.number("minimum", most=10**6)
    recommended = inner.number("recommended", minimum, most=10**6)
    if recommended < minimum:
        inner.fail("recommended", f"at least the minimum of {minimum:g}")
    return minimum, recommended
