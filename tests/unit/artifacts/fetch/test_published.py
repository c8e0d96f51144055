"""Fetching a published export from the stand-in hub: the files that the catalog pins, and nothing else."""

from __future__ import annotations

import pytest

from phi4_edge.artifacts.fetch.model import PUBLISHED, fetch
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core.catalog.model import Catalog
from phi4_edge.errors import ArtifactError
from phi4_edge.progress import Event
from tests.unit.artifacts.fetch.standin_hub import COMMIT, REPO, StandinHub
from tests.unit.artifacts.sample import catalog_publishing

FOLDER = "cpu/int4"
FILES = {
    "model.onnx": b"graph" * 100_000,
    "model.onnx.data": bytes(range(256)) * 100_000,
    "genai_config.json": b"{}",
    "tokenizer.json": b'{"model": {}}',
    "tokenizer_config.json": b"{ }",
}
BESIDE = {f"{FOLDER}/evil.py": b"raise SystemExit", f"{FOLDER}/vocab.json": b"{}", "config.json": b"{}"}
ARTIFACT = f"sample/{PUBLISHED}"


@pytest.fixture
def files() -> dict[str, bytes]:
    return {**{f"{FOLDER}/{name}": content for name, content in FILES.items()}, **BESIDE}


@pytest.fixture
def catalog() -> Catalog:
    return catalog_publishing(FILES)


def get(store: Store, catalog: Catalog, seen: list[Event] | None = None) -> str:
    return fetch(store, catalog, "sample", (seen or []).append, PUBLISHED)


def test_the_pinned_files_arrive_and_nothing_else(store: Store, hub: StandinHub, catalog: Catalog) -> None:
    events: list[Event] = [Event("x", "x")]
    digest = get(store, catalog, events)
    found = store.verify(ARTIFACT)
    assert {entry.path: entry.size for entry in found.files} == {name: len(data) for name, data in FILES.items()}
    assert found.source == {"kind": "huggingface", "repo": REPO, "revision": COMMIT, "path": FOLDER}
    assert found.digest == digest
    assert not any((store.root / "partial").iterdir())
    assert events[-1].done == events[-1].total == sum(map(len, FILES.values()))
    assert not [asked for asked in hub.requests if asked.endswith(tuple(f"{COMMIT}/{name}" for name in BESIDE))]
    # The catalog says it all: a mirror needs to serve files only.
    assert not [asked for asked in hub.requests if "/api/" in asked]


def test_what_is_there_is_not_fetched_again(store: Store, hub: StandinHub, catalog: Catalog) -> None:
    digest = get(store, catalog)
    hub.requests.clear()
    assert get(store, catalog) == digest
    assert hub.requests == []


def test_a_broken_connection_is_resumed_at_the_last_byte(store: Store, hub: StandinHub, catalog: Catalog) -> None:
    hub.cut_after = [100, 500_000, 15_000_000]  # the first two have no more
    get(store, catalog)
    assert any(asked.startswith("bytes=") and asked != "bytes=0-" for asked in hub.ranges)
    assert store.damage(ARTIFACT) == ()


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_other_content_is_thrown_away(name: str, store: Store, hub: StandinHub, catalog: Catalog) -> None:
    hub.tampered[f"{FOLDER}/{name}"] = bytes(reversed(FILES[name]))
    with pytest.raises(ArtifactError, match=rf"{name} of .*found .*needed .*thrown away"):
        get(store, catalog)
    assert store.index() == {}
    hub.tampered.clear()
    get(store, catalog)
    assert store.damage(ARTIFACT) == ()


def test_a_hub_whose_revision_holds_something_else_does_not_matter(
    store: Store, hub: StandinHub, catalog: Catalog
) -> None:
    hub.files[f"{FOLDER}/genai_config.json"] = b"[]"
    with pytest.raises(ArtifactError, match=r"genai_config\.json of .*: found .*needed .*thrown away"):
        get(store, catalog)


def test_a_revision_without_a_file_is_refused(store: Store, hub: StandinHub, catalog: Catalog) -> None:
    del hub.files[f"{FOLDER}/model.onnx"]
    with pytest.raises(ArtifactError, match="answered 404"):
        get(store, catalog)
    assert store.index() == {}


def test_a_stopped_fetch_is_removed_with_its_own_name(store: Store, hub: StandinHub, catalog: Catalog) -> None:
    del hub.files[f"{FOLDER}/model.onnx.data"]
    with pytest.raises(ArtifactError):
        get(store, catalog)
    with pytest.raises(ArtifactError, match="is not in"):
        store.remove("sample/safetensors")
    assert store.remove(ARTIFACT) > 500_000
    assert not any((store.root / "partial").iterdir())


def test_an_unknown_variant_names_those_that_there_are(store: Store, hub: StandinHub, catalog: Catalog) -> None:
    with pytest.raises(ArtifactError, match="to fetch of sample: safetensors, safetensors-int4, onnx-published"):
        fetch(store, catalog, "sample", variant="onnx-int4")
    assert hub.requests == []
