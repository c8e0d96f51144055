"""Weights as onnxruntime's kernels read them, in a file: memory that the kernel may take back.

Left to itself onnxruntime packs every matrix as it loads, into memory that stays taken. What it has packed can lie in a
file beside the graph, and is mapped then. It fits one model, one version of onnxruntime and the instructions of one
CPU: the name of its folder says them, and the scores of a prompt, kept with it, are computed anew at each start.

    python -m phi4_engine.repacked MODEL FOLDER THREADS

makes it in FOLDER. The last line that it prints is JSON: {"path": its name there, "bytes": what it takes, "reason": why
it was not made, where memory or disk are short and it is not there already}.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phi4_engine import modeldir
from phi4_engine.errors import ConfigurationError
from phi4_engine.loop.session import VERSION, Session
from phi4_engine.modeldir import ModelFiles
from phi4_engine.settings import Settings

log = logging.getLogger("phi4_engine")

FORMAT = "phi4-edge/repacked/1"
GRAPH, WEIGHTS, NOTE = "model.onnx", "weights.bin", "repacked.json"
PROMPT = tuple(range(5, 21))
"""Any tokens that every model has."""
_BYTES_WISE = 1 << 22
_MOST_NOTE = 1 << 16
_SCORES = 64
"""So many scores of the prompt are kept, of tokens all over the vocabulary."""
MEMORY, DISK, SPARE = 1.5, 2.8, 256 << 20
"""Shares of the model's size, measured with Phi-4-mini's width: what packing takes of memory, and what it writes."""
_CLOSE = 1e-3
"""The same weights by another kernel differ by less; other weights by more."""


def place(folder: Path, files: ModelFiles) -> Path:
    """Where the weights of this model for this machine lie in `folder`, or would. Raises OSError."""
    return folder / f"{_model(files)}-{_processor()}-{VERSION}"


def found(folder: Path, files: ModelFiles) -> Path | None:
    """The graph that reads them, or None where they are not there as they were made. Its scores are to be checked."""
    try:
        there = place(folder, files)
        sizes = _note(there)["sizes"]
        whole = all((there / name).stat().st_size == sizes[name] for name in (GRAPH, WEIGHTS))
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return there / GRAPH if whole else None


def is_right(graph: Path, read: Callable[[NDArray[np.int32]], NDArray[Any]]) -> bool:
    """Whether `read`, which gives the scores after a prompt, gives those that the model itself gave."""
    try:
        kept = np.array(_note(graph.parent)["scores"], np.float32)
    except (OSError, ValueError, LookupError, TypeError):
        return False
    now = _sample(read(np.array(PROMPT, np.int32)))
    return kept.shape == now.shape and bool(np.allclose(kept, now, rtol=_CLOSE, atol=_CLOSE))


def session(files: ModelFiles, chosen: Settings) -> Session:
    """The model: out of repacked weights where they are there and right, else out of its own. Raises as it does."""
    load = partial(Session, files, rows=chosen.parallel, capacity=chosen.context_length, threads=chosen.threads)
    graph = found(chosen.repacked, files) if chosen.repacked else None
    packed = _proven(graph, load) if graph else None
    return packed or load()


def _proven(graph: Path, load: Callable[..., Session]) -> Session | None:
    try:
        packed = load(graph=graph)
        if is_right(graph, lambda tokens: packed.read(0, 0, tokens)):
            return packed
        why = "its scores are not those of the model"
    except (RuntimeError, ConfigurationError) as error:
        why = " ".join(str(error).split())[:500]
    log.warning("%s is not used, the model is: %s", graph.parent, why)
    return None


def make(files: ModelFiles, folder: Path, threads: int) -> Path:
    """The folder of the weights for this machine, made now where it is not there; others of the model are gone.

    It takes as much memory as loading the model does. Raises OSError, RuntimeError and ConfigurationError.
    """
    there = place(folder, files)
    if found(folder, files) is None:
        fresh = folder / f".{there.name}.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        loaded = Session(files, rows=1, capacity=len(PROMPT) + 1, threads=threads, keep=(fresh / GRAPH, WEIGHTS))
        scores = _sample(loaded.read(0, 0, np.array(PROMPT, np.int32)))
        if not np.isfinite(scores).all():
            raise RuntimeError("the model computes scores that are not finite numbers: its weights are damaged")
        note = {
            "format": FORMAT,
            "sizes": {name: (fresh / name).stat().st_size for name in (GRAPH, WEIGHTS)},
            "scores": [float(score) for score in scores],
        }
        _write(fresh / NOTE, json.dumps(note).encode())
        for path in fresh.iterdir():
            path.chmod(0o644)
        fresh.chmod(0o755)
        os.sync()
        shutil.rmtree(there, ignore_errors=True)
        fresh.rename(there)
    for other in folder.iterdir():
        if other != there and other.name.lstrip(".").startswith(f"{_model(files)}-"):
            shutil.rmtree(other, ignore_errors=True)
    return there


def _note(there: Path) -> dict[str, Any]:
    with (there / NOTE).open("rb") as file:
        note = json.loads(file.read(_MOST_NOTE))
    if not isinstance(note, dict) or note.get("format") != FORMAT:
        raise ValueError("not a note of ours")
    return note


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sample(scores: NDArray[Any]) -> NDArray[np.float32]:
    every = max(1, len(scores) // _SCORES)
    sampled: NDArray[np.float32] = scores[::every][:_SCORES].astype(np.float32)
    return sampled


def _model(files: ModelFiles) -> str:
    """The digest by which the host has the model, else one of its graph and of what its weights' file looks like."""
    name = files.directory.resolve().name
    if re.fullmatch(r"[0-9a-f]{64}", name):
        return name[:32]
    made = hashlib.sha256()
    with files.graph.open("rb") as file:
        while block := file.read(_BYTES_WISE):
            made.update(block)
    with contextlib.suppress(FileNotFoundError):
        beside = files.graph.with_name(f"{files.graph.name}.data").stat()
        made.update(f"{beside.st_size} {beside.st_mtime_ns} {beside.st_ino}".encode())
    return made.hexdigest()[:32]


def _processor() -> str:
    """What kernels are chosen by: architecture, instructions, and on ARM the kind of core."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    wanted = ("flags", "features", "cpu implementer", "cpu part", "cpu variant")
    told = {line for line in map(str.strip, lines) if line.partition(":")[0].strip().lower() in wanted}
    return hashlib.sha256("\n".join([platform.machine(), *sorted(told)]).encode()).hexdigest()[:16]


def lacking(files: ModelFiles, folder: Path) -> str:
    """What is missing to make it in `folder`, which is there; "" where nothing is."""
    size = _size(files.directory)
    memory, disk = int(size * MEMORY) + SPARE, int(size * DISK) + SPARE
    available, free = memory_available(), shutil.disk_usage(folder).free
    if available < memory:
        return f"found {available} bytes of memory available, needed {memory} while the weights are packed"
    if free < disk:
        return f"found {free} bytes of disk free at {folder}, needed {disk}"
    return ""


def memory_available() -> int:
    """Bytes that programs may still take; 0 where the system does not say."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    return 0


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def main(model: str, folder: str, threads: str) -> int:
    """Exit status 0 where it is there now, or was told why it is not."""
    files, where = modeldir.inspect(Path(model)), Path(folder)
    reason = lacking(files, where) if found(where, files) is None else ""
    told: dict[str, object] = {"path": "", "bytes": 0, "reason": reason}
    if not reason:
        there = make(files, where, int(threads))
        told |= {"path": there.name, "bytes": _size(there)}
    sys.stdout.write(json.dumps(told) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
