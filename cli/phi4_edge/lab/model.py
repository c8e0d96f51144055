"""What a lab is: names, hosts, where its files are. Plain data, no Docker."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from phi4_edge.errors import LabError

FORMAT = "phi4-edge/lab/1"
LABEL = "phi4-edge.lab"  # on every container, volume and network; its value is the lab's name
USER = "gateway"
MIRROR = "mirror"  # name of the host that serves what vendors publish
FILES_PORT, REGISTRY_PORT = 8000, 5000  # of the mirror, as overlay-mirror/ configures them
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,29}[a-z0-9])?")


def check_name(name: str) -> str:
    """Return `name` when a lab may be called so: it becomes part of host names, containers and a directory.

    Raises LabError otherwise.
    """
    if not _NAME.fullmatch(name):
        raise LabError(
            f"{name!r} cannot be the name of a lab: use 1 to 31 lower-case letters, digits and hyphens, "
            "with no hyphen first or last, for example --name site-2"
        )
    return name


def labs_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Where labs keep their files: under $XDG_STATE_HOME when it is an absolute path (as its specification asks)."""
    state = Path(environ.get("XDG_STATE_HOME", ""))
    if not state.is_absolute():
        state = Path.home() / ".local" / "state"
    return state / "phi4-edge" / "labs"


@dataclass(frozen=True)
class LabHost:
    """One gateway of a lab. `cpus` are CPU numbers of the machine; `address` stays the same over a power cut.

    `system` is its operating system: debian-12.
    """

    name: str
    profile: str
    ram_bytes: int
    cpus: tuple[int, ...]
    disks: Mapping[str, str]
    address: str
    container: str
    image: str = ""
    system: str = ""
    fake_gpu: str | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LabHost:
        """Inverse of `dataclasses.asdict`. Raises KeyError or TypeError for another shape."""
        return cls(**{**data, "cpus": tuple(data["cpus"])})


@dataclass(frozen=True)
class Lab:
    """A running lab; `hosts` in the order in which they were asked for, and the mirror beside them if it has one."""

    name: str
    network: str
    directory: Path
    hosts: tuple[LabHost, ...]
    mirror: LabHost | None = None
    offline: bool = False

    @property
    def machines(self) -> tuple[LabHost, ...]:
        """All that runs: the hosts of the inventory, then the mirror."""
        return (*self.hosts, self.mirror) if self.mirror else self.hosts

    @property
    def inventory(self) -> Path:
        return self.directory / "inventory.ini"

    @property
    def key(self) -> Path:
        return self.directory / "key"

    @property
    def known_hosts(self) -> Path:
        return self.directory / "known_hosts"

    @property
    def published(self) -> Path:
        """The files that the mirror serves."""
        return self.directory / "mirror"

    def bus_directory(self, host: LabHost) -> Path:
        """What a host with a simulated GPU shows as its PCI bus."""
        return self.directory / "pci" / host.name

    def host(self, name: str) -> LabHost:
        """The host called `name`, which may be the mirror. Raises LabError naming the hosts that exist."""
        for host in self.machines:
            if host.name == name:
                return host
        raise LabError(f"lab {self.name!r} has no host {name!r}; its hosts: {', '.join(h.name for h in self.machines)}")

    def to_dict(self) -> dict[str, Any]:
        """The content of lab.json."""
        return {
            "format": FORMAT,
            "name": self.name,
            "network": self.network,
            "offline": self.offline,
            "hosts": [asdict(host) for host in self.hosts],
            "mirror": asdict(self.mirror) if self.mirror else None,
        }


def save(lab: Lab) -> None:
    """After it, `read(lab.name)` gives an equal lab."""
    (lab.directory / "lab.json").write_text(json.dumps(lab.to_dict(), indent=2) + "\n", encoding="utf-8")


def read(name: str) -> Lab:
    """The lab as `save` left it. Raises LabError when there is none or its file is damaged."""
    directory = labs_directory() / check_name(name)
    try:
        data = json.loads((directory / "lab.json").read_text(encoding="utf-8"))
        if data["format"] != FORMAT:
            raise ValueError(f"format {data['format']!r}")
        hosts = tuple(LabHost.from_dict(host) for host in data["hosts"])
        mirror = LabHost.from_dict(data["mirror"]) if data.get("mirror") else None
        return Lab(name, data["network"], directory, hosts, mirror, bool(data.get("offline")))
    except FileNotFoundError as error:
        raise LabError(
            f"there is no lab named {name!r}: see `phi4-edge lab list`, "
            f"or make it with `phi4-edge lab up --name {name}`"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise LabError(
            f"{directory / 'lab.json'} is damaged ({error}): `phi4-edge lab down --name {name}` removes the lab"
        ) from error
