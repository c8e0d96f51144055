"""A container image from its pin down: manifest, configuration, layers. Each name is the hash of what it names.

Whoever has the digest of a manifest from a trusted place needs nothing else: the manifest is what hashes to it, and
names configuration and layers by their hashes. What a folder says besides (index.json, Docker's own manifest.json) is
made anew from this walk and never believed. Pure: callers read the files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from phi4_edge.core import manifest, strict_json
from phi4_edge.core.image_reference import DIGEST
from phi4_edge.core.text import LARGEST
from phi4_edge.errors import ArtifactError

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
KINDS = (DOCKER_MANIFEST, OCI_MANIFEST)
BLOBS = "blobs/sha256"
DOCKER_NAME = "docker-manifest.json"
# Real images stay far below; Docker itself takes no more layers.
MAX_LAYERS = 127
# The specification's floor of what a registry must take is 4 MiB; no real manifest comes near it.
MAX_MANIFEST = 4 << 20
MAX_CONFIG = 8 << 20
# Values in one of these documents: a history of 1000 steps and annotations are far fewer.
MAX_PARTS = 100_000

# The blob called by a digest, at most so many bytes of it; None where there is none.
ReadBlob = Callable[[str, int], "bytes | None"]


@dataclass(frozen=True, slots=True)
class Blob:
    """One descriptor: media type, digest, size in bytes."""

    media_type: str
    digest: str
    size: int

    @property
    def path(self) -> str:
        """Where it lies in the layout."""
        return blob_path(self.digest)

    def to_dict(self) -> dict[str, Any]:
        """The descriptor as manifests hold it."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


@dataclass(frozen=True, slots=True)
class Walked:
    """An image as its manifest and configuration describe it; both are what their digests say."""

    manifest: Blob
    config: Blob
    layers: tuple[Blob, ...]
    diff_ids: tuple[str, ...]
    architecture: str

    @property
    def size(self) -> int:
        """Bytes of configuration and layers."""
        return self.config.size + sum(layer.size for layer in self.layers)

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """Everything below blobs/, each once: equal layers are one blob."""
        return tuple({blob.digest: blob for blob in (self.manifest, self.config, *self.layers)}.values())


def blob_path(digest: str) -> str:
    """Where the blob `digest` lies in a layout."""
    return f"{BLOBS}/{digest.removeprefix('sha256:')}"


def walk(digest: str, read: ReadBlob, where: str) -> Walked:
    """The image whose manifest is `digest`. Raises ArtifactError, naming `where`, for what is not what its name says.

    Layers are named and not read: who has them checks each against its digest and size.
    """
    raw = _named(digest, read, MAX_MANIFEST, where, "manifest")
    kind, config, layers = parse_manifest(raw, where)
    text = _named(config.digest, read, config.size, where, "configuration")
    if len(text) != config.size:
        raise ArtifactError(f"{where}: its configuration has {len(text)} bytes, its manifest says {config.size}")
    architecture, diff_ids = parse_config(text, layers, where)
    return Walked(Blob(kind, digest, len(raw)), config, layers, diff_ids, architecture)


def parse_manifest(raw: bytes, where: str) -> tuple[str, Blob, tuple[Blob, ...]]:
    """Media type, configuration and layers. Raises ArtifactError for what cannot be delivered as it is."""
    data = _document(raw, where, "manifest")
    kind, layers = data.get("mediaType", OCI_MANIFEST), data.get("layers")  # OCI allows to leave the type out
    if kind not in KINDS or not isinstance(layers, list) or not 0 < len(layers) <= MAX_LAYERS:
        raise ArtifactError(f"{where}: found no image with 1 to {MAX_LAYERS} layers in its manifest: is it an image?")
    config = _blob(data.get("config"), where)
    if config.size > MAX_CONFIG:
        raise ArtifactError(f"{where}: its configuration has {config.size} bytes, at most {MAX_CONFIG} are accepted")
    return str(kind), config, tuple(_blob(layer, where) for layer in layers)


def parse_config(raw: bytes, layers: tuple[Blob, ...], where: str) -> tuple[str, tuple[str, ...]]:
    """Architecture and diff ids. Raises ArtifactError unless it is of Linux, with the right diff id for each layer.

    A layer that is not compressed is its own diff id; of the others Docker compares it while it unpacks them.
    """
    data = _document(raw, where, "configuration")
    rootfs = data.get("rootfs")
    listed = rootfs.get("diff_ids") if isinstance(rootfs, Mapping) else None
    system, machine = data.get("os"), data.get("architecture")
    if system != "linux" or not isinstance(machine, str):
        raise ArtifactError(f"{where}: found an image for {str(system)[:40]}/{str(machine)[:40]}, needed one for linux")
    right = isinstance(listed, list) and all(isinstance(one, str) and DIGEST.fullmatch(one) for one in listed)
    if not right or not isinstance(listed, list) or len(listed) != len(layers):
        raise ArtifactError(f"{where}: its configuration does not name its {len(layers)} layers")
    for layer, diff_id in zip(layers, listed, strict=True):
        if layer.media_type.endswith(".tar") and layer.digest != diff_id:
            raise ArtifactError(f"{where}: its configuration names another content of the layer {layer.digest[:19]}…")
    return machine, tuple(listed)


def derived(image: Walked, name: str) -> dict[str, bytes]:
    """The files that make a layout of the blobs, by name; Docker on a host shall call the image `name`."""
    annotations = {
        "io.containerd.image.name": f"docker.io/{name}",
        "org.opencontainers.image.ref.name": name.rpartition(":")[2],
    }
    index = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [{**image.manifest.to_dict(), "annotations": annotations}],
    }
    archive = [{"Config": image.config.path, "RepoTags": [name], "Layers": [layer.path for layer in image.layers]}]
    return {
        "oci-layout": encode({"imageLayoutVersion": "1.0.0"}),
        "index.json": encode(index),
        DOCKER_NAME: encode(archive),
    }


def files(image: Walked, name: str) -> tuple[manifest.File, ...]:
    """Every file of the layout with its size and SHA-256, as the walk gives them."""
    blobs = [manifest.File(blob.path, blob.size, blob.digest.removeprefix("sha256:")) for blob in image.blobs]
    made = [
        manifest.File(path, len(raw), hashlib.sha256(raw).hexdigest()) for path, raw in derived(image, name).items()
    ]
    return tuple(sorted([*blobs, *made], key=lambda file: file.path))


def encode(document: Any) -> bytes:
    """JSON with one spelling for one content."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _named(digest: str, read: ReadBlob, limit: int, where: str, what: str) -> bytes:
    """The blob `digest`. Raises ArtifactError when it is missing, larger than `limit`, or hashes to something else."""
    raw = read(digest, limit + 1)
    place = f"{where}/{blob_path(digest)}"
    if raw is None:
        raise ArtifactError(f"{place}: missing, needed the image's {what}")
    if len(raw) > limit:
        raise ArtifactError(f"{place}: more than {limit} bytes, which is too much for the image's {what}")
    if (found := _sha256(raw)) != digest.removeprefix("sha256:"):
        raise ArtifactError(f"{place}: found sha256 {found[:12]}… in it: a blob is named by its hash")
    return raw


def _sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def _document(raw: bytes, where: str, what: str) -> dict[str, Any]:
    try:
        data = strict_json.loads(raw, MAX_PARTS)
    except ValueError as error:
        raise ArtifactError(f"{where}: its {what} cannot be used ({error})") from None
    if not isinstance(data, dict):
        raise ArtifactError(f"{where}: its {what} is not a JSON object")
    return data


def _blob(data: object, where: str) -> Blob:
    fields = data if isinstance(data, Mapping) else {}
    kind, digest, size = fields.get("mediaType"), fields.get("digest"), fields.get("size")
    if not isinstance(kind, str) or not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise ArtifactError(f"{where}: its manifest holds a part without media type and sha256 digest")
    if type(size) is not int or not 0 <= size <= LARGEST:
        raise ArtifactError(f"{where}: its manifest holds a part of {size!r} bytes")
    if fields.get("urls") or "foreign" in kind or "nondistributable" in kind:
        raise ArtifactError(f"{where}: a layer lies outside the registry, at an address of its maker: refused")
    return Blob(kind, digest, size)
