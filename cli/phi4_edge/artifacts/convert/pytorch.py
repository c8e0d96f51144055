"""PyTorch for the converter: its CPU build, or where none is to be had, the build of the package index, with CUDA."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from phi4_edge.artifacts.convert import process
from phi4_edge.artifacts.store import resources
from phi4_edge.errors import ArtifactError
from phi4_edge.progress import Event, Progress

VERSION = "2.13.0"
# The build that the converter was measured with; its own dependencies are part of the converter's lock.
TORCH = f"torch=={VERSION}+cpu"
# PyTorch's documented index of CPU wheels (pytorch.org, "Get started"); PyPI's own Linux wheels are CUDA builds.
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
TORCH_INDEX_SETTING = "PHI4_EDGE_TORCH_INDEX"
# The same version as the package index has it, with all that it needs.
LOCK = Path(__file__).with_name("pytorch.lock")
# Measured on x86-64 with Python 3.11: wheels (2.74 GB), and what they unpack to. At the peak both took 7.3 GB.
FETCHED, INSTALLED = 2_800_000_000, 4_900_000_000
# Only whether an index answers, and has the build. What it has is fetched with pip's own patience.
_ASKING = ("--timeout", "15", "--retries", "1")
_OFFERED = re.compile(r"Available versions: (.*)")
# What pip says of each attempt to reach an index, and in it the words of the system.
_BROKEN, _WORDS = re.compile(r"connection broken by ['\"]?(.+)"), re.compile(r"\): (.+?)[\"']\)['\"]?: /")

Command = Sequence[str | Path]


def install(pip: Command, options: Command, work: Path, progress: Progress) -> None:
    """Install PyTorch with `pip install` and `options`; pip puts what it fetches into `work`.

    The CPU build is looked for in what pip is configured for, then in PyTorch's own index. An index that was set is the
    only one that is asked. Raises ArtifactError with what each attempt ended with.
    """
    chosen = os.environ.get(TORCH_INDEX_SETTING)
    index = chosen or TORCH_INDEX
    places = {} if chosen else {"pip's own indexes": ()}
    reasons: list[str] = []
    for place, more in {**places, index: ("--extra-index-url", index)}.items():
        progress(Event("converter", f"installing PyTorch from {place}", TORCH))
        reason = _lacks(pip, more) or _refused([*pip, "install", *options, *more, TORCH], process.fetching())
        if not reason:
            return
        reasons.append(f"{place}: {reason}")
        progress(Event("converter", f"no CPU build of PyTorch from {place}:", reason))
    if chosen:
        raise ArtifactError(_failed(reasons))
    _with_cuda([*pip, "install", *options], work, reasons, progress)


def _lacks(pip: Command, more: Command) -> str:
    """Why the CPU build cannot be had with pip's settings and `more`; "" where it can. Told within a minute."""
    ask = [*pip, "index", "versions", "torch", "--only-binary", ":all:", *_ASKING, *more]
    ended = process.run([*ask, "--disable-pip-version-check", "--no-input"], process.fetching())
    offered = next((match[1].split(", ") for line in ended.tail if (match := _OFFERED.search(line))), [])
    if f"{VERSION}+cpu" in offered:
        return ""
    if offered and not _broken(ended):
        return f"found torch {', '.join(offered[:5])}, needed {VERSION}+cpu"
    return _reason(ended)


def _refused(command: Command, env: dict[str, str]) -> str:
    """Why pip could not do it; "" where it did."""
    ended = process.run(command, env)
    return _reason(ended) if ended.status else ""


def _broken(ended: process.Ended) -> str:
    """Why an index was not reached, in the words of the system; "" where each one answered."""
    found = [match[1] for line in ended.tail if (match := _BROKEN.search(line))]
    words = [match[1] for text in found if (match := _WORDS.search(text))]
    return (words or found or [""])[-1]


def _reason(ended: process.Ended) -> str:
    """Why an index was not reached, else the last that pip said."""
    return _broken(ended) or (ended.tail[-1].strip() if ended.tail else f"pip ended with status {ended.status}")


def _with_cuda(command: Command, work: Path, reasons: list[str], progress: Progress) -> None:
    fetched, installed = resources.gigabytes(FETCHED), resources.gigabytes(INSTALLED)
    size = f"{fetched} to fetch, {installed} on the disk, no GPU is used"
    progress(Event("converter", f"installing PyTorch {VERSION} with CUDA instead:", size))
    resources.require_disk(work, FETCHED + INSTALLED, "PyTorch with CUDA, as there is no CPU build,")
    # Neither pip's cache, which may lie on a smaller disk, nor /tmp, which may lie in memory.
    locked: Command = [*command, "--no-cache-dir", "--require-hashes", "-r", LOCK]
    if reason := _refused(locked, process.fetching(TMPDIR=str(work))):
        raise ArtifactError(_failed([*reasons, f"PyTorch {VERSION} with CUDA from pip's own indexes: {reason}"]))


def _failed(reasons: list[str]) -> str:
    listed = "\n".join(f"    {reason}" for reason in reasons)
    return (
        f"pip could not install {TORCH}:\n{listed}\n"
        f"Set {TORCH_INDEX_SETTING} to a package index with PyTorch's CPU builds, or PIP_FIND_LINKS to a folder."
    )
