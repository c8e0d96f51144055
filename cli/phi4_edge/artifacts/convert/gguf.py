"""Converts a checkpoint in the store to GGUF, for Ollama, through llama.cpp's own tools.

q4_0, q5_1 and q8_0 are written by llama.cpp's converter with its own quantizers in Python: the same file on every
controller, and nothing to install. K-quants exist in llama-quantize alone; with PHI4_EDGE_LLAMA_CPP set it makes the
others too. Either way keys and tensors are in llama-quantize's order, in which Ollama keeps a model.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi4_edge.artifacts.convert import environment, llamacpp, origin, prover
from phi4_edge.artifacts.convert.llamacpp import Quantizer
from phi4_edge.artifacts.convert.worker import SOURCE, parameter_count, run_worker
from phi4_edge.artifacts.fetch import packaged
from phi4_edge.artifacts.store import manifest, resources
from phi4_edge.artifacts.store.manifest import Manifest
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core.catalog.model import Catalog
from phi4_edge.errors import ArtifactError
from phi4_edge.progress import Event, Progress, silent

PREFIX = "gguf-"
# Name of each target to the name that llama-quantize gives it.
TYPES = {"q4_0": "Q4_0", "q4_K_M": "Q4_K_M", "q5_1": "Q5_1", "q8_0": "Q8_0"}
TARGETS = tuple(PREFIX + name for name in TYPES)
IN_PYTHON = ("q4_0", "q5_1", "q8_0")
FILE = "model.gguf"
# Tensors are read one by one; the largest of them, as 32-bit numbers beside its result, is the peak.
MEMORY_BASE, MEMORY_PER_PARAMETER = 700_000_000, 1.6
DISK_BASE, DISK_PER_PARAMETER, INTERMEDIATE_PER_PARAMETER = 100_000_000, 1.1, 2.1
_PYTHON_QUANTIZER = "gguf-py"


@dataclass(frozen=True)
class _Job:
    """One conversion: from which checkpoint, to what, with which quantizer (None: the converter's own)."""

    target: str
    kind: str
    model: str
    ours: bool
    quantizer: Quantizer | None


def build(store: Store, catalog: Catalog, model_id: str, target: str, progress: Progress = silent) -> str:
    """Convert `<model_id>/safetensors` to `target`; return the digest. `targets.convert` is the way in.

    The file was loaded in llama.cpp and has generated before it is adopted. Raises ArtifactError as `convert` does,
    and when a K-quant is wanted and there is no llama-quantize.
    """
    kind = target.partition("/")[2].removeprefix(PREFIX)
    source = store.verify(f"{model_id}/{SOURCE}", deep=True)
    if (held := _held(store, target, source, kind)) is not None:
        return held
    needs_tool = kind not in IN_PYTHON or bool(os.environ.get(llamacpp.SETTING))
    count = parameter_count(source)
    resources.require_memory(int(MEMORY_BASE + MEMORY_PER_PARAMETER * count), f"converting {model_id} to {target}")
    per = DISK_PER_PARAMETER + (INTERMEDIATE_PER_PARAMETER if needs_tool else 0)
    resources.require_disk(store.root, int(DISK_BASE + per * count), f"converting {model_id} to {target}")
    quantizer = llamacpp.quantizer(store, catalog, progress) if needs_tool else None
    ours = catalog.models[model_id].source.get("kind") == packaged.KIND
    job = _Job(target, kind, model_id, ours, quantizer)
    with store.workspace("gguf") as work:
        output = work / "output"
        output.mkdir()
        versions = _write(store, job, store.path(source.digest), output / FILE, work, progress)
        tester = prover.ensure(store, progress)
        prover.prove(tester, output / FILE, work, target, progress)
        progress(Event(target, "hashing"))
        description = _describe(job, source, output, {**versions, **tester.versions})
        return store.adopt(output, description)


def _write(store: Store, job: _Job, source: Path, output: Path, work: Path, progress: Progress) -> dict[str, str]:
    """Write the GGUF file; return the versions of what made it."""
    tools = llamacpp.sources(store, progress)
    converter = environment.ensure(store, progress)
    # llama.cpp writes the folder's name into the file; under this link it is the model's, not a digest.
    named = work / job.model
    named.symlink_to(source)
    first = output if job.quantizer is None else work / "bf16.gguf"
    arguments: dict[str, object] = {
        "tools": str(tools),
        "input": str(named),
        "output": str(first),
        "type": job.kind if job.quantizer is None else "bf16",
        "name": job.model,
        # The stand-in's tokenizer splits as GPT-2's does; published ones are known to llama.cpp by their hash.
        "pretokenizer": "gpt-2" if job.ours else "",
    }
    progress(Event(job.target, "converting"))
    failed = f"llama.cpp's converter could not convert {job.model} to {job.target}"
    run_worker(converter, "convert_gguf", arguments, work, failed, lambda line: None)
    if job.quantizer is not None:
        llamacpp.quantize(job.quantizer, first, output, TYPES[job.kind], job.target, progress)
        first.unlink()
    kept = ("python", "torch", "transformers", "tokenizers")
    return {name: version for name, version in converter.versions.items() if name in kept}


def _parameters(kind: str, quantizer: str) -> dict[str, Any]:
    """What decides the result beside the checkpoint; part of the manifest."""
    return {
        "type": kind,
        "llama_cpp": llamacpp.NAMED,
        "sha256": llamacpp.SHA256,
        "recipe": llamacpp.recipe("convert_gguf", "copy_order", "q6k"),
        "quantizer": quantizer,
    }


def _held(store: Store, target: str, source: Manifest, kind: str) -> str | None:
    """Digest of `target` when the store has it whole, made from this checkpoint in the way of this release.

    Which llama-quantize made it does not matter: another one that turns up later is no reason to send a new model to a
    fleet.
    """
    if target not in store.digests() or store.damage(target):
        return None
    found = store.manifest(target)
    wanted = _parameters(kind, str(found.parameters.get("quantizer")))
    same = found.source.get("digest") == source.digest and dict(found.parameters) == wanted
    return found.digest if same else None


def _describe(job: _Job, source: Manifest, output: Path, versions: Mapping[str, str]) -> Manifest:
    entries = manifest.describe(output)
    if [entry.path for entry in entries] != [FILE]:
        raise ArtifactError(f"{job.target}: found {', '.join(entry.path for entry in entries)}, needed {FILE} alone")
    return Manifest(
        artifact=job.target,
        files=entries,
        licence=source.licence,
        source=origin.of(source),
        created_by={**versions, "llama.cpp": llamacpp.NAMED},
        parameters=_parameters(job.kind, job.quantizer.origin if job.quantizer else _PYTHON_QUANTIZER),
    )
