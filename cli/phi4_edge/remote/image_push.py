"""What a host must be told about a container image, and whether it has room for it. Callers read the files.

An image on the host is judged by what the controller knows of it: the digests of its manifest and of its configuration,
and the digests of its unpacked layers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from phi4_edge.core import image_reference, image_walk, manifest
from phi4_edge.core.image_walk import Blob, Walked
from phi4_edge.errors import ArtifactError

# At most so many bytes of a file on the controller, None where there is none; size of one, and its last four bytes.
ReadBytes = Callable[[str, int], "bytes | None"]
ReadTail = Callable[[str], "tuple[int, bytes]"]
# Docker's own unpacking takes zstd since this release.
ZSTD_SINCE = 23
_INDEX_LIMIT = 16 << 20  # of images.json: 400 bytes for each image that was ever resolved


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: its path in the folder, bytes as they are sent and (at least) unpacked, and how it is packed."""

    path: str
    size: int
    unpacked: int
    media_type: str


@dataclass(frozen=True, slots=True)
class ImageToPush:
    """One image. `pull` is what the host's Docker fetches, empty where it is pushed from `folder` on the controller.

    `name` is ours on the host; `id` (digest of the configuration) and `layers` are empty where the controller knows the
    image by its manifest's digest alone. `content` is the digest (`manifest.digest`) of the files that are sent, as
    the walk from the image's own digest gives it.
    """

    key: str
    digest: str
    id: str
    architecture: str
    name: str
    pull: str
    folder: str
    diff_ids: tuple[str, ...]
    layers: tuple[Layer, ...]
    content: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The image as the host is told of it."""
        return {
            "key": self.key, "digest": self.digest, "id": self.id, "architecture": self.architecture,
            "name": self.name, "pull": self.pull, "layers": list(self.diff_ids),
        }  # fmt: skip

    def lowest(self, count: int) -> frozenset[str]:
        """Paths of the `count` lowest layers, without those that a higher layer needs too."""
        above = {layer.path for layer in self.layers[count:]}
        return frozenset(layer.path for layer in self.layers[:count]) - above

    def size(self, skip: frozenset[str] = frozenset()) -> int:
        """Bytes of the layers that are sent."""
        return sum(layer.size for layer in self._sent(skip))

    def unpacked(self, skip: frozenset[str] = frozenset()) -> int:
        """Bytes, at least, that Docker writes for those layers."""
        return sum(layer.unpacked for layer in self._sent(skip))

    def _sent(self, skip: frozenset[str]) -> tuple[Layer, ...]:
        return tuple({layer.path: layer for layer in self.layers if layer.path not in skip}.values())


def read(
    store: str, planned: Mapping[str, Any], delivery: str, mirror: str, text: ReadBytes, tail: ReadTail
) -> dict[str, ImageToPush]:
    """The images of a plan, by what they are for, as the controller's store at `store` knows them.

    Raises ArtifactError when an image is not in the store, is another than its digest says, or its digest is not known.
    """
    raw = text(f"{store}/images.json", _INDEX_LIMIT)
    index = json.loads(raw)["images"] if raw else {}
    return {role: _read(store, image, index, delivery, mirror, text, tail) for role, image in planned.items() if image}


def _read(
    store: str,
    planned: Mapping[str, Any],
    index: Mapping[str, Any],
    delivery: str,
    mirror: str,
    text: ReadBytes,
    tail: ReadTail,
) -> ImageToPush:
    known = index.get(planned["key"], {})
    key, digest = str(planned["key"]), str(planned.get("digest") or known.get("digest") or "")
    pushed = delivery != "registry" or str(planned["repository"]).startswith(image_reference.OURS)
    if not digest:
        raise ArtifactError(
            f"found no digest of the image {key} in the catalog or on the controller, needed one; no host was changed. "
            "Run: phi4-edge provision, which resolves it once and fetches it"
        )
    folder = f"{store}/images/{digest.removeprefix('sha256:')}"
    there = text(_blob(folder, digest), 1) is not None
    if not there and pushed:
        raise ArtifactError(
            f"found no image {key} ({digest[:19]}…) on the controller, needed it in {folder}; no host was changed. "
            "Run: phi4-edge provision, which fetches or builds what is missing"
        )
    walked = image_walk.walk(digest, lambda blob, limit: text(_blob(folder, blob), limit), folder) if there else None
    same = known.get("digest") == digest
    asked = image_reference.parse(f"{planned['repository']}:{planned['tag']}@{digest}")
    names = _names(asked, digest, index)
    return ImageToPush(
        key=key,
        digest=digest,
        id=walked.config.digest if walked else (str(known.get("id", "")) if same else ""),
        architecture=image_reference.platform(str(planned["architecture"])),
        name=names[0],
        pull="" if pushed else f"{image_reference.endpoint(asked, mirror).name}@{digest}",
        folder=folder,
        diff_ids=walked.diff_ids if walked else (),
        layers=tuple(_layer(folder, layer, tail) for layer in walked.layers) if walked else (),
        content=_content(walked, names, folder, text) if walked and pushed else "",
    )


def _names(asked: image_reference.Reference, digest: str, index: Mapping[str, Any]) -> list[str]:
    """What the image is called on a host: as asked for, and as the other tags that are this image would have it."""
    others = [str(line["reference"]).rpartition(":") for line in index.values() if line.get("digest") == digest]
    pairs = [(asked.repository, asked.tag), *((repository, tag) for repository, _, tag in others)]
    return [image_reference.local_name(repository, tag, digest) for repository, tag in pairs]


def _content(walked: Walked, names: Sequence[str], folder: str, text: ReadBytes) -> str:
    """Digest of the files of the layout, which lies under one of `names`: several tags may be one image."""
    raw = text(f"{folder}/manifest.json", image_walk.MAX_MANIFEST)
    try:
        said = json.loads(raw or b"")["digest"]
    except (ValueError, KeyError, TypeError, RecursionError):
        said = ""
    if said not in (manifest.digest(image_walk.files(walked, name)) for name in names):
        raise ArtifactError(
            f"{folder}/manifest.json on the controller lists other files than the image has whose digest it is named "
            "after; no host was changed. Run: phi4-edge provision, which fetches or builds it again"
        )
    return str(said)


def check_version(image: ImageToPush, docker: str) -> None:
    """Raises ArtifactError when the host's Docker is too old for how the image is packed."""
    major = docker.partition(".")[0]
    if any("zstd" in layer.media_type for layer in image.layers) and major.isdigit() and int(major) < ZSTD_SINCE:
        raise ArtifactError(
            f"{image.key} is packed with zstd: found Docker {docker} on the host, needed {ZSTD_SINCE} or newer; "
            "upgrade it, or push the image into a mirror with gzip layers"
        )


def check_room(image: ImageToPush, skip: frozenset[str], there: Mapping[str, Any], reserve: int) -> None:
    """Raises ArtifactError, before the first byte, when the host's disk cannot take the image.

    Docker keeps a copy of what it is given while it unpacks it, so a disk that also takes what arrives needs both.
    """
    sent, unpacked = image.size(skip), image.unpacked(skip)
    for_docker = sent + unpacked + reserve + (sent if there["same_disk"] else 0)
    for_staging = sent + reserve
    places = (
        (there["docker_root"], there["docker_free"], for_docker),
        ("the staging directory", there["staging_free"], 0 if there["same_disk"] else for_staging),
    )
    for place, free, need in places:
        if int(free) < need:
            raise ArtifactError(
                f"not enough disk for the image {image.key}: found {free} bytes free at {place}, needed {need} (to "
                f"keep {unpacked} of them; the rest is free again afterwards): free some space on the host"
            )


def _blob(folder: str, digest: str) -> str:
    return f"{folder}/{image_walk.blob_path(digest)}"


def _layer(folder: str, layer: Blob, tail: ReadTail) -> Layer:
    size, end = tail(f"{folder}/{layer.path}")
    if size != layer.size:
        raise ArtifactError(
            f"{folder}/{layer.path} is damaged on the controller: {size} bytes, needed {layer.size}; no host was "
            "changed. Run: phi4-edge provision, which fetches or builds it again"
        )
    return Layer(layer.path, size, _unpacked(layer.media_type, size, end), layer.media_type)


def _unpacked(kind: str, size: int, end: bytes) -> int:
    """Bytes that a layer has unpacked, at least: gzip keeps them modulo 4 GiB in its last four bytes."""
    if "gzip" not in kind or len(end) < 4:
        return size
    low = int.from_bytes(end, "little")
    return low if low >= size else low + (1 << 32) * ((size - low + (1 << 32) - 1) >> 32)
