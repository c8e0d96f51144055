"""Lets a GGUF file answer in llama.cpp itself: a small environment of its own with a prebuilt one (xllamacpp)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from phi4_edge.artifacts.convert import environment
from phi4_edge.artifacts.convert.environment import Converter
from phi4_edge.artifacts.convert.worker import run_worker
from phi4_edge.artifacts.store.store import Store
from phi4_edge.errors import ArtifactError
from phi4_edge.progress import Event, Progress, silent

# Measured: 106 MB installed and 34 MB of wheel.
_WANTED = environment.Locked(
    "prover", Path(__file__).with_name("prover.lock"), 300_000_000, "llama.cpp", ("xllamacpp",)
)
_ANSWER = '{"proof": '


def name() -> str:
    """Folder name of the environment for this lock, this Python and this machine."""
    return _WANTED.name


def ensure(store: Store, progress: Progress = silent) -> Converter:
    """The prover's environment, made now when it is not there yet. Raises ArtifactError when that is not possible."""
    return environment.locked(store, _WANTED, progress)


def prove(prover: Converter, model: Path, work: Path, target: str, progress: Progress) -> None:
    """Load the GGUF file `model` and let it answer two prompts. Raises ArtifactError when it does not."""
    progress(Event(target, "generating a first answer"))
    answers: list[dict[str, Any]] = []

    def seen(line: str) -> None:
        if line.startswith(_ANSWER):
            answers.append(json.loads(line)["proof"])

    failed = f"{target} does not generate in llama.cpp, so it was thrown away"
    ended = run_worker(prover, "prove_gguf", {"model": str(model)}, work, failed, seen)
    if not answers:
        raise ArtifactError(f"{failed}:\n{ended.last_words()}")
    progress(Event(target, "answered", f"{answers[-1]['tokens']} tokens in {answers[-1]['seconds']} s"))
