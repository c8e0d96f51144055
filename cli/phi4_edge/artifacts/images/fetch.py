"""Fetches a container image from a registry or mirror, every byte checked."""

from __future__ import annotations

from pathlib import Path

from phi4_edge.artifacts.images import oci
from phi4_edge.artifacts.images.held import Held, Wanted, entry, keep, whole
from phi4_edge.artifacts.images.registry import DOCKER_LIST, OCI_INDEX, Document, NotThereError, Registry
from phi4_edge.artifacts.store import files, manifest, resources
from phi4_edge.artifacts.store.images import Images
from phi4_edge.core import image_reference
from phi4_edge.errors import ArtifactError
from phi4_edge.progress import Event, Progress

_SPARE = 100_000_000  # bytes left free beside the image


def fetched(images: Images, wanted: Wanted, mirror: str, progress: Progress) -> Held:
    """Have the image in the store: as it is there, or from its registry or a mirror."""
    if wanted.digest:
        images.hold(wanted.digest)
    if (held := whole(images, wanted, progress)) is not None:
        return held
    with Registry(image_reference.endpoint(wanted.reference, mirror)) as registry:
        return _fetch(registry, images, wanted, progress)


def pinned(images: Images, wanted: Wanted, mirror: str, progress: Progress) -> Held:
    """Know the digest of an image that hosts pull themselves; asks the registry once and fetches no layer."""
    known = images.index().get(wanted.key)
    if known and known["digest"] == wanted.digest:
        folder = images.path(wanted.digest)
        return Held(wanted.key, wanted.digest, known["id"], folder if folder.is_dir() else None, known["size"], False)
    progress(Event(wanted.key, "resolving"))
    with Registry(image_reference.endpoint(wanted.reference, mirror)) as registry:
        image = _resolve(registry, wanted)
    images.pin(wanted.key, entry(wanted, image, ""), replace=wanted.trusted)
    return Held(wanted.key, image.document.digest, image.config.digest, None, image.size, True)


def _fetch(registry: Registry, images: Images, wanted: Wanted, progress: Progress) -> Held:
    progress(Event(wanted.key, "resolving", registry.endpoint.name))
    image = _resolve(registry, wanted)
    name = image.document.digest.removeprefix("sha256:")
    folder = images.store.root / "partial" / f"image-{name}"
    images.hold(name)
    images.store.hold("partial", folder.name)
    folder.mkdir(parents=True, exist_ok=True)
    here = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    resources.require_disk(images.store.root, max(image.size - here, 0) + _SPARE, f"fetching {wanted.key}")
    _receive(registry, images, wanted, image, folder, progress)
    _sweep(folder, {blob.path for blob in image.blobs})
    return keep(images, wanted, image, folder, {"kind": "registry"}, wanted.trusted)


def _resolve(registry: Registry, wanted: Wanted) -> oci.OciImage:
    """The manifest for the wanted architecture, by the digest that is known, else by the tag."""
    where = f"{registry.endpoint.name}:{wanted.tag}"
    try:
        document = registry.manifest(wanted.digest or wanted.tag)
    except NotThereError as error:
        if not wanted.digest or wanted.trusted:
            raise
        raise ArtifactError(
            f"{error}. To this digest the tag was pinned when it was first resolved: another mirror, or one that was "
            f"wrong then, may not have it. 'phi4-edge model remove {wanted.key}' forgets the pin"
        ) from error
    if document.media_type in (DOCKER_LIST, OCI_INDEX):
        chosen = _choose(document, wanted.architecture, where)
        if wanted.digest:
            raise ArtifactError(
                f"{wanted.digest} is a list of several architectures, needed the digest of the manifest for "
                f"{wanted.architecture}, which is {chosen}: correct the catalog"
            )
        document = registry.manifest(chosen)
    return oci.read_manifest(document, where)


def _choose(index: Document, architecture: str, where: str) -> str:
    listed = index.data.get("manifests")
    platforms = []
    for line in listed if isinstance(listed, list) else []:
        of = line.get("platform") if isinstance(line, dict) else None
        if not isinstance(of, dict):
            continue
        here = (of.get("os"), of.get("architecture"))
        # Every arm64 board runs v8; later variants are builds for newer ones.
        if here == ("linux", architecture) and of.get("variant") in (None, "", "v8"):
            return str(line.get("digest"))
        platforms.append("/".join(str(part) for part in here))
    held = ", ".join(sorted(set(platforms) - {"unknown/unknown"})) or "none"
    raise ArtifactError(f"{where} has no image for linux/{architecture}; it has {held[:300]}")


def _receive(
    registry: Registry, images: Images, wanted: Wanted, image: oci.OciImage, folder: Path, progress: Progress
) -> None:
    """Have every blob in the layout at `folder`, checked; what an earlier attempt or another image has is used."""
    done, total = 0, image.size
    for number, blob in enumerate(image.blobs):
        target = folder / blob.path
        detail = f"layer {number} of {len(image.blobs) - 1}" if number else "configuration"
        base = done

        def seen(held: int, detail: str = detail, base: int = base) -> None:
            progress(Event(wanted.key, "fetching", detail, base + held, total))

        whole_here = target.is_file() and f"sha256:{manifest.sha256_of(target)}" == blob.digest
        if not whole_here and not images.borrow(blob.digest, blob.size, target):
            part = target.with_name(target.name + ".part")
            registry.blob(blob.digest, blob.size, part, seen)
            part.replace(target)
        done += blob.size
        seen(blob.size)


def _sweep(folder: Path, keep_paths: set[str]) -> None:
    """Remove what an earlier attempt left beside the blobs of this image."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.relative_to(folder).as_posix() not in keep_paths:
            files.erase(path)
