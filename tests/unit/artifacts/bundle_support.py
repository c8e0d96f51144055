"""A store with one thing of each kind, and plans that need them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from artifact_support import put
from release_support import CPU

from phi4_edge.artifacts import files, manifest
from phi4_edge.artifacts.manifest import Manifest
from phi4_edge.artifacts.store import Store
from phi4_edge.artifacts.store_images import Images

from test_artifact_wheelhouse import ID, wheel  # isort: skip

MODEL, KEY = "tiny/gguf-q4_0", "docker.io/ollama/ollama:0.35.0/amd64"


class Content:
    """Our own files, of which only the digest matters here."""

    def roles(self) -> Path:
        raise AssertionError("nothing is built from a bundle")

    def runtimes(self) -> dict[str, str]:
        return {"onnx": "a" * 64, "ollama": "b" * 64}


def filled(root: Path) -> Store:
    """A model, a release, a wheelhouse and two images that share a layer."""
    store = Store(root)
    put(store, MODEL, {"model.gguf": b"GGUF" * 700})
    with store.workspace("release") as work:
        (work / "tree" / "bin").mkdir(parents=True)
        (work / "tree" / "bin" / "ollama").write_bytes(b"program")
        (work / "tree" / "bin" / "ollama").chmod(0o755)
        (work / "tree" / "link").symlink_to("bin/ollama")
        entries, links = manifest.describe_tree(work / "tree")
        source = {"kind": "release", "url": "https://github.com/ollama/ollama/releases/download/v0.35.0",
                  "assets": {"ollama-linux-amd64.tar.zst": "c" * 64}}  # fmt: skip
        parameters = {"version": "0.35.0", "flavour": "cpu"}
        store.adopt(work / "tree", Manifest(CPU, entries, "MIT", source, {}, parameters, links))
    folder = store.root / "wheelhouses" / ID
    folder.mkdir(parents=True)
    wheel(folder, "cp313-cp313-manylinux_2_28_x86_64")
    held = Manifest("wheelhouse/cp313-x86_64", manifest.describe(folder), "see each wheel")
    files.write_json(folder / manifest.NAME, held.to_dict())
    image(store, KEY, b"configuration one")
    image(store, "ghcr.io/open-webui/open-webui:v1/amd64", b"configuration two")
    return store


def image(store: Store, key: str, config: bytes, other: bytes = b"") -> str:
    """Adopt an image of `config` and one layer; its digest. With `other` it is another image of this name."""
    layer, raw = b"layer" * 300, json.dumps({"of": key}).encode() + other
    shelf = Images(store)
    digest = hashlib.sha256(raw).hexdigest()
    with store.workspace("image") as work:
        blobs = work / "layout" / "blobs" / "sha256"
        blobs.mkdir(parents=True)
        for content in (layer, config, raw):
            (blobs / hashlib.sha256(content).hexdigest()).write_bytes(content)
        described = Manifest(f"image/{digest[:40]}", manifest.describe(work / "layout"), "")
        line = {
            "digest": f"sha256:{digest}", "id": f"sha256:{hashlib.sha256(config).hexdigest()}",
            "path": f"images/{digest}", "size": 1, "reference": key.rpartition("/")[0],
        }  # fmt: skip
        shelf.adopt(key, work / "layout", described, line, replace=True)
    return digest


def plan(store: Store, host: str = "gw1", **changes: Any) -> dict[str, Any]:
    """A plan for Ollama under systemd, as far as delivery reads it."""
    digest = store.digests().get(MODEL)
    return {
        "host": host, "fits": True, "engine": "ollama", "service_manager": "systemd",
        "model": {"artifact": MODEL, "digest": digest},
        "runtime": {"artifact": CPU, "digest": store.digests().get(CPU), "id": None, "python": "", "arch": "x86_64"},
        "image": None, "webui": None, "image_delivery": "push", "image_mirror": "",
        **changes,
    }  # fmt: skip


def planned_image(store: Store, key: str = KEY) -> dict[str, Any]:
    name, _, architecture = key.rpartition("/")
    repository, _, tag = name.rpartition(":")
    return {
        "repository": repository, "tag": tag, "architecture": architecture, "key": key,
        "digest": store.image_digests().get(key), "reference": name,
    }  # fmt: skip


def wheels() -> dict[str, Any]:
    return {"artifact": None, "digest": "a" * 64, "id": ID, "python": "3.13", "arch": "x86_64"}


def fleet(store: Store) -> list[dict[str, Any]]:
    """Three hosts: one of each way to run."""
    webui = {"image": planned_image(store, "ghcr.io/open-webui/open-webui:v1/amd64"), "port": 3000, "bind": "127.0.0.1"}
    return [
        plan(store),
        plan(store, "gw2", runtime=None, service_manager="compose", image=planned_image(store), webui=webui),
        plan(store, "gw3", engine="onnx", runtime=wheels()),
    ]
