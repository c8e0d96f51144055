"""One store per session, with the tiny model of random weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from phi4_edge.artifacts.convert import environment
from phi4_edge.artifacts.convert.environment import Converter
from phi4_edge.artifacts.store.store import Store
from tests.convert import random_model


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store that holds the tiny checkpoint of random weights."""
    store = random_model.store_beside(tmp_path_factory.mktemp("random") / "store")
    random_model.make(store, "safetensors")
    return store


@pytest.fixture(scope="session")
def shared(checkpoint: Store) -> Store:
    """The same, with the model that is converted from it."""
    random_model.make(checkpoint)
    return checkpoint


@pytest.fixture(scope="session")
def converter(checkpoint: Store) -> Converter:
    return environment.ensure(checkpoint)


@pytest.fixture
def fresh(shared: Store, tmp_path: Path) -> Store:
    """An empty store with the session's converter environment."""
    root = tmp_path / "fresh"
    root.mkdir()
    random_model.link(shared.root, root)
    return Store(root)
