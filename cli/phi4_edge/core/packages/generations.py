"""Generations of NVIDIA's GPUs by PCI device id: what the GPU can compute, and which drivers know it.

A GPU without a driver says nothing about itself but this id. Sources: pci.ids; NVIDIA's lists of supported products
per driver branch; its documentation of the open kernel modules.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from phi4_edge.core.facts.model import Display

VENDOR = "10de"


@dataclass(frozen=True, slots=True)
class Generation:
    """What its members have in common.

    `capability` is the lowest among them. `first` and `last` are the driver branches that know them (0: no end).
    `open_only`: the driver's proprietary kernel modules load and see no device, its open ones drive it.
    """

    name: str
    capability: tuple[int, int]
    first: int
    last: int = 0
    open_only: bool = False

    def driven_by(self, version: int) -> bool:
        """Whether a driver of this major version knows them."""
        return self.first <= version and (not self.last or version <= self.last)


_EARLY = Generation("Kepler or older", (3, 0), 340, 470)
_MAXWELL = Generation("Maxwell", (5, 0), 340, 580)
_PASCAL = Generation("Pascal", (6, 1), 367, 580)
_PASCAL_100 = Generation("Pascal", (6, 0), 367, 580)
_VOLTA = Generation("Volta", (7, 0), 384, 580)
_TURING = Generation("Turing", (7, 5), 410)
_AMPERE_100 = Generation("Ampere", (8, 0), 450)
_AMPERE = Generation("Ampere", (8, 6), 455)
_HOPPER = Generation("Hopper", (9, 0), 525)
_GRACE_HOPPER = Generation("Grace Hopper", (9, 0), 535, open_only=True)
_ADA = Generation("Ada", (8, 9), 525)
_BLACKWELL_100 = Generation("Blackwell", (10, 0), 570, open_only=True)
_BLACKWELL = Generation("Blackwell", (12, 0), 570, open_only=True)
_BLACKWELL_300 = Generation("Blackwell or newer", (10, 3), 580, open_only=True)
# First and last device id. An id in no row is not known, and nothing is concluded from it.
_RANGES = (
    (0x0020, 0x133F, _EARLY),
    (0x1340, 0x15EF, _MAXWELL),
    (0x15F0, 0x15FF, _PASCAL_100),
    (0x1600, 0x171F, _MAXWELL),
    (0x1720, 0x173F, _PASCAL_100),
    (0x1740, 0x17FF, _MAXWELL),
    (0x1B00, 0x1D7F, _PASCAL),
    (0x1D80, 0x1DFF, _VOLTA),
    (0x1E00, 0x1FFF, _TURING),
    (0x20B0, 0x20FF, _AMPERE_100),
    (0x2180, 0x21FF, _TURING),
    (0x2200, 0x22FF, _AMPERE),
    (0x2300, 0x233F, _HOPPER),
    (0x2340, 0x237F, _GRACE_HOPPER),
    (0x2400, 0x25FF, _AMPERE),
    (0x2680, 0x28FF, _ADA),
    (0x2900, 0x2AFF, _BLACKWELL_100),
    (0x2B80, 0x2FFF, _BLACKWELL),
    (0x3000, 0xFFFF, _BLACKWELL_300),
)


def generation(device: str) -> Generation | None:
    """Return the generation of a PCI device id (four hexadecimal digits); None where the id is not known."""
    number = int(device, 16)
    return next((found for first, last, found in _RANGES if first <= number <= last), None)


def cards(displays: Iterable[Display]) -> tuple[tuple[str, Generation | None], ...]:
    """Return NVIDIA's cards among display controllers as "vendor:device", each with its generation."""
    return tuple((f"{one.vendor}:{one.device}", generation(one.device)) for one in displays if one.vendor == VENDOR)
