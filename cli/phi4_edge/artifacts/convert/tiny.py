"""Makes the tiny stand-in model: real architecture, real tools, random weights; for the lab and the tests."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from phi4_edge.artifacts.convert import environment, targets
from phi4_edge.artifacts.convert.worker import SOURCE, run_worker
from phi4_edge.artifacts.store import manifest
from phi4_edge.artifacts.store.manifest import Manifest
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core.catalog.model import Catalog
from phi4_edge.progress import Event, Progress, silent

MODEL = "tiny"
_RECIPE = ("make_tiny.py", "tiny_text.txt")
_WORKERS = Path(__file__).with_name("scripts")


def make(store: Store, catalog: Catalog, progress: Progress = silent, to: str = "onnx-int4") -> str:
    """Have `tiny/safetensors` and `tiny/<to>` in the store; return the digest of the latter, which may be the former.

    The same tool versions give the same digest. Raises ArtifactError as `convert` does.
    """
    if to != SOURCE:
        targets.require_target(catalog, to)
    checkpoint = f"{MODEL}/{SOURCE}"
    wanted = _parameters(int(catalog.models[MODEL].source["seed"]))
    with store.making(checkpoint, progress):
        if not _held(store, checkpoint, wanted):
            _make_checkpoint(store, checkpoint, wanted, progress)
    if to == SOURCE:
        return store.digest(checkpoint)
    return targets.convert(store, catalog, MODEL, to, progress)


def _parameters(seed: int) -> dict[str, Any]:
    """What decides the checkpoint: the seed, the recipe and the versions of the tools."""
    recipe = hashlib.sha256(b"".join((_WORKERS / name).read_bytes() for name in _RECIPE)).hexdigest()[:16]
    return {"seed": seed, "recipe": recipe, "lock": environment.lock_digest()}


def _held(store: Store, checkpoint: str, wanted: dict[str, Any]) -> bool:
    if checkpoint not in store.digests() or store.damage(checkpoint):
        return False
    return dict(store.manifest(checkpoint).parameters) == wanted


def _make_checkpoint(store: Store, artifact: str, wanted: dict[str, Any], progress: Progress) -> None:
    converter = environment.ensure(store, progress)
    with store.workspace("tiny") as work:
        output = work / "output"
        progress(Event(artifact, "training the tokenizer"))
        arguments: dict[str, object] = {"output": str(output), "seed": wanted["seed"]}
        run_worker(converter, "make_tiny", arguments, work, f"{artifact} could not be made", lambda line: None)
        description = Manifest(
            artifact=artifact,
            files=manifest.describe(output),
            licence="Apache-2.0",
            source={"kind": "generated", "seed": wanted["seed"]},
            created_by=converter.versions,
            parameters=wanted,
        )
        store.adopt(output, description)
