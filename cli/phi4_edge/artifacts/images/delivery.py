"""Has the container image of a plan in the store: ours is built here, others come from a registry or mirror."""

from __future__ import annotations

from phi4_edge.artifacts.images import build, fetch, held
from phi4_edge.artifacts.images.held import Content, Held
from phi4_edge.artifacts.store.images import Images
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core.catalog.model import Catalog
from phi4_edge.core.image_reference import OURS
from phi4_edge.core.plan.model import PlannedImage
from phi4_edge.errors import ArtifactError
from phi4_edge.progress import Progress, silent


def ensure(
    store: Store,
    catalog: Catalog,
    planned: PlannedImage,
    mirror: str = "",
    progress: Progress = silent,
    content: Content | None = None,
) -> Held:
    """Have the image `planned` (a plan's `image`) in the store, every byte checked.

    A tag is resolved once and pinned. Images of our own are built, for which `content` is needed. Raises ArtifactError
    when the registry does not deliver, when what it delivers is not what was planned, or when the disk will not do.
    """
    images = Images(store)
    with store.making(held.lock_name(planned), progress):
        wanted = held.wanted(images, catalog, planned)
        if not wanted.repository.startswith(OURS):
            return fetch.fetched(images, wanted, mirror, progress)
        if content is None:
            raise ArtifactError(f"{planned.key} is built from the files of this installation, which were not given")
        return build.build(store, catalog, wanted, content, mirror, progress)


def pin(store: Store, catalog: Catalog, planned: PlannedImage, mirror: str = "", progress: Progress = silent) -> Held:
    """Know the digest of an image that hosts pull themselves; asks the registry once and fetches no layer.

    Raises ArtifactError as `ensure` does, and for images of our own, which no registry has.
    """
    images = Images(store)
    with store.making(held.lock_name(planned), progress):
        wanted = held.wanted(images, catalog, planned)
        if wanted.repository.startswith(OURS):
            raise ArtifactError(f"{wanted.key} is built on the controller and is in no registry: it is pushed")
        return fetch.pinned(images, wanted, mirror, progress)
