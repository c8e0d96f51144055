"""What the catalog knows of speed: memory bandwidths by board, CPU and GPU, and what a forecast makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from phi4_edge.core.catalog.fields import Row

# What a forecast may be made of, where nothing was measured.
FORECASTS = ("sample", "board", "class")
_GB = 10**9


@dataclass(frozen=True, slots=True)
class SpeedRow:
    """Peak memory bandwidth (bytes per second) and the share of it that decoding reaches; `match` "": of a class."""

    match: str
    architecture: str
    features: frozenset[str]
    bandwidth: float
    efficiency: float


@dataclass(frozen=True, slots=True)
class Speed:
    """Rules for the forecast: rows per accelerator, and what a sampled bandwidth is worth.

    `uncertainty`: share by which a forecast may be off, by its source. `one_core`: share of the peak that one reads.
    """

    rows: Mapping[str, tuple[SpeedRow, ...]]
    sample_efficiency: float
    uncertainty: Mapping[str, float]
    one_core: float
    disk: tuple[tuple[str, float], ...]

    def disk_read(self, board: str) -> float:
        """Return the bytes per second that a model is read with, by the board's name."""
        return next((rate for match, rate in self.disk if match in board.lower()), 10.0**8)


def read_speed(row: Row, accelerators: Sequence[str]) -> Speed:
    """Return the rules in the catalog's plain data; raises CatalogError that names row and field."""
    row.only("sample", "uncertainty", "one_core", "disk", *accelerators)
    sample, uncertainty = row.row("sample"), row.row("uncertainty")
    sample.only("efficiency")
    uncertainty.only(*FORECASTS)
    return Speed(
        rows=MappingProxyType({name: tuple(map(_speed_row, row.each(name))) for name in accelerators}),
        sample_efficiency=sample.number("efficiency", most=2),
        uncertainty=MappingProxyType({name: uncertainty.number(name, most=1) for name in FORECASTS}),
        one_core=row.number("one_core", most=1),
        disk=tuple(
            (item.text("match", "").lower(), item.number("read", most=10**6) * _GB) for item in row.each("disk")
        ),
    )


def _speed_row(row: Row) -> SpeedRow:
    row.only("match", "architecture", "features", "bandwidth", "efficiency")
    return SpeedRow(
        match=row.text("match", "").lower(),
        architecture=row.text("architecture", ""),
        features=frozenset(row.texts("features", ())),
        bandwidth=row.number("bandwidth", most=10**6) * _GB,
        efficiency=row.number("efficiency", most=1),
    )
