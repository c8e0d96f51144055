"""A simulated GPU: what such a host shows on its PCI bus and what its nvidia-smi prints. It can compute nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import yaml

from phi4_edge.errors import LabError

PCI = "/sys/bus/pci/devices"
_ATTRIBUTES = {"vendor", "device", "class"}


@dataclass(frozen=True)
class FakeGpu:
    """`pci` maps a bus address to its attributes; `nvidia_smi` has one row per GPU, none where no driver is."""

    name: str
    pci: Mapping[str, Mapping[str, str]]
    nvidia_smi: tuple[Mapping[str, str], ...]

    def host_files(self) -> dict[str, tuple[bytes, int]]:
        """Content and mode by path of what a host with this card has; empty where it has no driver."""
        if not self.nvidia_smi:
            return {}
        tool = resources.files(__package__).joinpath("fake_nvidia_smi.py").read_bytes()
        cards = json.dumps([dict(row) for row in self.nvidia_smi], indent=2) + "\n"
        return {
            "usr/local/bin/nvidia-smi": (tool, 0o755),
            "usr/local/share/fake-gpu/cards.json": (cards.encode(), 0o644),
        }


def load(name: str) -> FakeGpu:
    """The card called `name` of fake_gpus.yml. Raises LabError when there is none, or it is malformed."""
    rows = yaml.safe_load(resources.files(__package__).joinpath("fake_gpus.yml").read_text(encoding="utf-8"))
    if name not in rows:
        raise LabError(f"no simulated GPU {name!r}; there are: {', '.join(rows)}")
    row = rows[name]
    for address, attributes in row["pci"].items():
        if set(attributes) != _ATTRIBUTES:
            raise LabError(f"simulated GPU {name!r}: {address} needs {', '.join(sorted(_ATTRIBUTES))}")
    return FakeGpu(name, row["pci"], tuple(row.get("nvidia_smi", ())))


def write_bus(card: FakeGpu, directory: Path) -> None:
    """`directory` looks like /sys/bus/pci/devices of a host with this card and nothing else on its bus."""
    for address, attributes in card.pci.items():
        device = directory / address
        device.mkdir(parents=True)
        for attribute, value in attributes.items():
            (device / attribute).write_text(f"{value}\n", encoding="ascii")
    for folder in (directory, *directory.iterdir()):
        folder.chmod(0o755)  # whatever the umask: another user of the host reads it
