"""The tiny stand-in model: real architecture, real tools. One that was taught comes with the package; one with random
weights is made here, for tests of the converter."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from phi4_edge.artifacts.convert import environment, targets
from phi4_edge.artifacts.convert.worker import SOURCE, run_worker
from phi4_edge.artifacts.fetch import model as fetch_model
from phi4_edge.artifacts.fetch import packaged
from phi4_edge.artifacts.store import manifest
from phi4_edge.artifacts.store.manifest import Manifest
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core.catalog.model import Catalog
from phi4_edge.progress import Event, Progress, silent

MODEL = "tiny"
SEED = 4
_RECIPE = ("make_tiny.py", "tiny_text.txt")
_SCRIPTS = Path(__file__).with_name("scripts")


def make(store: Store, catalog: Catalog, progress: Progress = silent, to: str = "onnx-int4") -> str:
    """Have `tiny/<to>` of the package's own model in the store; return its digest.

    It goes the way of the real model: fetched, from the package, and tied or converted. Raises ArtifactError as
    `convert` does.
    """
    if to == SOURCE:
        return fetch_model.fetch(store, catalog, MODEL, progress)
    targets.require_target(catalog, to)
    *_, source = targets.sources(catalog, MODEL, to)
    if source != packaged.NAME:
        fetch_model.fetch(store, catalog, MODEL, progress, source)
    return targets.convert(store, catalog, MODEL, to, progress, source)


def make_random(store: Store, progress: Progress = silent) -> str:
    """Have `tiny/safetensors` with random weights from a fixed seed in the store; return its digest.

    The same tool versions give the same digest. Raises ArtifactError when the converter environment cannot be made.
    """
    checkpoint = f"{MODEL}/{SOURCE}"
    wanted = {"seed": SEED, "recipe": recipe(_RECIPE), "lock": environment.lock_digest()}
    with store.making(checkpoint, progress):
        if not _held(store, checkpoint, wanted):
            converter = environment.ensure(store, progress)
            with store.workspace(MODEL) as work:
                output, failed = work / "output", f"{checkpoint} could not be made"
                progress(Event(checkpoint, "training the tokenizer"))
                arguments: dict[str, object] = {"output": str(output), "seed": SEED}
                run_worker(converter, "make_tiny", arguments, work, failed, lambda line: None)
                source = {"kind": "generated", "seed": SEED}
                return store.adopt(output, described(checkpoint, output, source, converter, wanted))
    return store.digest(checkpoint)


def described(
    artifact: str, folder: Path, source: dict[str, Any], converter: environment.Converter, parameters: dict[str, Any]
) -> Manifest:
    """The manifest of a checkpoint in `folder` that was made with `converter`."""
    return Manifest(artifact, manifest.describe(folder), "Apache-2.0", source, converter.versions, parameters)


def recipe(names: tuple[str, ...]) -> str:
    """Names what these files among the scripts say; another text is another recipe."""
    return hashlib.sha256(b"".join((_SCRIPTS / name).read_bytes() for name in names)).hexdigest()[:16]


def _held(store: Store, checkpoint: str, wanted: dict[str, Any]) -> bool:
    if checkpoint not in store.digests() or store.damage(checkpoint):
        return False
    return dict(store.manifest(checkpoint).parameters) == wanted
