"""The tiny model with random weights, made and converted by the real tools: what the converter is tried on.

It is called like the one that comes with the package, so it never goes into the store that others use.
"""

from __future__ import annotations

import os
from pathlib import Path

from phi4_edge.artifacts.convert import targets, tiny
from phi4_edge.artifacts.convert.worker import SOURCE
from phi4_edge.artifacts.store.store import Store, default_root
from phi4_edge.data import load_catalog
from phi4_edge.progress import Progress, silent


def make(store: Store, to: str = "onnx-int4", progress: Progress = silent) -> str:
    """Have `tiny/<to>` of random weights in the store; return its digest."""
    made = tiny.make_random(store, progress)
    return made if to == SOURCE else targets.convert(store, load_catalog(), tiny.MODEL, to, progress, SOURCE)


def store_beside(folder: Path) -> Store:
    """A store in `folder` with nothing but the environments of PHI4_EDGE_STORE: each of them is minutes of work."""
    folder.mkdir()
    if os.environ.get("PHI4_EDGE_STORE"):
        link(default_root(), folder)
    return Store(folder)


def link(root: Path, folder: Path) -> None:
    """The store in `folder` uses the environments of the one in `root`; who makes one is waited for."""
    for name in ("environments", "locks"):
        (root / name).mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(root / name)
