"""One converter environment and one tiny model per session, or those of PHI4_EDGE_STORE."""

from __future__ import annotations

import os

import pytest

from phi4_edge.artifacts.convert import environment, tiny
from phi4_edge.artifacts.convert.environment import Converter
from phi4_edge.artifacts.store.store import Store, default_root
from phi4_edge.data import load_catalog


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store that holds the tiny checkpoint: the one from outside when set, for its environment is minutes of work."""
    chosen = os.environ.get("PHI4_EDGE_STORE")
    store = Store(default_root() if chosen else tmp_path_factory.mktemp("store"))
    tiny.make(store, load_catalog(), to="safetensors")
    return store


@pytest.fixture(scope="session")
def shared(checkpoint: Store) -> Store:
    """The same, with the model that is converted from it."""
    tiny.make(checkpoint, load_catalog())
    return checkpoint


@pytest.fixture(scope="session")
def converter(checkpoint: Store) -> Converter:
    return environment.ensure(checkpoint)
