"""Ollama's layout of a model in docker-registry itself: its manifest, media types, ranges and digests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from phi4_edge.artifacts.convert import library, prover
from phi4_edge.artifacts.convert.environment import Converter
from phi4_edge.artifacts.images.registry import DOCKER_MANIFEST
from phi4_edge.artifacts.store.store import Store
from tests.standins import real_registry
from tests.unit.artifacts.convert.published_gguf import REPOSITORY, TAG, VARIANT, catalog, content, publish
from tests.unit.artifacts.images.standin_registry import serving


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    if not real_registry.PROGRAM:
        pytest.skip("docker-registry is not here; .ci/host-setup installs it")
    with real_registry.serving(tmp_path) as where:
        yield where


def test_a_model_is_fetched_from_a_real_registry_and_resumed_there(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prover, "ensure", lambda store, progress: Converter(Path("python"), {"xllamacpp": "1"}))
    monkeypatch.setattr(prover, "prove", lambda *_: None)
    raw = content()
    with serving() as standin:
        publish(standin, raw)
        document = standin.documents[f"{REPOSITORY}@{TAG}"][1]
        real_registry.upload(address, REPOSITORY, TAG, DOCKER_MANIFEST, document, [*standin.blobs.values(), b"{}"])
    store = Store(tmp_path / "store")
    part = store.root / "partial" / f"sample-{VARIANT}" / "model.gguf.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(raw[:1234])
    digest = library.fetch(store, catalog(address, raw), "sample", VARIANT)
    assert (store.path(digest) / "model.gguf").read_bytes() == raw
    assert store.damage(f"sample/{VARIANT}") == ()
