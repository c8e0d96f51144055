"""A signed apt repository of packages that are built here, for a lab that has no way to the vendors' own ones.

Needs dpkg-deb, apt-ftparchive (apt-utils) and gpg with gpg-agent on this machine. The key is made per run and lives in
a temporary directory: nothing of it stays, and nobody else's packages can be signed with it.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from phi4_edge.core.packages import openpgp

ARCHITECTURE = "amd64"
_MAINTAINER = "phi4-edge lab <lab@phi4-edge.invalid>"


@dataclass(frozen=True)
class Package:
    """One fake package. `files`: content and mode by path below /; `scripts`: maintainer scripts by name."""

    name: str
    version: str
    depends: Sequence[str] = ()
    files: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    # Packages of the distribution whose content and maintainer scripts it has.
    contents: Sequence[Path] = ()
    conflicts: Sequence[str] = ()
    scripts: Mapping[str, str] = field(default_factory=dict)

    def control(self) -> str:
        lists = {"Depends": self.depends, "Conflicts": self.conflicts, "Replaces": self.conflicts}
        depends = [f"{name}: {', '.join(names)}" for name, names in lists.items() if names]
        lines = [
            f"Package: {self.name}", f"Version: {self.version}", f"Architecture: {ARCHITECTURE}",
            f"Maintainer: {_MAINTAINER}", *depends, "Description: stand-in for the vendor's package in a lab", "",
        ]  # fmt: skip
        return "\n".join(lines)


def build(package: Package, folder: Path) -> Path:
    """The .deb of `package` in `folder`."""
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary, "root")
        control = root / "DEBIAN"
        control.mkdir(parents=True)
        for content in package.contents:
            run("dpkg-deb", "--extract", str(content), str(root))
            run("dpkg-deb", "--control", str(content), str(control))
        for stale in ("md5sums", "shlibs", "triggers", "symbols"):
            (control / stale).unlink(missing_ok=True)
        (control / "control").write_text(package.control())
        for name, text in package.scripts.items():
            (control / name).write_text(text)
            (control / name).chmod(0o755)
        for path, (text, mode) in package.files.items():
            target = root / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
            target.chmod(mode)
        for directory in (root, *(found for found in root.rglob("*") if found.is_dir())):
            directory.chmod(0o755)
        file = folder / f"{package.name}_{package.version.partition(':')[2] or package.version}_{ARCHITECTURE}.deb"
        run("dpkg-deb", "--build", "--root-owner-group", "-Zgzip", "-z1", str(root), str(file))
    return file


def download(names: Sequence[str], suite: str, sources: str, folder: Path) -> dict[str, Path]:
    """The packages `names` of Debian's `suite`, by name, from where a host of the lab has its own (`sources`).

    This machine may run another release, or another distribution.
    """
    (folder / "lists" / "partial").mkdir(parents=True)
    lines = [line for line in sources.splitlines() if line.startswith("deb ") and f" {suite} " in f"{line} "]
    (folder / "sources").write_text("\n".join(lines) + "\n")
    options = {
        "Dir::Etc::SourceList": folder / "sources", "Dir::Etc::SourceParts": "-", "Dir::State::Lists": folder / "lists",
        "Dir::Cache": folder / "cache", "Dir::State::Status": "/dev/null", "APT::Sandbox::User": "root",
        "Dir::Etc::TrustedParts": "/usr/share/keyrings", "APT::Architecture": ARCHITECTURE,
    }  # fmt: skip
    words = [f"-o{name}={value}" for name, value in options.items()]
    (folder / "cache" / "archives" / "partial").mkdir(parents=True)
    run("apt-get", "-q", *words, "update", folder=folder)
    run("apt-get", "-q", *words, "download", *names, folder=folder)
    return {name: next(folder.glob(f"{name}_*.deb")) for name in names}


def depends(deb: Path, without: Sequence[str]) -> list[str]:
    """What a package depends on, except on the packages `without`."""
    words = run("dpkg-deb", "--field", str(deb), "Depends").decode().strip().split(", ")
    return [word for word in words if word and word.split(" ")[0].split(":")[0] not in without]


def run(*argv: str, folder: Path | None = None, home: Path | None = None) -> bytes:
    """Standard output of a program. Raises CalledProcessError."""
    environment = dict(os.environ, LC_ALL="C.UTF-8") | ({"GNUPGHOME": str(home)} if home else {})
    return subprocess.run(argv, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE).stdout


@contextmanager
def key(owner: str) -> Iterator[Path]:
    """A directory for gpg with one new signing key; its agent has ended afterwards."""
    with tempfile.TemporaryDirectory(prefix="lab-gpg-") as temporary:
        home = Path(temporary)
        home.chmod(0o700)
        try:
            run("gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", owner, "rsa3072", "sign", "1d",
                home=home)  # fmt: skip
            yield home
        finally:
            run("gpgconf", "--kill", "all", home=home)


def publish(home: Path, top: Path, packages: Sequence[Package], suite: str, component: str) -> None:
    """`top` is a signed repository of `packages`; a `suite` that ends with "/" makes a flat one, as NVIDIA's is."""
    flat = suite.endswith("/")
    pool = top if flat else top / "pool"
    index = top if flat else top / "dists" / suite / component / f"binary-{ARCHITECTURE}"
    for folder in (pool, index):
        folder.mkdir(parents=True, exist_ok=True)
    for package in packages:
        build(package, pool)
    (index / "Packages").write_bytes(run("apt-ftparchive", "packages", "." if flat else "pool", folder=top))
    release = top if flat else top / "dists" / suite
    names = {"Suite": suite, "Codename": suite, "Components": component, "Architectures": ARCHITECTURE}
    options = [f"-oAPT::FTPArchive::Release::{name}={value}" for name, value in ({} if flat else names).items()]
    (release / "Release").write_bytes(run("apt-ftparchive", *options, "release", ".", folder=release))
    run("gpg", "--batch", "--yes", "--clearsign", "--output", str(release / "InRelease"), str(release / "Release"),
        home=home)  # fmt: skip


def export(home: Path, path: Path) -> str:
    """Writes the armoured public key; returns its fingerprint."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(run("gpg", "--batch", "--armor", "--export", home=home))
    (fingerprint,) = openpgp.fingerprints(path.read_bytes())
    return fingerprint
