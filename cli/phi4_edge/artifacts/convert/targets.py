"""Makes what an engine reads: of which source, and by which converter."""

from __future__ import annotations

from phi4_edge.artifacts.convert import gguf, library, onnx
from phi4_edge.artifacts.convert.worker import SOURCE
from phi4_edge.artifacts.store import manifest
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core.catalog.model import Catalog
from phi4_edge.errors import ArtifactError
from phi4_edge.progress import Event, Progress, silent

TARGETS = (*onnx.TARGETS, *gguf.TARGETS)


def convert(
    store: Store, catalog: Catalog, model_id: str, to: str, progress: Progress = silent, source: str = ""
) -> str:
    """Make the variant `to` of a model from `source`; return the digest of the new artifact in the store.

    `source` is `safetensors`, whose artifact is converted, or `library`, where the file is fetched as it is; without it
    what `source_of` says. The artifact was loaded and has generated before it is adopted. Raises ArtifactError, leaving
    nothing behind, when the target is unknown, the source is missing, damaged or none for this target, memory or disk
    will not do, or a step fails.
    """
    require_target(to)
    if model_id not in catalog.models:
        raise ArtifactError(f"{model_id!r} is not in the catalog; models: {', '.join(sorted(catalog.models))}.")
    chosen = source or source_of(store, catalog, model_id, to)
    if chosen == library.NAME and library.offers(catalog, model_id, to):
        return library.fetch(store, catalog, model_id, to, progress)
    if chosen != SOURCE:
        other = f" or {library.NAME}" if library.offers(catalog, model_id, to) else ""
        raise ArtifactError(f"{model_id}/{to} is not made from {chosen!r}, needed {SOURCE}{other}")
    target = manifest.artifact_id(f"{model_id}/{to}")
    store.use(f"{model_id}/{SOURCE}")
    with store.making(target, progress):
        progress(Event(target, "checking the checkpoint"))
        if to in gguf.TARGETS:
            return gguf.build(store, catalog, model_id, target, progress)
        return onnx.build(store, model_id, target, progress)


def source_of(store: Store, catalog: Catalog, model_id: str, to: str) -> str:
    """What `to` is made from unless somebody says otherwise: the library's file where it has one.

    A checkpoint that somebody imported is what he wants to run, and is converted all the same.
    """
    if not library.offers(catalog, model_id, to):
        return SOURCE
    checkpoint = f"{model_id}/{SOURCE}"
    imported = checkpoint in store.digests() and store.manifest(checkpoint).source.get("kind") == "import"
    return SOURCE if imported else library.NAME


def require_target(to: str) -> None:
    """Raise ArtifactError, listing the targets, unless this release converts to `to`."""
    if to not in TARGETS:
        raise ArtifactError(f"{to!r} is not a conversion target; targets of this release: {', '.join(TARGETS)}.")
