"""The model directory: blobs and manifests, laid out and touched as Ollama does it (manifest/, server/images.go)."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from . import names, settings

MEDIA = "application/vnd.ollama.image."
CONFIG = "application/vnd.docker.container.image.v1+json"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
# A blob that is younger is not pruned.
GRACE_SECONDS = 3600.0
Layer = dict[str, Any]
Layers = list[Layer]


def blob(digest: str) -> Path:
    """Path of a blob; its folder is made where it is missing. Raises ValueError for what is no digest."""
    name = names.digest(digest)
    folder().mkdir(mode=0o755, parents=True, exist_ok=True)
    return folder() / name


def folder() -> Path:
    return settings.models() / "blobs"


def manifests() -> Path:
    path = settings.models() / "manifests"
    path.mkdir(mode=0o755, parents=True, exist_ok=True)
    return path


def touch(path: Path) -> None:
    """Ollama sets the times of every blob that it uses for a new model, which only its owner may."""
    now = time.time()
    os.utime(path, (now, now))


def add(source: Iterable[bytes], media: str) -> Layer:
    """A new layer from data; the blob that is there already is kept, what was written is thrown away."""
    blob("sha256:" + "0" * 64)
    handle, name = tempfile.mkstemp(prefix="sha256-", dir=folder())
    total, size = hashlib.sha256(), 0
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            for block in source:
                total.update(block)
                size += stream.write(block)
        digest = "sha256:" + total.hexdigest()
        status = f"using existing layer {digest}"
        if not blob(digest).exists():
            status = f"creating new layer {digest}"
            temporary.rename(blob(digest))
            blob(digest).chmod(0o644)
        touch(blob(digest))
        return {"mediaType": media, "digest": digest, "size": size, "status": status}
    finally:
        if temporary.exists():
            temporary.unlink()


def blocks(stream: Any, size: int = -1) -> Iterable[bytes]:
    """The rest of a stream, or its next `size` bytes."""
    while size:
        block = stream.read(1 << 20 if size < 0 else min(1 << 20, size))
        if not block:
            return
        size -= len(block) if size > 0 else 0
        yield block


def existing(digest: str, media: str, origin: str) -> Layer:
    """A layer of a blob that is there. Raises OSError where it is not, or is not ours to touch."""
    path = blob(digest)
    size = path.stat().st_size
    touch(path)
    return {
        "mediaType": media, "digest": digest, "size": size, "from": origin,
        "status": f"using existing layer {digest}",
    }  # fmt: skip


def write_manifest(name: names.Name, config: Layer, layers: Layers) -> None:
    """The model's manifest, as Ollama's JSON encoder writes it."""
    path = manifests().joinpath(*name)
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    shown = [{key: value for key, value in layer.items() if key != "status"} for layer in layers]
    head = {key: value for key, value in config.items() if key != "status"}
    body = {"schemaVersion": 2, "mediaType": MANIFEST, "config": head, "layers": shown}
    path.write_text(json.dumps(body, separators=(",", ":")) + "\n")


def read_manifest(name: names.Name) -> dict[str, Any] | None:
    """The manifest with `digest` and `modified`; None where there is no such model. Names are found in any case."""
    for found in listed():
        if [part.lower() for part in found] == [part.lower() for part in name]:
            path = manifests().joinpath(*found)
            raw = path.read_bytes()
            return {
                **json.loads(raw), "name": found, "digest": hashlib.sha256(raw).hexdigest(),
                "modified": path.stat().st_mtime,
            }  # fmt: skip
    return None


def listed() -> list[names.Name]:
    """Names of all models."""
    paths = sorted(path for path in manifests().glob("*/*/*/*") if path.is_file())
    found = [names.Name(*path.relative_to(manifests()).parts) for path in paths]
    return [name for name in found if name.valid()]


def in_use() -> set[str]:
    """Digests that some manifest names."""
    found = [manifest for name in listed() if (manifest := read_manifest(name))]
    return {layer["digest"] for one in found for layer in [*one["layers"], one["config"]]}


def remove(name: names.Name) -> None:
    """The model is gone, and every blob that only it used."""
    manifest = read_manifest(name)
    if manifest is None:
        raise FileNotFoundError(name.full())
    path = manifests().joinpath(*manifest["name"])
    path.unlink()
    for parent in list(path.parents)[:3]:
        if not any(parent.iterdir()):
            parent.rmdir()
    for digest in {layer["digest"] for layer in [*manifest["layers"], manifest["config"]]} - in_use():
        blob(digest).unlink()


def prune() -> None:
    """What happens at the start unless OLLAMA_NOPRUNE is set: old blobs that nobody uses are removed."""
    used = {names.digest(digest) for digest in in_use()}
    for path in folder().iterdir() if folder().is_dir() else ():
        if path.name not in used and path.is_file() and time.time() - path.stat().st_mtime > GRACE_SECONDS:
            try:
                path.unlink()
            except OSError as error:
                settings.log(f'level=INFO msg="couldn\'t remove file {path}: {error}"')
