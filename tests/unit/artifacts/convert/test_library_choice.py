"""When a model comes from Ollama's library, when its checkpoint is converted, and what is said of it."""

from __future__ import annotations

import pytest

from phi4_edge import content as ours
from phi4_edge.artifacts import delivery
from phi4_edge.artifacts.convert import library, targets
from phi4_edge.artifacts.fetch import model as fetch_model
from phi4_edge.artifacts.store import manifest
from phi4_edge.artifacts.store.manifest import Manifest
from phi4_edge.artifacts.store.store import Store
from phi4_edge.data import load_catalog
from phi4_edge.errors import ArtifactError
from phi4_edge.progress import Event
from tests.unit.artifacts.convert.published_gguf import VARIANT, catalog, content, publish
from tests.unit.artifacts.images.standin_registry import StandinRegistry
from tests.unit.artifacts.sample import put

ARTIFACT = f"sample/{VARIANT}"
RAW = content()


def checkpoint(store: Store, kind: str) -> None:
    with store.workspace("test") as work:
        (work / "output").mkdir()
        (work / "output" / "model.safetensors").write_bytes(b"x")
        files = manifest.describe(work / "output")
        store.adopt(work / "output", Manifest("sample/safetensors", files, "MIT", {"kind": kind}))


def test_the_library_comes_first_where_it_has_a_file_unless_a_checkpoint_was_imported(
    store: Store, registry: StandinRegistry
) -> None:
    known = catalog(registry.host, RAW)
    assert targets.source_of(store, known, "sample", VARIANT) == "library"
    assert targets.source_of(store, known, "sample", "gguf-q4_0") == "safetensors"
    assert targets.source_of(store, known, "tiny", VARIANT) == "safetensors"
    assert targets.source_of(store, known, "tiny", "gguf-q4_0") == "package"
    checkpoint(store, "huggingface")
    assert targets.source_of(store, known, "sample", VARIANT) == "library"
    checkpoint(store, "import")
    assert targets.source_of(store, known, "sample", VARIANT) == "safetensors"
    shipped = load_catalog()
    chosen = {to: targets.source_of(store, shipped, "phi-4-mini-instruct", to) for to in targets.targets(shipped)}
    assert {to for to, source in chosen.items() if source == "library"} == {"gguf-q4_K_M", "gguf-q8_0"}


def test_a_source_that_a_target_has_not(store: Store, registry: StandinRegistry) -> None:
    known = catalog(registry.host, RAW)
    with pytest.raises(ArtifactError, match=r"sample/gguf-q4_0 is not made of 'library', needed safetensors$"):
        targets.convert(store, known, "sample", "gguf-q4_0", source="library")
    with pytest.raises(ArtifactError, match="is not made of 'hub', needed safetensors or library"):
        targets.convert(store, known, "sample", VARIANT, source="hub")
    with pytest.raises(ArtifactError, match="sample/safetensors is not in"):
        targets.convert(store, known, "sample", VARIANT, source="safetensors")
    assert targets.convert(store, known, "sample", VARIANT) == store.digest(ARTIFACT)


def test_a_run_converts_where_the_library_has_nothing_to_give_and_says_why(
    store: Store, registry: StandinRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.documents.clear()
    done: list[tuple[object, ...]] = []
    monkeypatch.setattr(
        fetch_model, "fetch", lambda store, catalog, model, progress, variant: done.append(("fetch", model))
    )
    monkeypatch.setattr(targets, "convert", lambda *given: done.append(("convert", *given[2:4], given[5])))
    events: list[Event] = []
    known = catalog(registry.host, RAW)
    assert delivery._make(store, known, ARTIFACT, events.append) == ["sample/safetensors", ARTIFACT]
    assert done == [("fetch", "sample"), ("convert", "sample", VARIANT, "safetensors")]
    assert any(event.step == "converting instead" and "has no" in event.detail for event in events)
    publish(registry, RAW)
    assert delivery._make(store, known, ARTIFACT, events.append) == [ARTIFACT]
    assert len(done) == 2
    # Somebody changed the file: that is not passed over.
    with pytest.raises(ArtifactError, match="this release has pinned"):
        delivery._make(Store(store.root / "b"), catalog(registry.host, RAW, "0" * 12), ARTIFACT, events.append)


def test_what_failed_first_is_told_where_converting_fails_too(store: Store, registry: StandinRegistry) -> None:
    registry.documents.clear()
    put(store, "sample/safetensors", {"config.json": b"{}"})
    with pytest.raises(ArtifactError, match=r"(?s)holds no \.safetensors.*Ollama's library was asked first: .* has no"):
        delivery._make(store, catalog(registry.host, RAW), ARTIFACT, lambda event: None)


def test_what_was_converted_before_is_served_on_until_it_is_fetched_by_name(
    store: Store, registry: StandinRegistry
) -> None:
    digest, known, made = put(store, ARTIFACT, {"model.gguf": b"converted"}), catalog(registry.host, RAW), list[str]()
    sources = delivery.Sources(known, ours)
    assert delivery._artifact(store, sources, ARTIFACT, None, lambda event: None, made) == digest
    assert made == registry.seen == []
    assert library.fetch(store, known, "sample", VARIANT) != digest
