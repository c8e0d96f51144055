"""Has the container image of a plan in the store: fetched from a registry or mirror, or built here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from phi4_edge.artifacts import files, manifest, oci, resources
from phi4_edge.artifacts.manifest import Manifest
from phi4_edge.artifacts.progress import Event, Progress, silent
from phi4_edge.artifacts.registry import DOCKER_LIST, OCI_INDEX, Document, NotThereError, Registry
from phi4_edge.artifacts.store import Store
from phi4_edge.artifacts.store_images import Images
from phi4_edge.core import catalog as core_catalog
from phi4_edge.core import reference
from phi4_edge.core.catalog import Catalog
from phi4_edge.core.reference import OURS
from phi4_edge.errors import ArtifactError

_SPARE = 100_000_000  # bytes left free beside the image


class Content(Protocol):
    """Where the roles are and what engines are made of; `phi4_edge.content` is one."""

    def roles(self) -> Path:
        """Directory of the roles."""

    def runtimes(self) -> dict[str, str]:
        """Digest of what each engine's release is made of."""


@dataclass(frozen=True)
class Held:
    """One image. `folder` is None where it was resolved but not fetched; `made`: it was fetched or built just now."""

    key: str
    digest: str
    id: str
    folder: Path | None
    size: int
    made: bool


@dataclass(frozen=True)
class Wanted:
    """A plan's image with what is known of its content; `trusted`: the digest is the catalog's, which beats a pin."""

    key: str
    repository: str
    tag: str
    architecture: str
    digest: str
    trusted: bool

    @property
    def reference(self) -> reference.Reference:
        """What a registry is asked for."""
        return reference.parse(f"{self.repository}:{self.tag}" + (f"@{self.digest}" if self.digest else ""))


def ensure(
    store: Store,
    catalog: Catalog,
    planned: Mapping[str, Any],
    mirror: str = "",
    progress: Progress = silent,
    content: Content | None = None,
) -> Held:
    """Have the image `planned` (a plan's `image`) in the store, every byte checked.

    A tag is resolved once and pinned. Images of our own are built, for which `content` is needed. Raises ArtifactError
    when the registry does not deliver, when what it delivers is not what was planned, or when the disk will not do.
    """
    images = Images(store)
    with store.making(f"image_{planned['key']}".replace(":", "_"), progress):
        wanted = _wanted(images, catalog, planned)
        if str(planned["repository"]).startswith(OURS):
            from phi4_edge.artifacts import onnx_image

            if content is None:
                raise ArtifactError(
                    f"{planned['key']} is built from the files of this installation, which were not given"
                )
            return onnx_image.build(store, catalog, wanted, content, mirror, progress)
        if (held := whole(images, wanted, progress)) is not None:
            return held
        with Registry(reference.endpoint(wanted.reference, mirror)) as registry:
            return _fetch(registry, images, wanted, progress)


def pin(
    store: Store, catalog: Catalog, planned: Mapping[str, Any], mirror: str = "", progress: Progress = silent
) -> Held:
    """Know the digest of an image that hosts pull themselves; asks the registry once and fetches no layer.

    Raises ArtifactError as `ensure` does, and for images of our own, which no registry has.
    """
    images = Images(store)
    with store.making(f"image_{planned['key']}".replace(":", "_"), progress):
        wanted = _wanted(images, catalog, planned)
        if wanted.repository.startswith(OURS):
            raise ArtifactError(f"{wanted.key} is built on the controller and is in no registry: it is pushed")
        known = images.index().get(wanted.key)
        if known and known["digest"] == wanted.digest:
            folder = images.path(wanted.digest)
            return Held(
                wanted.key, wanted.digest, known["id"], folder if folder.is_dir() else None, known["size"], False
            )
        progress(Event(wanted.key, "resolving"))
        with Registry(reference.endpoint(wanted.reference, mirror)) as registry:
            image = _resolve(registry, wanted)
        images.pin(wanted.key, entry(wanted, image, ""), replace=wanted.trusted)
        return Held(wanted.key, image.document.digest, image.config.digest, None, image.size, True)


def whole(images: Images, wanted: Wanted, progress: Progress) -> Held | None:
    """The image when the store has it undamaged; what was hashed in this process is not hashed again."""
    known = images.index().get(wanted.key)
    if not known or known["digest"] != wanted.digest or not images.path(wanted.digest).is_dir():
        return None
    if wanted.digest not in images.store.checked:
        progress(Event(wanted.key, "checking"))
        if images.damage(wanted.digest):
            return None  # it is fetched again; layers that are whole are taken from here
        images.store.checked.add(wanted.digest)
    return Held(wanted.key, wanted.digest, known["id"], images.path(wanted.digest), known["size"], False)


def entry(wanted: Wanted, image: oci.Image, path: str) -> dict[str, Any]:
    """The line of the index for an image."""
    return {
        "digest": image.document.digest, "id": image.config.digest, "path": path, "size": image.size,
        "reference": f"{wanted.repository}:{wanted.tag}",
    }  # fmt: skip


def keep(
    images: Images, wanted: Wanted, image: oci.Image, folder: Path, source: Mapping[str, Any], replace: bool
) -> Held:
    """Complete the layout in `folder` and have it in the store under the image's digest."""
    oci.write_layout(folder, image, reference.local_name(wanted.repository, wanted.tag, image.document.digest))
    name = image.document.digest.removeprefix("sha256:")
    description = Manifest(
        artifact=f"image/{name[:40]}",
        files=manifest.describe(folder),
        licence="see the image's labels",
        source={"key": wanted.key, "digest": image.document.digest, "id": image.config.digest, **source},
    )
    place = images.adopt(wanted.key, folder, description, entry(wanted, image, f"images/{name}"), replace=replace)
    images.store.checked.add(image.document.digest)
    return Held(wanted.key, image.document.digest, image.config.digest, place, image.size, True)


def catalog_images(catalog: Catalog) -> list[core_catalog.Image]:
    """Every image that the catalog names, bases included."""
    found = [image for engine in catalog.engines.values() for build in engine.builds.values() for image in build.images]
    found.append(catalog.webui.image)
    return [*found, *(image.base for image in found if image.base is not None)]


def _wanted(images: Images, catalog: Catalog, planned: Mapping[str, Any]) -> Wanted:
    """What the plan wants. Raises ArtifactError when plan, catalog and the store's pin do not agree."""
    key, repository, tag = str(planned["key"]), str(planned["repository"]), str(planned["tag"])
    architecture = reference.platform(str(planned["architecture"]))
    of_catalog = next(
        (image.digests.get(architecture) for image in catalog_images(catalog)
         if (image.repository, image.tag) == (repository, tag)), None,
    )  # fmt: skip
    pinned = images.index().get(key, {}).get("digest")
    known = of_catalog or pinned or ""
    asked = planned.get("digest") or ""
    if asked and known and asked != known:
        raise ArtifactError(
            f"{key} is {known[:19]}… on this controller, the plan was made for {asked[:19]}…: it was replaced since; "
            "plan again"
        )
    return Wanted(key, repository, tag, architecture, known or asked, bool(of_catalog))


def _fetch(registry: Registry, images: Images, wanted: Wanted, progress: Progress) -> Held:
    progress(Event(wanted.key, "resolving", registry.endpoint.name))
    image = _resolve(registry, wanted)
    name = image.document.digest.removeprefix("sha256:")
    folder = images.store.root / "partial" / f"image-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    here = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    resources.require_disk(images.store.root, max(image.size - here, 0) + _SPARE, f"fetching {wanted.key}")
    _receive(registry, images, wanted, image, folder, progress)
    where = f"{registry.endpoint.name}@{image.document.digest[:19]}"
    oci.check_config((folder / image.config.path).read_bytes(), image, wanted.architecture, where)
    _sweep(folder, {blob.path for blob in image.blobs})
    return keep(images, wanted, image, folder, {"kind": "registry"}, wanted.trusted)


def _resolve(registry: Registry, wanted: Wanted) -> oci.Image:
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
    registry: Registry, images: Images, wanted: Wanted, image: oci.Image, folder: Path, progress: Progress
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


def config_of(images: Images, digest: str) -> dict[str, Any]:
    """The configuration of an image of the store."""
    folder = images.path(digest)
    document = json.loads((folder / oci.BLOBS / digest.removeprefix("sha256:")).read_bytes())
    return dict(json.loads((folder / oci.BLOBS / document["config"]["digest"].removeprefix("sha256:")).read_bytes()))
