"""Converts a checkpoint in the store for the ONNX engine, and lets the result prove itself before it is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from phi4_edge.artifacts.convert import environment, onnx_prover, origin, rope, settings
from phi4_edge.artifacts.convert.environment import Converter
from phi4_edge.artifacts.convert.worker import SOURCE, parameter_count, run_worker
from phi4_edge.artifacts.store import manifest, resources
from phi4_edge.artifacts.store.manifest import Manifest
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core.catalog.model import Catalog
from phi4_edge.core.catalog.recipe import Recipe
from phi4_edge.progress import Event, Progress, silent

# Names as of onnxruntime-genai 0.15 and later. Sharing the embedding halves the model (2.4 instead of 4.9 GB), and
# without logits of every prompt token but the last, of which nobody makes use, long prompts are read faster.
OPTIONS = {"accuracy_level": 4, "shared_embeddings": "true", "prune_lm_head": "true", "hf_token": "false"}
PRECISION, PROVIDER = "int4", "cpu"
# Measured: 4.4 GB peak for 3,836,021,760 parameters, 0.3 GB for the tiny model (the libraries alone); k_quant takes
# 0.2 GB more. The checkpoint's own pages come and go.
MEMORY_BASE, MEMORY_PER_PARAMETER = 600_000_000, 1.05
# The result has 0.63 bytes per parameter (2.40 GB for Phi-4-mini); the builder keeps a second copy while it saves.
DISK_BASE, DISK_PER_PARAMETER = 100_000_000, 1.3


def recipes(catalog: Catalog) -> Mapping[str, Recipe]:
    """The recipes of `catalog` by what they make."""
    variants = [variant for engine in catalog.engines.values() for variant in engine.variants.values()]
    made = {variant.artifact: variant.recipe for variant in variants if variant.recipe}
    long = {one.long: replace(one.recipe, long_rope=True) for one in variants if one.recipe and one.long}
    return made | long


def build(store: Store, model_id: str, target: str, recipe: Recipe, progress: Progress = silent) -> str:
    """Convert `<model_id>/safetensors` to `target` by `recipe`; return the digest. `targets.convert` is the way in.

    The artifact was loaded and has generated before it is adopted. Raises ArtifactError as `convert` does.
    """
    source = store.verify(f"{model_id}/{SOURCE}", deep=True)
    if (held := origin.held(store, target, source, _parameters(recipe))) is not None:
        return held
    folder, to = store.path(source.digest), target.partition("/")[2]
    count = parameter_count(source)
    resources.require_memory(memory_need(count), f"converting {model_id} to {to}")
    resources.require_disk(store.root, disk_need(count), f"converting {model_id} to {to}")
    converter = environment.ensure(store, progress)
    with store.workspace("convert") as work:
        output = work / "output"
        _build(converter, folder, output, work, target, recipe, progress)
        onnx_prover.prove(converter, output, work, target, progress)
        progress(Event(target, "hashing"))
        return store.adopt(output, _describe(target, source, converter, output, recipe))


def memory_need(parameters: int) -> int:
    """Bytes of memory that converting a model of `parameters` takes at its peak."""
    return int(MEMORY_BASE + MEMORY_PER_PARAMETER * parameters)


def disk_need(parameters: int) -> int:
    """Bytes of disk that converting a model of `parameters` takes while it runs."""
    return int(DISK_BASE + DISK_PER_PARAMETER * parameters)


def options(recipe: Recipe) -> dict[str, Any]:
    """What the builder is told for `recipe`."""
    method = {} if recipe.method == "default" else {"algo_config": recipe.method}
    return {**OPTIONS, "block_size": recipe.block_size, **method}


def _parameters(recipe: Recipe) -> dict[str, Any]:
    """What decides the result beside the checkpoint; part of the manifest."""
    return {
        "precision": PRECISION,
        "provider": PROVIDER,
        **options(recipe),
        "lookup": "in place",
        "max_length": settings.MAX_LENGTH,
        **({rope.PARAMETER: rope.LONG} if recipe.long_rope else {}),
        "lock": environment.lock_digest(),
    }


def _build(
    converter: Converter, source: Path, output: Path, work: Path, target: str, recipe: Recipe, progress: Progress
) -> None:
    arguments: dict[str, object] = {
        "input": str(source),
        "output": str(output),
        "cache": str(work / "cache"),
        "precision": PRECISION,
        "provider": PROVIDER,
        "options": options(recipe),
    }
    progress(Event(target, "converting"))
    failed = f"the model builder could not convert {source.name[:12]} to {target}"
    run_worker(converter, "convert_onnx", arguments, work, failed, _reporter(target, progress))
    settings.complete(output)
    if recipe.long_rope:
        rope.rewrite(output)


def _reporter(target: str, progress: Progress) -> Callable[[str], None]:
    """Turns the builder's log lines into progress: one event per layer read and per tensor group written."""

    def seen(line: str) -> None:
        if line.startswith("Reading") or line.startswith("Saving GenAI"):
            progress(Event(target, "converting", line[:80]))

    return seen


def _describe(target: str, source: Manifest, converter: Converter, output: Path, recipe: Recipe) -> Manifest:
    return Manifest(
        artifact=target,
        files=manifest.describe(output),
        licence=source.licence,
        source=origin.of(source),
        created_by=converter.versions,
        parameters=_parameters(recipe),
    )
