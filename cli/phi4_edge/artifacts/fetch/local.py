"""Takes a checkpoint from a folder on this controller into the store: weights and texts, never code."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phi4_edge import __version__
from phi4_edge.artifacts.fetch import checkpoint
from phi4_edge.artifacts.fetch.model import NEVER, VARIANT
from phi4_edge.artifacts.store import manifest, resources
from phi4_edge.artifacts.store.manifest import FileEntry, Manifest
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core.catalog.model import Catalog, Variant
from phi4_edge.errors import ArtifactError
from phi4_edge.progress import Event, Progress, silent

KIND = "import"
TAKEN = ("*.safetensors", "*.json", "*.txt", "*.jinja", "LICENSE", "LICENSE.txt", "NOTICE", "*.model")
# What a checkout brings along that no engine reads.
LEFT_OUT = (".*", "*.md", "*.png", "*.jpg", "*.jpeg", "*.pdf", manifest.NAME)
_BLOCK = 1 << 22
_SPARE = 100_000_000  # bytes left free beside the checkpoint


def run(store: Store, catalog: Catalog, artifact: str, folder: Path, progress: Progress = silent) -> str:
    """Have the checkpoint in `folder` in the store as `artifact`; return its digest. `folder` stays as it is.

    Raises ArtifactError when `artifact` is not a checkpoint of the catalog, or when `folder` holds anything that may
    run, another model, another quantization, or is not complete.
    """
    variants = _variants(catalog, artifact)
    model, _, kind = artifact.partition("/")
    try:
        names = _names(folder)
        quantization = checkpoint.check(folder, names, catalog, model, variants[kind])
        size = sum((folder / name).stat().st_size for name in names)
    except OSError as error:
        raise ArtifactError(f"{folder} cannot be read: {error}") from error
    with store.making(artifact, progress):
        resources.require_disk(store.root, size + _SPARE, f"importing {artifact}")
        with store.workspace("import") as work:
            output = work / "output"
            output.mkdir()
            entries: list[FileEntry] = []
            for name in names:
                done = sum(entry.size for entry in entries)
                progress(Event(artifact, "importing", name, done, size))
                entries.append(_copied(folder / name, output / name))
            # What was copied is what counts: the folder may have changed since it was looked at.
            if checkpoint.check(output, names, catalog, model, variants[kind]) != quantization:
                raise ArtifactError(f"{folder} changed while it was read; run the same command again")
            return store.adopt(output, _describe(catalog, artifact, entries, quantization))


def _variants(catalog: Catalog, artifact: str) -> Mapping[str, Variant]:
    """The engines' variants that are read as checkpoints, by the second part of an artifact's name."""
    manifest.artifact_id(artifact)
    found = {
        variant.artifact: variant
        for engine in catalog.engines.values()
        for variant in engine.variants.values()
        if variant.artifact.startswith(VARIANT)
    }
    model, _, kind = artifact.partition("/")
    if model not in catalog.models or kind not in found:
        known = ", ".join(f"{name}/{one}" for name in sorted(catalog.models) for one in sorted(found))
        raise ArtifactError(f"{artifact} is not a checkpoint of the catalog; checkpoints to import: {known}")
    return found


def _names(folder: Path) -> tuple[str, ...]:
    """The files to take. Raises ArtifactError for anything that may run, a link, or what is not known."""
    if not folder.is_dir():
        raise ArtifactError(f"found no folder {folder}, needed one with config.json and *.safetensors")
    taken, problems = [], []
    for path in sorted(folder.iterdir()):
        name, mode = path.name, path.lstat().st_mode
        if any(fnmatch.fnmatchcase(name.lower(), pattern) for pattern in NEVER):
            problems.append(f"{name} may run code when it is read")
        elif any(fnmatch.fnmatchcase(name, pattern) for pattern in LEFT_OUT):
            continue
        elif stat.S_ISLNK(mode):
            problems.append(f"{name} is a link (cp -rL copies what links name)")
        elif not stat.S_ISREG(mode):
            problems.append(f"{name} is no plain file")
        elif not any(fnmatch.fnmatchcase(name, pattern) for pattern in TAKEN):
            problems.append(f"{name} is of no kind that a checkpoint needs")
        else:
            taken.append(manifest.relative(name))
    if problems:
        listed = "; ".join(ascii(problem)[1:-1] for problem in problems[:10])
        raise ArtifactError(
            f"{folder} is not taken: {listed}. Needed are only {', '.join(TAKEN)}: copy these to a folder of their own"
        )
    return tuple(taken)


def _copied(source: Path, target: Path) -> FileEntry:
    """Copy one file; hash and size are of what was written."""
    found, size = hashlib.sha256(), 0
    try:
        stream = os.fdopen(os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")
    except OSError as error:
        raise ArtifactError(f"{source} cannot be read: {error}") from error
    with stream, target.open("xb") as out:
        while block := stream.read(_BLOCK):
            found.update(block)
            size += len(block)
            out.write(block)
    return FileEntry(target.name, size, found.hexdigest())


def _describe(catalog: Catalog, artifact: str, entries: list[FileEntry], quantization: Mapping[str, Any]) -> Manifest:
    return Manifest(
        artifact=artifact,
        files=tuple(sorted(entries)),
        licence=catalog.models[artifact.partition("/")[0]].licence,
        source={"kind": KIND},
        created_by={"phi4-edge": __version__},
        parameters=quantization,
    )
