"""What a host must be told about a container image, and whether it has room for it. Callers read the files.

An image on the host is judged by what the controller knows of it: the digests of its manifest and of its configuration,
and the digests of its unpacked layers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from phi4_edge.core import reference
from phi4_edge.errors import ArtifactError

# Text of a file on the controller, None where there is none; size of one, and its last four bytes.
ReadText = Callable[[str], "str | None"]
ReadTail = Callable[[str], "tuple[int, bytes]"]
# Docker's own unpacking takes zstd since this release.
ZSTD_SINCE = 23


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: its path in the folder, bytes as they are sent and (at least) unpacked, and how it is packed."""

    path: str
    size: int
    unpacked: int
    media_type: str


@dataclass(frozen=True, slots=True)
class Image:
    """One image. `pull` is what the host's Docker fetches, empty where it is pushed from `folder` on the controller.

    `name` is ours on the host; `id` (digest of the configuration) and `layers` are empty where the controller knows the
    image by its manifest's digest alone.
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
    store: str, planned: Mapping[str, Any], delivery: str, mirror: str, text: ReadText, tail: ReadTail
) -> dict[str, Image]:
    """The images of a plan, by what they are for, as the controller's store at `store` knows them.

    Raises ArtifactError when an image is not in the store, or its digest is not known at all.
    """
    raw = text(f"{store}/images.json")
    index = json.loads(raw)["images"] if raw else {}
    return {
        role: _read(store, image, index.get(image["key"], {}), delivery, mirror, text, tail)
        for role, image in planned.items()
        if image
    }


def _read(
    store: str,
    planned: Mapping[str, Any],
    known: Mapping[str, Any],
    delivery: str,
    mirror: str,
    text: ReadText,
    tail: ReadTail,
) -> Image:
    key, digest = str(planned["key"]), str(planned.get("digest") or known.get("digest") or "")
    pushed = delivery != "registry" or str(planned["repository"]).startswith(reference.OURS)
    if not digest:
        raise ArtifactError(
            f"found no digest of the image {key} in the catalog or on the controller, needed one; no host was changed. "
            "Run: phi4-edge provision, which resolves it once and fetches it"
        )
    folder = f"{store}/images/{digest.removeprefix('sha256:')}"
    manifest = text(_blob(folder, digest))
    if manifest is None and pushed:
        raise ArtifactError(
            f"found no image {key} ({digest[:19]}…) on the controller, needed it in {folder}; no host was changed. "
            "Run: phi4-edge provision, which fetches or builds what is missing"
        )
    config, diff_ids, layers = _parts(folder, manifest, text, tail) if manifest else ("", (), ())
    same = known.get("digest") == digest
    asked = reference.parse(f"{planned['repository']}:{planned['tag']}@{digest}")
    return Image(
        key=key,
        digest=digest,
        id=config or (str(known.get("id", "")) if same else ""),
        architecture=reference.platform(str(planned["architecture"])),
        name=reference.local_name(asked.repository, asked.tag, digest),
        pull="" if pushed else f"{reference.endpoint(asked, mirror).name}@{digest}",
        folder=folder,
        diff_ids=diff_ids,
        layers=layers,
    )


def check_version(image: Image, docker: str) -> None:
    """Raises ArtifactError when the host's Docker is too old for how the image is packed."""
    major = docker.partition(".")[0]
    if any("zstd" in layer.media_type for layer in image.layers) and major.isdigit() and int(major) < ZSTD_SINCE:
        raise ArtifactError(
            f"{image.key} is packed with zstd: found Docker {docker} on the host, needed {ZSTD_SINCE} or newer; "
            "upgrade it, or push the image into a mirror with gzip layers"
        )


def check_room(image: Image, skip: frozenset[str], there: Mapping[str, Any], reserve: int) -> None:
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
    return f"{folder}/blobs/sha256/{digest.removeprefix('sha256:')}"


def _parts(
    folder: str, manifest: str, text: ReadText, tail: ReadTail
) -> tuple[str, tuple[str, ...], tuple[Layer, ...]]:
    """Digest of the configuration, digests of the unpacked layers, and the layers."""
    document = json.loads(manifest)
    config = str(document["config"]["digest"])
    raw = text(_blob(folder, config))
    if raw is None:
        raise ArtifactError(f"found no {_blob(folder, config)} on the controller: run phi4-edge provision again")
    layers = []
    for layer in document["layers"]:
        size, end = tail(_blob(folder, layer["digest"]))
        kind = str(layer["mediaType"])
        path = f"blobs/sha256/{str(layer['digest']).removeprefix('sha256:')}"
        layers.append(Layer(path, size, _unpacked(kind, size, end), kind))
    return config, tuple(json.loads(raw)["rootfs"]["diff_ids"]), tuple(layers)


def _unpacked(kind: str, size: int, end: bytes) -> int:
    """Bytes that a layer has unpacked, at least: gzip keeps them modulo 4 GiB in its last four bytes."""
    if "gzip" not in kind or len(end) < 4:
        return size
    low = int.from_bytes(end, "little")
    return low if low >= size else low + (1 << 32) * ((size - low + (1 << 32) - 1) >> 32)
