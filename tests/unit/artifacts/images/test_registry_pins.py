"""What a tag was pinned to, when nobody has it any more, and indexes that are none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.artifacts.images import delivery
from phi4_edge.artifacts.images.registry import OCI_INDEX
from phi4_edge.artifacts.store.images import Images
from phi4_edge.artifacts.store.store import Store
from phi4_edge.data import load_catalog
from phi4_edge.errors import ArtifactError
from tests.unit.artifacts.images.standin_registry import StandinRegistry, planned, serving

CATALOG = load_catalog()
REPO = "site/thing"
KEY = f"{REPO}:1.0/amd64"


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StandinRegistry]:
    monkeypatch.setattr("phi4_edge.artifacts.fetch.http.PAUSES", (0.0, 0.0))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    with serving() as standin:
        yield standin


def test_a_pin_that_no_registry_has_names_the_way_out(tmp_path: Path, registry: StandinRegistry) -> None:
    store = Store(tmp_path / "store")
    registry.add(REPO, "1.0", [{"of": b"a mirror that was wrong"}])
    wrong = delivery.pin(store, CATALOG, planned(REPO), registry.host).digest
    registry.documents.clear()
    right = registry.add(REPO, "1.0", [{"of": b"the site"}])["amd64"]
    with pytest.raises(ArtifactError, match=rf"has no .*{wrong[:33]}.*'phi4-edge model remove {KEY}' forgets the pin"):
        delivery.ensure(store, CATALOG, planned(REPO), registry.host)
    Images(store).remove(KEY)
    assert delivery.ensure(store, CATALOG, planned(REPO), registry.host).digest == right
    with pytest.raises(ArtifactError, match="has no ") as caught:  # a tag that is not there is no matter of a pin
        delivery.ensure(store, CATALOG, planned(REPO, tag="2.0"), registry.host)
    assert "pin" not in str(caught.value)


@pytest.mark.parametrize("listed", [None, 5, ["x"], [{"digest": 1, "platform": ["linux"]}], [{"platform": "linux"}]])
def test_an_index_that_lists_no_images_is_refused(tmp_path: Path, registry: StandinRegistry, listed: Any) -> None:
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed}).encode()
    registry.put(REPO, "1.0", OCI_INDEX, raw)
    with pytest.raises(ArtifactError, match="no image for linux/amd64; it has none"):
        delivery.ensure(Store(tmp_path / "store"), CATALOG, planned(REPO), registry.host)


def test_a_document_that_nests_without_end_is_no_manifest(tmp_path: Path, registry: StandinRegistry) -> None:
    registry.put(REPO, "1.0", OCI_INDEX, b"[" * 200_000)
    with pytest.raises(ArtifactError, match="does not answer as a registry does"):
        delivery.ensure(Store(tmp_path / "store"), CATALOG, planned(REPO), registry.host)
