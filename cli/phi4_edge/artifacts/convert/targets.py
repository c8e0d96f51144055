"""Makes what an engine reads: of which source, and by which converter."""

from __future__ import annotations

from phi4_edge.artifacts.convert import gguf, library, onnx, published
from phi4_edge.artifacts.convert.worker import SOURCE
from phi4_edge.artifacts.fetch import local, packaged
from phi4_edge.artifacts.fetch.model import PUBLISHED
from phi4_edge.artifacts.store import manifest
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core.catalog.model import Catalog
from phi4_edge.errors import ArtifactError
from phi4_edge.progress import Event, Progress, silent


def targets(catalog: Catalog) -> tuple[str, ...]:
    """All that a model can be converted to."""
    return (*onnx.recipes(catalog), *gguf.TARGETS)


def convert(
    store: Store, catalog: Catalog, model_id: str, to: str, progress: Progress = silent, source: str = ""
) -> str:
    """Make the variant `to` of a model from `source`; return the digest of the new artifact in the store.

    `source` is an artifact of the model, `safetensors` or `onnx-published`, or `library` or `package`, where it is
    fetched as it is; without it what `source_of` says. What is made was loaded and has generated before it is adopted.
    Raises ArtifactError, leaving nothing behind, when the target is unknown, the source is missing, damaged or none for
    this target, memory or disk will not do, or a step fails.
    """
    require_target(catalog, to)
    if model_id not in catalog.models:
        raise ArtifactError(f"{model_id!r} is not in the catalog; models: {', '.join(sorted(catalog.models))}.")
    chosen = source or source_of(store, catalog, model_id, to)
    known = sources(catalog, model_id, to)
    if chosen not in known:
        raise ArtifactError(f"{model_id}/{to} is not made of {chosen!r}, needed {' or '.join(known)}")
    if chosen == library.NAME:
        return library.fetch(store, catalog, model_id, to, progress)
    if chosen == packaged.NAME:
        return packaged.fetch(store, catalog.models[model_id], to, progress)
    target = manifest.artifact_id(f"{model_id}/{to}")
    store.use(f"{model_id}/{chosen}")
    with store.making(target, progress):
        _require_source(store, f"{model_id}/{chosen}", known)
        progress(Event(target, "checking the checkpoint" if chosen == SOURCE else "checking the published export"))
        if to in gguf.TARGETS:
            return gguf.build(store, catalog, model_id, target, progress)
        if chosen == PUBLISHED:
            return published.build(store, model_id, target, progress)
        return onnx.build(store, model_id, target, onnx.recipes(catalog)[to], progress)


def fetch(store: Store, catalog: Catalog, model_id: str, to: str, progress: Progress = silent) -> str:
    """Have the variant `to` of a model as it is offered, from Ollama's library or the package; return its digest.

    Raises ArtifactError as `convert` does, also where it can only be made.
    """
    packed = model_id in catalog.models and packaged.offers(catalog.models[model_id], to)
    return convert(store, catalog, model_id, to, progress, packaged.NAME if packed else library.NAME)


def source_of(store: Store, catalog: Catalog, model_id: str, to: str) -> str:
    """What `to` of `model_id` is made of unless somebody says otherwise: what was published for it, if anything.

    A checkpoint that somebody imported is what he wants to run, and is converted all the same.
    """
    *_, best = sources(catalog, model_id, to)
    model = catalog.models[model_id]
    if best == PUBLISHED and model.published is None and not packaged.offers(model, PUBLISHED):
        return SOURCE
    held = store.digests().get(f"{model_id}/{SOURCE}")
    imported = held and store.manifest(f"{model_id}/{SOURCE}").source.get("kind") == local.KIND
    return SOURCE if imported else best


def sources(catalog: Catalog, model_id: str, to: str) -> tuple[str, ...]:
    """All that `to` of `model_id` can be made of, what was published for it last."""
    if to in published.TARGETS:
        return SOURCE, PUBLISHED
    if packaged.offers(catalog.models[model_id], to):
        return SOURCE, packaged.NAME
    return (SOURCE, library.NAME) if library.offers(catalog, model_id, to) else (SOURCE,)


def require_target(catalog: Catalog, to: str) -> None:
    """Raise ArtifactError, listing the targets, unless this release converts to `to`."""
    if to not in (known := targets(catalog)):
        raise ArtifactError(f"{to!r} is not a conversion target; targets of this release: {', '.join(known)}.")


def _require_source(store: Store, artifact: str, known: tuple[str, ...]) -> None:
    if artifact in store.digests():
        return
    held = ", ".join(sorted(store.digests())) or "nothing"
    other = f"; --from names another source ({', '.join(known)})" if len(known) > 1 else ""
    raise ArtifactError(
        f"{artifact} is not in {store.root} (it holds {held}). Fetch it with 'phi4-edge model fetch {artifact}'{other}"
    )
