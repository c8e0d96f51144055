"""Release archives of Ollama: fetched at the pinned version, checked, unpacked here and kept as an artifact.

An archive holds `bin/ollama`, `lib/ollama/` with llama-server and the CPU backends, and one folder of libraries per
kind of GPU (`cuda_v12`, `cuda_v13`, `vulkan`, `cuda_jetpack6`, `rocm_v7_2`, `mlx_cuda_v13`). Ollama loads each backend
from its folder at run time and goes without those that are not there, so a flavour is a choice of folders.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from phi4_edge.artifacts.fetch import http, unpack
from phi4_edge.artifacts.fetch import pins as fetch_pins
from phi4_edge.artifacts.fetch.http import Address
from phi4_edge.artifacts.store import files, manifest, resources
from phi4_edge.artifacts.store.manifest import Manifest
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core.catalog.model import Archive, Catalog
from phi4_edge.core.engines.ollama import NAME as ENGINE
from phi4_edge.errors import ArtifactError
from phi4_edge.progress import Event, Progress, silent

URL_SETTING = "PHI4_EDGE_OLLAMA_URL"
HINT = f"{URL_SETTING} names a mirror that holds the same files."
# No asset of a release has more: 2 GB is the most that its publisher takes for one file.
ASSET_LIMIT = 4_000_000_000
# What one is taken to need before its size is known.
ARCHIVE_DISK = 2_000_000_000
_NAME = fetch_pins.NAME
_LINE = re.compile(r"([0-9a-f]{64}) [ *](?:\./)?(\S+)")
_PROGRAM = "bin/ollama"
# Folders below lib/ollama that hold the libraries of one kind of GPU.
_GPU = ("cuda_", "rocm", "vulkan", "mlx", "include")
_KEPT = {"cpu": (), "cuda": ("cuda_v",), "jetpack5": ("cuda_jetpack5",), "jetpack6": ("cuda_jetpack6",)}


@dataclass(frozen=True)
class _Job:
    """One artifact to make: its release in the catalog, the assets, and the folder that survives a kill."""

    artifact: str
    version: str
    flavour: str
    release: Archive
    sha256: Mapping[str, str]
    assets: tuple[str, ...]
    disk: int
    folder: Path


def is_release(artifact: str) -> bool:
    """Whether `artifact` is the name of a release archive rather than of a model."""
    return artifact.startswith(f"{ENGINE}/")


def partial_name(artifact: str) -> str:
    """Name of the folder below partial/ that holds the archives of `artifact`; empty for another kind of artifact."""
    match = _NAME.fullmatch(artifact)
    return f"{ENGINE}-{match['version']}" if match else ""


def ensure(store: Store, catalog: Catalog, artifact: str, progress: Progress = silent) -> str:
    """Have `ollama/<version>-<arch>-<flavour>` in the store; return its digest.

    Raises ArtifactError when the catalog has no such release, it cannot be had, or is not what was pinned.
    """
    job = _job(store, catalog, artifact)
    store.hold("partial", job.folder.name)
    with store.making(f"{ENGINE}-{job.version}", progress):
        if (held := _held(store, job)) is not None:
            return held
        missing = sum(not (job.folder / asset).is_file() for asset in job.assets)
        resources.require_disk(store.root, job.disk + ARCHIVE_DISK * missing, f"fetching and unpacking {artifact}")
        sums = _sums(store, job, progress)
        archives = [_receive(job, asset, sums[asset], progress) for asset in job.assets]
        with store.workspace("release") as work:
            tree = work / "tree"
            tree.mkdir()
            for archive in archives:
                progress(Event(artifact, "unpacking", archive.name))
                unpack.unpack(archive, tree, lambda name: wanted(name, job.flavour))
            unpack.drop_dangling(tree)
            _require_program(tree, job)
            progress(Event(artifact, "hashing"))
            description = _describe(job, tree, sums)
            fetch_pins.require_known(description, catalog)
            adopted = store.adopt(tree, description)
            fetch_pins.pin_tree(store, artifact, adopted)
            return adopted


def wanted(name: str, flavour: str) -> bool:
    """Whether the member `name` of an archive belongs to `flavour`."""
    parts = name.split("/")
    inner = parts[2] if parts[:2] == ["lib", ENGINE] and len(parts) > 2 else ""
    return not inner.startswith(_GPU) or inner.startswith(_KEPT[flavour] or ("\0",))


def _job(store: Store, catalog: Catalog, artifact: str) -> _Job:
    engine = catalog.engines[ENGINE]
    match = _NAME.fullmatch(artifact)
    known = engine.release.artifacts if engine.release else {}
    key = f"{match['arch']}-{match['flavour']}" if match else ""
    if match is None or engine.release is None or key not in known or match["version"] != engine.version:
        there = ", ".join(f"{ENGINE}/{engine.version}-{name}" for name in sorted(known))
        raise ArtifactError(f"{artifact!r} is not a release in the catalog; it has {there}")
    pinned = {name: value for name, value in engine.release.sha256.items() if value}
    return _Job(
        artifact, engine.version, match["flavour"], engine.release, {**pinned, **fetch_pins.own()}, known[key].assets,
        known[key].disk, store.root / "partial" / partial_name(artifact),
    )  # fmt: skip


def _held(store: Store, job: _Job) -> str | None:
    """Digest of the artifact when the store has it whole, made from archives that the catalog does not contradict."""
    if job.artifact not in store.digests() or store.damage(job.artifact, deep=False):
        return None
    found = store.manifest(job.artifact)
    made_from = found.source.get("assets")
    if not isinstance(made_from, dict) or set(made_from) != set(job.assets):
        return None
    same = all(job.sha256.get(asset, made_from[asset]) == made_from[asset] for asset in job.assets)
    return found.digest if same else None


def _address(job: _Job, name: str) -> Address:
    base = job.release.url.rstrip("/")
    if mirror := os.environ.get(URL_SETTING):
        # A mirror has a folder for each version, as the publisher has.
        base = f"{mirror.rstrip('/')}/{base.rpartition('/')[2]}"
    return Address(f"{base}/{name}", HINT)


def _sums(store: Store, job: _Job, progress: Progress) -> dict[str, str]:
    """SHA-256 by asset: from the catalog; else as pinned when it was first seen; else from the release's own list.

    Raises ArtifactError when the list says something else than what was pinned: a release is not changed.
    """
    pins = fetch_pins.read(store)
    known = {asset: job.sha256.get(asset, "") for asset in job.assets}
    if missing := [asset for asset in job.assets if not known[asset]]:
        progress(Event(job.artifact, "reading", job.release.checksums))
        address = _address(job, job.release.checksums)
        listed = {name: value for value, name in _LINE.findall(http.text(address))}
        for asset in missing:
            key = f"{ENGINE}/{job.version}/{asset}"
            if asset not in listed:
                raise ArtifactError(f"{address.shown} has no line for {asset}: is it the list of this release? {HINT}")
            if pins.setdefault(key, listed[asset]) != listed[asset]:
                raise ArtifactError(
                    f"{address.shown}: found {asset} with sha256 {listed[asset][:12]}…, needed {pins[key][:12]}…, to "
                    "which it was pinned when it was first fetched: the release or the mirror was changed. Look why; "
                    f"if the new one is right, remove the line {key} from {store.root / 'pins.json'}"
                )
            known[asset] = listed[asset]
        fetch_pins.write(store, pins)
    return known


def _receive(job: _Job, asset: str, sha256: str, progress: Progress) -> Path:
    """The archive, complete and checked, in the folder that survives a kill: another flavour may need it too."""
    target = job.folder / asset
    if not target.is_file() or manifest.sha256_of(target) != sha256:
        files.erase(target)
        part = target.with_name(f"{asset}.part")

        def seen(held: int, total: int) -> None:
            progress(Event(job.artifact, "fetching", asset, held, total))

        http.fetch(_address(job, asset), sha256, part, ASSET_LIMIT, seen)
        part.replace(target)
    return target


def _require_program(tree: Path, job: _Job) -> None:
    program = tree / _PROGRAM
    if program.is_symlink() or not program.is_file() or not program.stat().st_mode & 0o100:
        held = ", ".join(sorted(ascii(path.name) for path in tree.iterdir())[:20]) or "nothing"
        raise ArtifactError(
            f"{', '.join(job.assets)}: found {held}, needed the program {_PROGRAM}: this is not a release of Ollama "
            "for Linux. Check the catalog and the mirror"
        )


def _describe(job: _Job, tree: Path, sums: dict[str, str]) -> Manifest:
    from importlib.metadata import version

    entries, links = manifest.describe_tree(tree)
    return Manifest(
        artifact=job.artifact,
        files=entries,
        links=links,
        licence="MIT",
        source={"kind": "release", "url": job.release.url, "assets": {asset: sums[asset] for asset in job.assets}},
        created_by={"zstandard": version("zstandard")},
        parameters={"version": job.version, "flavour": job.flavour},
    )
