"""Lets an ONNX model answer in onnxruntime-genai, as gateways run it: with nothing else, no PyTorch and no builder."""

from __future__ import annotations

import json
from pathlib import Path

from phi4_edge.artifacts.convert import environment
from phi4_edge.artifacts.convert.environment import Converter
from phi4_edge.artifacts.convert.worker import run_worker
from phi4_edge.artifacts.store.store import Store
from phi4_edge.errors import ArtifactError
from phi4_edge.progress import Event, Progress, silent

_WANTED = environment.Locked(
    "onnxruntime",
    Path(__file__).with_name("onnx_prover.lock"),
    300_000_000,
    "onnxruntime-genai",
    ("onnxruntime", "onnxruntime-genai"),
)


def name() -> str:
    """Folder name of the environment for this lock, this Python and this machine."""
    return _WANTED.name


def ensure(store: Store, progress: Progress = silent) -> Converter:
    """The prover's environment, made now when it is not there yet. Raises ArtifactError when that is not possible."""
    return environment.locked(store, _WANTED, progress)


def prove(prover: Converter, model: Path, work: Path, target: str, progress: Progress) -> None:
    """Let the model in the folder `model` answer two prompts; any environment with onnxruntime-genai will do.

    Raises ArtifactError when it does not.
    """
    progress(Event(target, "generating a first answer"))
    failed = f"{target} was converted but does not generate, so it was thrown away"
    ended = run_worker(prover, "generate", {"model": str(model)}, work, failed, lambda line: None)
    try:
        proof = json.loads(ended.tail[-1])
        progress(Event(target, "answered", f"{proof['tokens']} tokens in {proof['seconds']} s"))
    except (ValueError, LookupError, TypeError) as error:
        raise ArtifactError(f"{failed}:\n{ended.last_words()}") from error
