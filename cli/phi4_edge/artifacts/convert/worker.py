"""Runs what converts and proves, in an environment of its own, and says why it failed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from phi4_edge.artifacts.convert import process
from phi4_edge.artifacts.convert.environment import Converter
from phi4_edge.artifacts.store.manifest import Manifest
from phi4_edge.errors import ArtifactError

# The artifact that everything is converted from.
SOURCE = "safetensors"


def parameter_count(source: Manifest) -> int:
    """Number of parameters of a bf16 checkpoint: two bytes each."""
    weights = sum(entry.size for entry in source.files if entry.path.endswith(".safetensors"))
    if not weights:
        raise ArtifactError(f"{source.artifact} holds no .safetensors file, there is nothing to convert")
    return weights // 2


def environment(work: Path) -> dict[str, str]:
    """The workers' environment: offline, no telemetry, and no configuration or token of the user's."""
    return process.environment(
        HF_HUB_OFFLINE="1",
        TRANSFORMERS_OFFLINE="1",
        HF_HUB_DISABLE_TELEMETRY="1",
        DO_NOT_TRACK="1",
        ORT_DISABLE_TELEMETRY="1",
        HF_HOME=str(work / "hub"),
        HOME=str(work),
        TMPDIR=str(work),
        # The builder writes a commit into the model that git tells: that of whatever checkout the store lies in.
        GIT_DIR=os.devnull,
    )


def run_worker(
    converter: Converter,
    worker: str,
    arguments: dict[str, object],
    work: Path,
    failed: str,
    seen: Callable[[str], None],
) -> process.Ended:
    """Run `worker` in the converter environment. Raises ArtifactError, starting with `failed`, when it fails."""

    def on_line(line: str) -> bool:
        seen(line)
        return False

    ended = process.run(converter.command(worker, arguments), environment(work), on_line, cwd=work)
    if ended.status == -9:
        raise ArtifactError(f"{failed}: it was killed, most often because memory ran out. Free memory and try again.")
    if ended.status != 0:
        raise ArtifactError(f"{failed} (status {ended.status}):\n{ended.last_words()}")
    return ended
