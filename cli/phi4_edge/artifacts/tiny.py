"""Makes the tiny stand-in model: real architecture, real tools, random weights; for the lab and the tests."""

from __future__ import annotations

from phi4_edge.artifacts import convert, environment, manifest
from phi4_edge.artifacts.manifest import Manifest
from phi4_edge.artifacts.progress import Event, Progress, silent
from phi4_edge.artifacts.store import Store

MODEL = "tiny"
SEED = 4


def make(store: Store, catalog: object, progress: Progress = silent, to: str = "onnx-int4") -> str:
    """Make `tiny/safetensors`, unless it is there and whole, and convert it; return the digest of `tiny/<to>`.

    The same tool versions give the same digest. Raises ArtifactError as `convert` does.
    """
    checkpoint = f"{MODEL}/{convert.SOURCE}"
    with store.making(checkpoint, progress):
        if checkpoint not in store.digests() or store.damage(checkpoint):
            _make_checkpoint(store, checkpoint, progress)
    return convert.convert(store, catalog, MODEL, to, progress)


def _make_checkpoint(store: Store, artifact: str, progress: Progress) -> None:
    converter = environment.ensure(store, progress)
    with store.workspace("tiny") as work:
        output = work / "output"
        progress(Event(artifact, "training the tokenizer"))
        arguments: dict[str, object] = {"output": str(output), "seed": SEED}
        convert.run_worker(converter, "make_tiny", arguments, work, f"{artifact} could not be made", lambda line: None)
        description = Manifest(
            artifact=artifact,
            files=manifest.describe(output),
            licence="Apache-2.0",
            source={"kind": "generated", "seed": SEED},
            created_by=converter.versions,
        )
        store.adopt(output, description)
