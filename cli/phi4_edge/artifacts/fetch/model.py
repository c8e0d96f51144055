"""Fetches a model at the revision that the catalog pins: safetensors and texts, or its ONNX export; never code.

What comes with the package is taken from there.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from phi4_edge.artifacts.fetch import hub, packaged
from phi4_edge.artifacts.fetch.hub import HubFile, Pin
from phi4_edge.artifacts.store import files, manifest, resources
from phi4_edge.artifacts.store.manifest import FileEntry, Manifest
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core.catalog.model import Catalog, Model
from phi4_edge.errors import ArtifactError
from phi4_edge.progress import Event, Progress, silent

VARIANT = "safetensors"
PUBLISHED = "onnx-published"
# What every checkpoint must bring, and the architecture that the converter and the engines are made for.
REQUIRED = ("config.json", "tokenizer.json")
ARCHITECTURE = "Phi3ForCausalLM"
# Executable or pickled content; refused even where a catalog of the user's own allows it.
NEVER = ("*.py", "*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt", "*.so", "*.h5")
_REVISION = re.compile(r"[0-9a-f]{40}")
_SPARE = 100_000_000  # bytes left free beside the checkpoint


@dataclass(frozen=True)
class _Job:
    """One fetch: what, from where, and the folder that survives a kill; `path` is the part of the repository."""

    artifact: str
    licence: str
    pin: Pin
    files: tuple[HubFile, ...]
    folder: Path
    path: str = ""

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    def local(self, file: HubFile) -> str:
        """The name of `file` in the folder."""
        return file.path.removeprefix(f"{self.path}/")


def fetch(store: Store, catalog: Catalog, model_id: str, progress: Progress = silent, variant: str = VARIANT) -> str:
    """Fetch `model_id` into the store as `<model_id>/<variant>`; return the digest of the artifact.

    `safetensors` is the model itself, `onnx-published` its export to ONNX, any other variant one of the catalog's
    further checkpoints of it.

    Every file was hashed, and compared with the catalog's or the hub's hash. A killed fetch is resumed at the last
    byte. Raises ArtifactError when the model is not fetched from a hub, its revision is not a commit, disk will not do,
    the hub does not deliver, or what it delivers is not what the revision holds.
    """
    model = _model(catalog, model_id)
    if model.source.get("kind") == packaged.KIND:
        return packaged.fetch(store, model, variant, progress)
    artifact = manifest.artifact_id(f"{model_id}/{variant}")
    pin = _published_pin(model) if variant == PUBLISHED else _pin(_checkpoint(model, variant))
    with store.making(artifact, progress):
        if (held := _held(store, artifact, pin)) is not None:
            return held
        progress(Event(artifact, "listing", f"{pin.repo}@{pin.revision[:12]}"))
        job = _job(store, model, variant, pin)
        store.hold("partial", job.folder.name)
        job.folder.mkdir(parents=True, exist_ok=True)
        missing = job.size - sum(path.stat().st_size for path in job.folder.rglob("*") if path.is_file())
        resources.require_disk(store.root, max(missing, 0) + _SPARE, f"fetching {model_id}")
        entries = _receive_all(job, progress)
        _sweep(job.folder, {entry.path for entry in entries})
        return store.adopt(job.folder, _describe(job, entries))


def _job(store: Store, model: Model, variant: str, pin: Pin) -> _Job:
    artifact, partial = f"{model.id}/{variant}", store.root / "partial"
    if variant != PUBLISHED:
        wanted = _wanted(pin, _checkpoint(model, variant))
        return _Job(artifact, model.licence, pin, wanted, partial / f"{model.id}-{pin.revision}")
    assert model.published is not None, "that was asked for its pin"  # noqa: S101
    path = model.published.path
    listed = tuple(HubFile(f"{path}/{name}", one.size, one.sha256, "") for name, one in model.published.files.items())
    # Small files first: they tell soon whether the hub has this revision.
    ordered = tuple(sorted(listed, key=lambda one: one.size))
    return _Job(artifact, model.licence, pin, ordered, partial / f"{model.id}-onnx-{pin.revision}", path)


def _model(catalog: Catalog, model_id: str) -> Model:
    model = catalog.models.get(model_id)
    if model is None:
        known = ", ".join(sorted(catalog.models))
        raise ArtifactError(f"{model_id!r} is not in the catalog. Models to fetch: {known}.")
    return model


def _checkpoint(model: Model, variant: str) -> Model:
    """The model with the source of `variant` as its own."""
    if variant == VARIANT:
        return model
    if variant not in model.checkpoints:
        held = ", ".join((VARIANT, *sorted(model.checkpoints), *([PUBLISHED] if model.published else [])))
        raise ArtifactError(f"{model.id}/{variant} is not in the catalog; to fetch of {model.id}: {held}")
    return replace(model, source=model.checkpoints[variant])


def _pin(model: Model) -> Pin:
    repo, revision = model.source.get("repo"), model.source.get("revision")
    if not isinstance(repo, str) or not isinstance(revision, str) or not _REVISION.fullmatch(revision):
        raise ArtifactError(
            f"the catalog pins {model.id} to {repo}@{revision}; needed is a commit of 40 hex digits, "
            "for a branch or tag can be moved to other content"
        )
    return Pin(repo, revision)


def _published_pin(model: Model) -> Pin:
    if model.published is None:
        raise ArtifactError(f"the catalog has no published ONNX export of {model.id}; fetch {model.id}/{VARIANT}")
    return Pin(model.published.repo, model.published.revision)


def _held(store: Store, artifact: str, pin: Pin) -> str | None:
    """Digest of the artifact when the store has it whole and from this revision."""
    if artifact not in store.digests() or store.damage(artifact):
        return None
    found = store.manifest(artifact)
    return found.digest if found.source.get("revision") == pin.revision else None


def _wanted(pin: Pin, model: Model) -> tuple[HubFile, ...]:
    """The files to fetch, config.json first: it can refuse the rest before gigabytes are moved."""
    allow = tuple(str(pattern) for pattern in model.source.get("allow", ()))
    listed = hub.listing(pin)
    chosen = [file for file in listed if _allowed(file.path, allow)]
    names = {manifest.relative(file.path) for file in chosen}
    lacking = [name for name in REQUIRED if name not in names]
    if lacking or not any(name.endswith(".safetensors") for name in names):
        held = ", ".join(ascii(file.path) for file in listed[:20]) or "nothing"
        raise ArtifactError(
            f"{pin.repo}@{pin.revision[:12]} lacks {', '.join(lacking) or '*.safetensors'}; it has {held}. "
            "A checkpoint in safetensors is needed; check the catalog and HF_ENDPOINT."
        )
    return tuple(sorted(chosen, key=lambda file: (file.path != "config.json", file.path)))


def _allowed(path: str, allow: tuple[str, ...]) -> bool:
    name = PurePosixPath(path).name
    if any(fnmatch.fnmatchcase(name.lower(), pattern) for pattern in NEVER) or name == manifest.NAME:
        return False
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in allow)


def _receive_all(job: _Job, progress: Progress) -> tuple[FileEntry, ...]:
    entries: list[FileEntry] = []
    for file in job.files:
        done = sum(entry.size for entry in entries)
        entries.append(_receive(job, file, done, progress))
        if file.path == "config.json":
            _require_architecture(job.folder / file.path)
    return tuple(entries)


def _receive(job: _Job, file: HubFile, done: int, progress: Progress) -> FileEntry:
    """Have `file` complete and checked in the job's folder."""
    target = job.folder / job.local(file)
    part = target.with_name(target.name + ".part")

    def seen(held: int) -> None:
        progress(Event(job.artifact, "fetching", job.local(file), done + held, job.size))

    if target.is_file() and target.stat().st_size == file.size:
        seen(file.size)
    else:
        files.erase(target)
        hub.download(job.pin, file, part, seen)
        part.replace(target)
    return _checked(job, file, target)


def _checked(job: _Job, file: HubFile, path: Path) -> FileEntry:
    found = FileEntry(job.local(file), path.stat().st_size, manifest.sha256_of(path))
    needed, actual = (file.sha256, found.sha256) if file.sha256 else (file.blob, _blob(path) if file.blob else "")
    if needed == actual and found.size == file.size:
        return found
    path.unlink()  # else the next attempt would take it for done
    raise ArtifactError(
        f"{file.path} of {job.pin.repo}: found {actual[:12]}… ({found.size} bytes), needed {needed[:12]}… ({file.size} "
        "bytes). It was thrown away; run the same command again, and check the proxy or mirror if this repeats."
    )


def _blob(path: Path) -> str:
    """git's name of the file's content."""
    content = path.read_bytes()
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest()


def _require_architecture(path: Path) -> None:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        found = list(config["architectures"])
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"config.json names no architecture ({error}), needed {ARCHITECTURE}") from error
    if found != [ARCHITECTURE]:
        raise ArtifactError(f"config.json says {', '.join(map(str, found))}, needed {ARCHITECTURE}")


def _sweep(folder: Path, keep: set[str]) -> None:
    """Remove what an earlier, killed fetch left beside the files that belong to the revision."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_file() and path.relative_to(folder).as_posix() not in keep:
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _describe(job: _Job, entries: tuple[FileEntry, ...]) -> Manifest:
    from importlib.metadata import version

    path = {"path": job.path} if job.path else {}
    return Manifest(
        artifact=job.artifact,
        files=entries,
        licence=job.licence,
        source={"kind": "huggingface", "repo": job.pin.repo, "revision": job.pin.revision, **path},
        created_by={"huggingface_hub": version("huggingface_hub")},
    )
