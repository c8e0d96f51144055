"""Makes the int4 model of a published export: tied, tried, kept; without PyTorch, on a controller of any size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phi4_edge import __version__
from phi4_edge.artifacts.convert import onnx_prover, origin, rope, settings, tie, untied
from phi4_edge.artifacts.fetch.model import PUBLISHED
from phi4_edge.artifacts.store import manifest, resources
from phi4_edge.artifacts.store.manifest import Manifest
from phi4_edge.artifacts.store.store import Store
from phi4_edge.progress import Event, Progress, silent

# What it becomes; the second takes LongRoPE's long factors at every length.
LONG = "onnx-int4-long"
TARGETS = ("onnx-int4", LONG)
# Bytes per byte of the published export. Measured on the full shape: tying has a peak of 0.2 GB, trying the result
# takes 2.9 GB of its own beside the mapped weights, and was done within 3.2 GB.
MEMORY_BASE, MEMORY_SHARE = 200_000_000, 0.6
DISK_BASE, DISK_SHARE = 200_000_000, 0.5


def build(store: Store, model_id: str, target: str, progress: Progress = silent) -> str:
    """Tie `<model_id>/onnx-published` to `target`; return the digest. `targets.convert` is the way in.

    The artifact was loaded and has generated before it is adopted. Raises ArtifactError as `convert` does, and when the
    published graph is another than the one that is known.
    """
    source = store.verify(f"{model_id}/{PUBLISHED}", deep=True)
    to = target.partition("/")[2]
    parameters = _parameters(to)
    if (held := origin.held(store, target, source, parameters)) is not None:
        return held
    resources.require_memory(memory_need(source.size), f"tying {model_id} to {to}")
    resources.require_disk(store.root, disk_need(source.size), f"tying {model_id} to {to}")
    prover = onnx_prover.ensure(store, progress)
    with store.workspace("tie") as work:
        output = work / "output"
        tie.tie(store.path(source.digest), output, target, progress, long_rope=to == LONG)
        onnx_prover.prove(prover, output, work, target, progress)
        progress(Event(target, "hashing"))
        description = Manifest(
            artifact=target,
            files=manifest.describe(output),
            licence=source.licence,
            source=origin.of(source),
            created_by={"phi4-edge": __version__, **prover.versions},
            parameters=parameters,
        )
        return store.adopt(output, description)


def memory_need(size: int) -> int:
    """Bytes of memory that tying an export of `size` bytes takes: little to tie it, the result once to try it."""
    return int(MEMORY_BASE + MEMORY_SHARE * size)


def disk_need(size: int) -> int:
    """Bytes of disk that tying an export of `size` bytes takes beside it."""
    return int(DISK_BASE + DISK_SHARE * size)


def _parameters(to: str) -> Mapping[str, Any]:
    """What decides the result beside the export; part of the manifest."""
    return {
        "precision": "int4",
        "embedding": "tied",
        "lookup": "in place",
        "prune_lm_head": "true",
        "block_size": untied.BLOCK,
        "accuracy_level": untied.ACCURACY,
        "max_length": settings.MAX_LENGTH,
        **({rope.PARAMETER: rope.LONG} if to == LONG else {}),
    }
