"""Pruning beside a run that fetches images, and what a later run does without them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from phi4_edge.artifacts.images import delivery
from phi4_edge.artifacts.images.held import Held
from phi4_edge.artifacts.store.images import Images
from phi4_edge.artifacts.store.store import Store
from phi4_edge.data import load_catalog
from phi4_edge.progress import Progress, silent
from tests.unit.artifacts.images.standin_registry import StandinRegistry, planned, serving
from tests.unit.artifacts.sample import prune

LAYERS = [{"etc/base": b"below"}, {"srv/more": b"more" * 10_000}]
REPO = "site/thing"


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StandinRegistry]:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    with serving() as standin:
        yield standin


def ensure(store: Store, registry: StandinRegistry, progress: Progress = silent) -> Held:
    return delivery.ensure(store, load_catalog(), planned(REPO), registry.host, progress)


def test_neither_what_is_fetched_nor_what_was_can_be_pruned_while_the_run_lives(
    tmp_path: Path, registry: StandinRegistry
) -> None:
    store = Store(tmp_path)
    registry.add(REPO, "1.0", LAYERS)
    tried: list[str] = []
    held = ensure(store, registry, lambda event: tried.extend(prune(store, "download")))
    assert tried and set(tried) == {"another process uses it"}
    assert prune(store, "image") == ["another process uses it"]
    assert Images(store).damage(held.digest) == ()


def test_a_pruned_image_stays_pinned_and_is_fetched_again(registry: StandinRegistry, tmp_path: Path) -> None:
    digests = registry.add(REPO, "1.0", LAYERS)
    ensure(Store(tmp_path), registry)
    assert prune(Store(tmp_path), "image") == [""]
    registry.add(REPO, "1.0", [{"other": b"content"}])  # the tag is moved
    store = Store(tmp_path)
    assert Images(store).digests() == {f"{REPO}:1.0/amd64": digests["amd64"]}
    held = ensure(store, registry)
    assert (held.digest, held.made) == (digests["amd64"], True)
    assert Images(store).damage(held.digest) == ()
