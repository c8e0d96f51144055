"""The stand-in's release and image go the ways of the real ones: through the store, and as an image registry has it."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest
import requests

from phi4_edge.artifacts.fetch import ollama
from phi4_edge.artifacts.store.store import Store
from phi4_edge.data import load_catalog
from tests.standins import ollama_server
from tests.unit.standins.ollama import ollama_release

NAME = f"ollama/{load_catalog().engines['ollama'].version}-x86_64"


@pytest.mark.parametrize("flavour", ["cpu", "cuda"])
def test_the_archive_becomes_an_artifact(flavour: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "store")
    with ollama_server.release() as settings:
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        digest = ollama.ensure(store, load_catalog(), f"{NAME}-{flavour}")
    tree = store.root / "artifacts" / digest
    assert (tree / "bin" / "ollama").stat().st_mode & 0o777 == 0o755
    assert (tree / "lib" / "ollama" / "llama-quantize").stat().st_mode & 0o111
    assert (tree / "lib" / "ollama" / "libggml-base.so").read_bytes() == ollama_release.LIBRARIES[
        "libggml-base.so.0.0.0"
    ]
    assert (tree / "lib" / "ollama" / "cuda_v12").is_dir() is (flavour == "cuda")
    assert not (tree / "lib" / "ollama" / "vulkan").exists()


def test_it_is_the_same_each_time() -> None:
    assert ollama_release.archive() == ollama_release.archive()


def test_the_image_is_whole_and_has_no_curl(tmp_path: Path) -> None:
    name = ollama_release.image(tmp_path / "image.tar")
    with tarfile.open(tmp_path / "image.tar") as archive:
        listed = json.load(archive.extractfile("manifest.json"))[0]  # type: ignore[arg-type]
        config = archive.extractfile(listed["Config"]).read()  # type: ignore[union-attr]
        layers = [archive.extractfile(layer).read() for layer in listed["Layers"]]  # type: ignore[union-attr]
    assert "sha256:" + hashlib.sha256(config).hexdigest() == name
    ids = ["sha256:" + hashlib.sha256(layer).hexdigest() for layer in layers]
    assert json.loads(config)["rootfs"]["diff_ids"] == ids
    with tarfile.open(fileobj=io.BytesIO(layers[0])) as base:
        names = set(base.getnames())
    assert not {name for name in names if name.endswith(("/curl", "/wget", "/sh", "/bash"))}
    assert "usr/bin/python3" in names


def test_a_registry_serves_what_its_manifest_names() -> None:
    with ollama_server.registry() as address:
        answer = requests.get(f"http://{address}/v2/ollama/ollama/manifests/0.35.0", timeout=10)
        assert answer.headers["Docker-Content-Digest"] == "sha256:" + hashlib.sha256(answer.content).hexdigest()
        for layer in [answer.json()["config"], *answer.json()["layers"]]:
            blob = requests.get(f"http://{address}/v2/ollama/ollama/blobs/{layer['digest']}", timeout=10).content
            assert "sha256:" + hashlib.sha256(blob).hexdigest() == layer["digest"]
        assert requests.head(f"http://{address}/v2/ollama/ollama/blobs/sha256:0", timeout=10).status_code == 404
