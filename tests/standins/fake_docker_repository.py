"""Docker's apt repository as a lab sees it: the vendor's package names, versions and relations.

What it leaves out: the vendor's own binaries. Inside are those of Debian, so a real engine is installed and runs, and
reports the version that Debian has. Needs Debian's mirror.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.standins.apt_repository import Package, depends, download, export, key, publish

SUITES = {"trixie": "debian.13~trixie", "bookworm": "debian.12~bookworm"}
DOCKER, CONTAINERD, COMPOSE = "28.5.2", "1.7.29", "2.40.3"
# Whose content goes into which package of the vendor.
DEBIAN = ("docker.io", "docker-cli", "containerd", "runc", "docker-compose")
# Where Debian has them: the client is in docker.io before Debian 13, and Compose 2 is in Debian 13 alone.
PLACES = {
    "trixie": {"trixie": DEBIAN},
    "bookworm": {"bookworm": ("docker.io", "containerd", "runc"), "trixie": ("docker-compose",)},
}


def packages(suite: str, found: dict[str, Path]) -> list[Package]:
    """The packages that the role installs, and an older one of each, which it must not take."""
    tail = f"-1~{SUITES[suite]}"
    needs = {name: depends(deb, DEBIAN) for name, deb in found.items()}
    full = f"5:{DOCKER}{tail}"
    wanted = [
        Package(
            "containerd.io", f"{CONTAINERD}{tail}", [*needs["containerd"], *needs["runc"]],
            contents=[found["containerd"], found["runc"]], conflicts=["containerd", "runc"],
        ),
        Package(
            "docker-ce-cli", full, needs.get("docker-cli", ()),
            contents=[deb for name, deb in found.items() if name == "docker-cli"], conflicts=["docker-cli"],
        ),
        Package(
            "docker-ce", full, [*needs["docker.io"], "docker-ce-cli", "containerd.io (>= 1.7.27)"],
            contents=[found["docker.io"]], conflicts=["docker.io"],
        ),
        Package(
            "docker-compose-plugin", f"{COMPOSE}{tail}", needs["docker-compose"], contents=[found["docker-compose"]],
        ),
    ]  # fmt: skip
    older = [Package(package.name, f"5:28.3.0{tail}") for package in wanted if package.name.startswith("docker-ce")]
    return [*wanted, *older, Package("docker-compose-plugin", f"5.0.1{tail}")]


def make(top: Path, sources: str) -> str:
    """`top`/debian is the repository of the host's suite with its key in `gpg`; returns the key's fingerprint."""
    suite = next(name for name in SUITES if f" {name} " in sources)
    with key("Fake Docker Release (lab)") as home, tempfile.TemporaryDirectory() as temporary:
        found: dict[str, Path] = {}
        for place, names in PLACES[suite].items():
            folder = Path(temporary, place)
            folder.mkdir()
            found |= download(names, place, sources.replace(suite, place), folder)
        publish(home, top / "debian", packages(suite, found), suite, "stable")
        return export(home, top / "debian" / "gpg")
