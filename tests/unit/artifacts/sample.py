"""Builders for the tests of artifacts: a small artifact in a store, a catalog with a model at the stand-in hub."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from phi4_edge.artifacts.store import manifest, stock
from phi4_edge.artifacts.store.manifest import Manifest
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core.catalog.model import Catalog
from phi4_edge.core.catalog.published import Published, PublishedFile
from phi4_edge.data import load_catalog
from tests.unit.artifacts.fetch.standin_hub import COMMIT, REPO, sha256

FILES = {"model.onnx": b"graph " * 400, "genai_config.json": b"{}", "nested/part": b"x" * 999}


def put(store: Store, artifact: str = "tiny/onnx-int4", files: dict[str, bytes] | None = None) -> str:
    """Adopt an artifact made of `files`; its digest."""
    with store.workspace("test") as work:
        folder = work / "output"
        for name, content in (files or FILES).items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return store.adopt(folder, Manifest(artifact, manifest.describe(folder), "Apache-2.0"))


def catalog_with(revision: str = COMMIT, allow: tuple[str, ...] = (), repo: str = REPO) -> Catalog:
    """Our catalog, with a model `sample` that is at the stand-in hub."""
    ours = load_catalog()
    real = ours.models["phi-4-mini-instruct"]
    source = {**real.source, "repo": repo, "revision": revision}
    if allow:
        source["allow"] = list(allow)
    sample = replace(real, id="sample", source=MappingProxyType(source))
    return replace(ours, models=MappingProxyType({**ours.models, "sample": sample}))


def catalog_publishing(files: dict[str, bytes], model: str = "sample", path: str = "cpu/int4") -> Catalog:
    """Our catalog, with an ONNX export of `model` that is `files` in the folder `path` of the stand-in hub."""
    ours = catalog_with()
    pinned = {name: PublishedFile(len(content), sha256(content)) for name, content in files.items()}
    export = replace(ours.models[model], published=Published(REPO, COMMIT, path, MappingProxyType(pinned)))
    return replace(ours, models=MappingProxyType({**ours.models, model: export}))


def leftovers(store: Store) -> list[str]:
    """What lies in the store's tmp folder."""
    tmp = store.root / "tmp"
    return sorted(path.name for path in tmp.iterdir()) if tmp.is_dir() else []


def prune(store: Store, kind: str) -> list[str]:
    """Why each thing of this kind stays when it is to be removed, as another process would; "" where it is gone."""
    other = Store(store.root)
    return [stock.remove(other, item) for item in stock.stock(other) if item.kind == kind]


def run_python(script: str, *arguments: object) -> list[str]:
    """Command line of a Python that runs `script` with our package, as another process would."""
    import sys

    return [sys.executable, "-c", script, *map(str, arguments)]


ROOT = Path(__file__).parents[3]
