"""What plans need, gathered from the store as the manifest of a bundle says it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from phi4_edge import __version__
from phi4_edge.artifacts import delivery
from phi4_edge.artifacts.bundle import format as bundle_format
from phi4_edge.artifacts.bundle import manifest, sbom, whole
from phi4_edge.artifacts.bundle.manifest import SBOM, Contents
from phi4_edge.artifacts.delivery import Content
from phi4_edge.artifacts.store import files
from phi4_edge.artifacts.store.images import Images
from phi4_edge.artifacts.store.manifest import FileEntry
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core.plan.model import Plan, PlannedImage
from phi4_edge.errors import ArtifactError


def collect(store: Store, plans: Iterable[Plan], content: Content) -> tuple[Contents, bytes]:
    """What the plans need, as the manifest says it, and the bill of materials."""
    plans = list(plans)
    shelf = Images(store)
    names = {delivery.model_of(plan).artifact for plan in plans}
    names |= {plan.runtime.artifact for plan in plans if plan.runtime and plan.runtime.artifact}
    wheels = {str(plan.runtime.id) for plan in plans if plan.runtime and not plan.runtime.artifact}
    known = shelf.index()
    images: dict[str, dict[str, Any]] = {}
    for plan in plans:
        for image in delivery.planned_images(plan):
            line = _entry(shelf, known, image, plan)
            # One host may be sent what another one pulls itself.
            if line["path"] or image.key not in images:
                images[image.key] = line
    artifacts = {name: store.digest(name) for name in sorted(names)}
    folders = {store.path(digest) for digest in artifacts.values()}
    folders |= {store.root / "wheelhouses" / name for name in wheels}
    folders |= {shelf.path(str(entry["digest"])) for entry in images.values() if entry["path"]}
    entries = [entry for folder in sorted(folders) for entry in bundle_format.of_folder(store.root, folder)]
    bill = sbom.document(store, artifacts, sorted(wheels), images)
    entries.append(FileEntry(SBOM, len(bill), sbom.sha256(bill)))
    hosts = {plan.host: _need(plan) for plan in plans}
    contents = Contents(__version__, tuple(entries), artifacts, images, tuple(wheels), hosts, content.runtimes())
    _require_usable(store, contents, content)
    return contents, bill


def _require_usable(store: Store, contents: Contents, content: Content) -> None:
    """Raise ArtifactError for what the reader of the bundle would refuse: said now, and not at the site."""

    def read(entry: FileEntry, limit: int) -> bytes:
        return files.read_plain(store.root / entry.path, limit) or b""

    where = f"what is in {store.root}"
    try:
        manifest.require_form(contents)
    except ValueError as error:
        raise ArtifactError(f"{where} cannot be packed: {error}") from None
    whole.check(contents, read, whole.engine_of(content), where)


def _entry(shelf: Images, known: Mapping[str, Any], image: PlannedImage, plan: Plan) -> dict[str, Any]:
    """The image's line of the store's index; without a path where hosts pull it, and it is not in the bundle."""
    key = image.key
    if key not in known:
        raise ArtifactError(f"{key} is not in {shelf.store.root}: it should have been fetched before")
    pushed = delivery.pushes(plan, image) and shelf.path(str(known[key]["digest"])).is_dir()
    return dict(known[key]) if pushed else {**known[key], "path": ""}


def _need(plan: Plan) -> dict[str, Any]:
    return {
        "engine": plan.engine,
        "service_manager": plan.service_manager,
        "model": delivery.model_of(plan).artifact,
        "runtime": plan.runtime and (plan.runtime.artifact or plan.runtime.id),
        "images": [image.key for image in delivery.planned_images(plan)],
        "image_delivery": plan.image_delivery,
    }
