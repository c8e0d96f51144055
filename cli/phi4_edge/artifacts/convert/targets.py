"""Converts a checkpoint in the store for an engine: which converter makes which artifact."""

from __future__ import annotations

from phi4_edge.artifacts.convert import gguf, onnx
from phi4_edge.artifacts.convert.worker import SOURCE
from phi4_edge.artifacts.store import manifest
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core.catalog.model import Catalog
from phi4_edge.errors import ArtifactError
from phi4_edge.progress import Event, Progress, silent

TARGETS = (*onnx.TARGETS, *gguf.TARGETS)


def convert(store: Store, catalog: Catalog, model_id: str, to: str, progress: Progress = silent) -> str:
    """Convert `<model_id>/safetensors` to the variant `to`; return the digest of the new artifact in the store.

    The artifact was loaded and has generated before it is adopted. Raises ArtifactError, leaving nothing behind, when
    the target is unknown, the checkpoint is missing or damaged, memory or disk will not do, or a step fails.
    """
    require_target(to)
    if model_id not in catalog.models:
        raise ArtifactError(f"{model_id!r} is not in the catalog; models: {', '.join(sorted(catalog.models))}.")
    target = manifest.artifact_id(f"{model_id}/{to}")
    store.use(f"{model_id}/{SOURCE}")
    with store.making(target, progress):
        progress(Event(target, "checking the checkpoint"))
        if to in gguf.TARGETS:
            return gguf.build(store, catalog, model_id, target, progress)
        return onnx.build(store, model_id, target, progress)


def require_target(to: str) -> None:
    """Raise ArtifactError, listing the targets, unless this release converts to `to`."""
    if to not in TARGETS:
        raise ArtifactError(f"{to!r} is not a conversion target; targets of this release: {', '.join(TARGETS)}.")
