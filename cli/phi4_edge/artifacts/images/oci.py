"""Container images as files: layers with equal bytes for equal content, configurations, and the layout in a folder.

One folder is an OCI layout and, with `docker-manifest.json` under its right name, the archive that `docker load` takes
in every release: before 25 Docker reads that file, later ones and containerd's image store read the layout.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from phi4_edge.artifacts.images import registry
from phi4_edge.artifacts.store import files
from phi4_edge.core import image_walk
from phi4_edge.core.image_walk import Blob
from phi4_edge.errors import ArtifactError

encode = image_walk.encode
BLOBS, DOCKER_NAME = image_walk.BLOBS, image_walk.DOCKER_NAME
CONFIG_TYPES = {
    registry.DOCKER_MANIFEST: "application/vnd.docker.container.image.v1+json",
    registry.OCI_MANIFEST: "application/vnd.oci.image.config.v1+json",
}
GZIP_TYPES = {
    registry.DOCKER_MANIFEST: "application/vnd.docker.image.rootfs.diff.tar.gzip",
    registry.OCI_MANIFEST: "application/vnd.oci.image.layer.v1.tar+gzip",
}
# Fixed, so that the same content is the same layer. 1980 is the oldest date that every archive format knows.
_MTIME = 315532800


@dataclass(frozen=True)
class OciImage:
    """What a manifest lists."""

    document: registry.Document
    config: Blob
    layers: tuple[Blob, ...]

    @property
    def size(self) -> int:
        """Bytes of everything that is fetched: configuration and layers."""
        return self.config.size + sum(layer.size for layer in self.layers)

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """Configuration and layers, each once: equal layers are one blob."""
        return tuple({blob.digest: blob for blob in (self.config, *self.layers)}.values())


@dataclass(frozen=True)
class Item:
    """One member of a layer: a file (`read` opens it), or a symbolic link to `target`."""

    path: str
    read: Callable[[], IO[bytes]] | None = None
    size: int = 0
    executable: bool = False
    target: str = ""


def read_manifest(document: registry.Document, where: str) -> OciImage:
    """What the manifest lists. Raises ArtifactError for what cannot be delivered as it is."""
    if document.media_type not in CONFIG_TYPES:
        raise ArtifactError(f"{where}: found a manifest of type {document.media_type[:80]!r}: is it an image?")
    _kind, config, layers = image_walk.parse_manifest(document.raw, where)
    return OciImage(document, config, layers)


def write_layer(items: Iterable[Item], folder: Path, media_type: str) -> tuple[Blob, str]:
    """Write one layer into the layout at `folder`; return its blob and its diff id.

    Sorted, owned by root, with fixed times and modes, compressed without a timestamp: the same items give the same
    bytes wherever Python's zlib is the same. Parent folders are made, 0755.
    """
    fresh = folder / "layer.new"
    with fresh.open("wb") as raw:
        packed = _Hashing(raw)
        with gzip.GzipFile(filename="", fileobj=packed, mode="wb", compresslevel=6, mtime=0) as squeezed:
            plain = _Hashing(squeezed)
            with tarfile.open(fileobj=plain, mode="w|", format=tarfile.PAX_FORMAT) as archive:
                _fill(archive, items)
    blob = Blob(media_type, packed.digest, packed.size)
    place = folder / blob.path
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh.replace(place)
    return blob, plain.digest


def write_blob(folder: Path, media_type: str, raw: bytes) -> Blob:
    """Write `raw` as a blob of the layout at `folder`."""
    blob = Blob(media_type, "sha256:" + hashlib.sha256(raw).hexdigest(), len(raw))
    place = folder / blob.path
    place.parent.mkdir(parents=True, exist_ok=True)
    files.write_fresh(place, raw)
    return blob


def write_manifest(folder: Path, kind: str, config: Blob, layers: Sequence[Blob]) -> OciImage:
    """Write the manifest of an image of our own, of the type `kind`, as a blob of the layout at `folder`."""
    document = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": config.to_dict(),
        "layers": [layer.to_dict() for layer in layers],
    }
    raw = encode(document)
    blob = write_blob(folder, kind, raw)
    return OciImage(registry.Document(blob.digest, kind, raw), config, tuple(layers))


def write_layout(folder: Path, image: OciImage, name: str) -> None:
    """Complete the layout at `folder`, whose blobs are there; `name` is what Docker on a host shall call the image."""
    write_blob(folder, image.document.media_type, image.document.raw)
    walked = image_walk.walk(image.document.digest, reader(folder), f"the image {image.document.digest[:19]}…")
    for path, raw in image_walk.derived(walked, name).items():
        files.write_fresh(folder / path, raw)


def reader(folder: Path) -> image_walk.ReadBlob:
    """Reads blobs of the layout at `folder`."""
    return lambda digest, limit: files.read_plain(folder / image_walk.blob_path(digest), limit)


def _fill(archive: tarfile.TarFile, items: Iterable[Item]) -> None:
    members = {item.path: item for item in items}
    folders = {parent.as_posix() for path in members for parent in PurePosixPath(path).parents if parent.name}
    for path in sorted({*members, *folders}):
        info = tarfile.TarInfo(path)
        info.mtime, info.mode = _MTIME, 0o755
        item = members.get(path)
        if item is None:
            info.type = tarfile.DIRTYPE
            archive.addfile(info)
        elif item.read is None:
            info.type, info.linkname, info.mode = tarfile.SYMTYPE, item.target, 0o777
            archive.addfile(info)
        else:
            info.size, info.mode = item.size, 0o755 if item.executable else 0o644
            with item.read() as stream:
                archive.addfile(info, stream)


class _Hashing(io.RawIOBase):
    """Passes bytes on and knows their number and SHA-256."""

    def __init__(self, target: Any) -> None:
        self._target, self._hash, self.size = target, hashlib.sha256(), 0

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any, /) -> int:
        """All of `data` is written."""
        self._target.write(data)
        self._hash.update(data)
        self.size += len(data)
        return len(data)

    @property
    def digest(self) -> str:
        """Of what was written so far."""
        return "sha256:" + self._hash.hexdigest()
