"""Images as the store holds them, and what a plan wants of one: by key, digest and pin."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from phi4_edge.artifacts.images import oci
from phi4_edge.artifacts.store.images import Images
from phi4_edge.core import image_reference
from phi4_edge.core.catalog import model
from phi4_edge.core.catalog.model import Catalog
from phi4_edge.core.plan.model import PlannedImage
from phi4_edge.errors import ArtifactError
from phi4_edge.progress import Event, Progress


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
    def reference(self) -> image_reference.Reference:
        """What a registry is asked for."""
        return image_reference.parse(f"{self.repository}:{self.tag}" + (f"@{self.digest}" if self.digest else ""))


def lock_name(planned: PlannedImage) -> str:
    """What is locked while the image of a plan is made."""
    return f"image_{planned.key}".replace(":", "_")


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


def entry(wanted: Wanted, image: oci.OciImage, path: str) -> dict[str, Any]:
    """The line of the index for an image."""
    return {
        "digest": image.document.digest, "id": image.config.digest, "path": path, "size": image.size,
        "reference": f"{wanted.repository}:{wanted.tag}",
    }  # fmt: skip


def keep(
    images: Images, wanted: Wanted, image: oci.OciImage, folder: Path, source: Mapping[str, Any], replace: bool
) -> Held:
    """Have the image whose blobs, each compared with its digest, are in `folder` in the store under its own digest."""
    oci.write_blob(folder, image.document.media_type, image.document.raw)
    line = entry(wanted, image, f"images/{image.document.digest.removeprefix('sha256:')}")
    place = images.adopt(wanted.key, folder, line, source, replace=replace)
    images.store.checked.add(image.document.digest)
    return Held(wanted.key, image.document.digest, image.config.digest, place, image.size, True)


def catalog_images(catalog: Catalog) -> list[model.CatalogImage]:
    """Every image that the catalog names, bases included."""
    found = [image for engine in catalog.engines.values() for build in engine.builds.values() for image in build.images]
    found.append(catalog.webui.image)
    return [*found, *(image.base for image in found if image.base is not None)]


def wanted(images: Images, catalog: Catalog, planned: PlannedImage) -> Wanted:
    """What the plan wants. Raises ArtifactError when plan, catalog and the store's pin do not agree."""
    key, repository, tag = planned.key, planned.repository, planned.tag
    architecture = image_reference.platform(planned.architecture)
    of_catalog = next(
        (image.digests.get(architecture) for image in catalog_images(catalog)
         if (image.repository, image.tag) == (repository, tag)), None,
    )  # fmt: skip
    pinned = images.index().get(key, {}).get("digest")
    known = of_catalog or pinned or ""
    asked = planned.digest or ""
    if asked and known and asked != known:
        raise ArtifactError(
            f"{key} is {known[:19]}… on this controller, the plan was made for {asked[:19]}…: it was replaced since; "
            "plan again"
        )
    return Wanted(key, repository, tag, architecture, known or asked, bool(of_catalog))


def config_of(images: Images, digest: str) -> dict[str, Any]:
    """The configuration of an image of the store."""
    return dict(json.loads((images.path(digest) / images.walk(digest).config.path).read_bytes()))
