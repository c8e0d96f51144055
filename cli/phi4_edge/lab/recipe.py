"""What an image of a lab host is made of: suite, packages and files, by kind and operating system."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

import yaml

from phi4_edge.errors import LabError

REPOSITORY = "phi4-edge-lab"
HOST_KINDS = ("bare", "docker")  # `mirror` is the third kind
STAGE = "lab-stage"  # where the recipe's script lies in the image while it is built
LENT = "usr/local/lib/phi4-edge-lab"  # as overlay-borrowed/ has it


@dataclass(frozen=True)
class Recipe:
    """All that decides an image's content, except the day's packages.

    `overlay` is a tar that is unpacked at /. `borrowed` names programs that come from the image of the recipe `lender`,
    each with the libraries that it is linked with, to lie below LENT.
    """

    kind: str
    system: str
    suite: str
    packages: tuple[str, ...]
    overlay: bytes
    lender: Recipe | None = None
    borrowed: tuple[str, ...] = ()

    @property
    def tag(self) -> str:
        """`phi4-edge-lab:<kind>-<hash>`: another recipe, another tag."""
        lent = [self.lender.tag, *self.borrowed] if self.lender else []
        digest = hashlib.sha256("\n".join([self.suite, *self.packages, *lent]).encode() + self.overlay).hexdigest()
        return f"{REPOSITORY}:{self.kind}-{digest[:12]}"

    @property
    def name(self) -> str:
        """What tells images of one kind and system from all others: `docker-debian-12`."""
        return f"{self.kind}-{self.system}"


def systems() -> tuple[str, ...]:
    """Return the operating systems that a host can have, the one that it has unasked first."""
    return tuple(_data()["systems"])


def check_system(name: str) -> str:
    """Return `name` when there is an image of that operating system. Raises LabError otherwise."""
    if name not in systems():
        raise LabError(f"no operating system {name!r} for a lab host; there are: {', '.join(sorted(systems()))}")
    return name


def recipe(kind: str, certificates: Sequence[str], system: str = "") -> Recipe:
    """Return the recipe of one kind of image, with this machine's `certificates` (PEM texts) trusted in it.

    Raises LabError for an operating system that the lab does not have; "" is the first one.
    """
    data = _data()
    system = check_system(system or systems()[0])
    row = data["systems"][system]
    packages = [*data["packages"], *row.get(f"{kind}_packages", data.get(f"{kind}_packages", []))]
    borrowed = tuple(row.get(f"{kind}_borrowed", ()))
    folders = ("overlay", f"overlay-{kind}", *(["overlay-borrowed"] if borrowed else []))
    overlay = _overlay(folders, data["masked_units"], certificates)
    lender = recipe(kind, certificates) if borrowed else None
    return Recipe(kind, system, row["suite"], tuple(packages), overlay, lender, borrowed)


def _data() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(_root().joinpath("recipe.yml").read_text(encoding="utf-8"))
    return found


def _root() -> Traversable:
    return resources.files("phi4_edge.lab").joinpath("image")


def _overlay(folders: Sequence[str], masked: Sequence[str], certificates: Sequence[str]) -> bytes:
    """A tar with fixed owners, times and modes, so that equal content is equal bytes wherever it is made."""
    root, buffer = _root(), io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for folder in folders:
            for name, content in _files(root.joinpath(folder)):
                mode = (
                    0o440
                    if name.startswith("etc/sudoers.d/")
                    else 0o755
                    if "/sbin/" in name or "/cli-plugins/" in name
                    else 0o644
                )
                add(tar, name, content, mode)
        for number, pem in enumerate(certificates):
            add(tar, f"usr/local/share/ca-certificates/machine-{number}.crt", pem.encode(), 0o644)
        add(tar, f"{STAGE}/customize.sh", root.joinpath("customize.sh").read_bytes(), 0o755)
        for unit in masked:
            link = tarfile.TarInfo(f"etc/systemd/system/{unit}")
            link.type, link.linkname = tarfile.SYMTYPE, "/dev/null"
            tar.addfile(link)
    return buffer.getvalue()


def _mode(name: str) -> int:
    if name.startswith("etc/sudoers.d/"):
        return 0o440
    return 0o755 if "/sbin/" in name or "/cli-plugins/" in name else 0o644


def _files(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, bytes]]:
    if not folder.is_dir():
        return
    for entry in sorted(folder.iterdir(), key=lambda item: item.name):
        if entry.is_dir():
            yield from _files(entry, f"{prefix}{entry.name}/")
        else:
            yield f"{prefix}{entry.name}", entry.read_bytes()


def add(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    """Add a file with a fixed owner and time."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), mode
    tar.addfile(info, io.BytesIO(content))


def join(overlay: bytes, borrowed: Mapping[str, bytes]) -> bytes:
    """Return the overlay with borrowed files in it, which go below LENT: they are not this system's own."""
    buffer = io.BytesIO(overlay)
    with tarfile.open(fileobj=buffer, mode="a") as tar:
        for path, content in borrowed.items():
            add(tar, f"{LENT}/{path.lstrip('/')}", content, 0o755)
    return buffer.getvalue()
