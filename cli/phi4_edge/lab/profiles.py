"""Hardware profiles of lab hosts, from profiles.yml."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import yaml

from phi4_edge.errors import LabError
from phi4_edge.lab import fake_gpu

_MIB = 1024**2
_SIZE = re.compile(r"[1-9][0-9]*[kmg]")
_FIELDS = {"description", "ram_mib", "cpus", "disks", "fake_gpu"}


@dataclass(frozen=True)
class Profile:
    """What a lab host shows of itself. `ram_bytes` becomes MemTotal; `disks` maps a path to the size of its tmpfs.

    `fake_gpu` names a card of fake_gpus.yml that the host claims to have.
    """

    name: str
    description: str
    ram_bytes: int
    cpus: int
    disks: Mapping[str, str] = field(default_factory=dict)
    fake_gpu: str | None = None


def parse(name: str, data: Mapping[str, Any]) -> Profile:
    """One row of profiles.yml. Raises LabError naming the field that is wrong."""
    unknown, missing = set(data) - _FIELDS, {"description", "ram_mib", "cpus"} - set(data)
    if unknown or missing:
        raise LabError(f"lab profile {name!r}: unknown fields {sorted(unknown)}, missing fields {sorted(missing)}")
    for key in ("ram_mib", "cpus"):
        if not isinstance(data[key], int) or data[key] < 1:
            raise LabError(f"lab profile {name!r}: {key} is {data[key]!r}, needed: a whole number above 0")
    disks = data.get("disks", {})
    for path, size in disks.items():
        if not path.startswith("/") or not _SIZE.fullmatch(str(size)):
            raise LabError(f"lab profile {name!r}: disk {path}: {size!r}, needed: an absolute path and a size like 2g")
    card = data.get("fake_gpu")
    if card is not None:
        fake_gpu.load(card)
    return Profile(name, str(data["description"]), data["ram_mib"] * _MIB, data["cpus"], dict(disks), card)


@dataclass(frozen=True)
class Profiles:
    """All profiles, and the names that are used when none is asked for."""

    rows: Mapping[str, Profile]
    default: tuple[str, ...]

    def get(self, name: str) -> Profile:
        """The profile called `name`. Raises LabError with the nearest name."""
        if name in self.rows:
            return self.rows[name]
        near = difflib.get_close_matches(name, self.rows, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise LabError(f"no lab profile {name!r}{hint}; profiles: {', '.join(self.rows)}")

    def choose(self, names: Sequence[str] = (), hosts: int | None = None) -> tuple[Profile, ...]:
        """One profile per host: `names` (else the default ones), cycled or cut to `hosts` when that is given.

        Without `hosts` there is one host per name, and a single host when no name is given either.
        """
        pool = tuple(names) or self.default
        count = hosts if hosts is not None else len(names) or 1
        return tuple(self.get(pool[index % len(pool)]) for index in range(count))


def load() -> Profiles:
    """Read profiles.yml of this package. Raises LabError when it is malformed."""
    text = resources.files(__package__).joinpath("profiles.yml").read_text(encoding="utf-8")
    data = yaml.safe_load(text)
    profiles = Profiles(
        {name: parse(name, row) for name, row in data["profiles"].items()},
        tuple(data["default"]),
    )
    for name in profiles.default:
        profiles.get(name)
    return profiles
