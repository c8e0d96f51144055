"""What tests of fetching from the hub share: the stand-in, and an empty store that waits for nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from phi4_edge.artifacts.fetch import http
from phi4_edge.artifacts.store.store import Store
from tests.unit.artifacts.fetch.standin_hub import StandinHub


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub-home"))
    monkeypatch.setattr(http, "PAUSES", (0.0, 0.0))
    return Store(tmp_path / "store")


@pytest.fixture
def hub(files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[StandinHub]:
    """The hub, which has the `files` of the test's own module; nothing may ask it for what a hub does not have."""
    with StandinHub(dict(files)) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running
        assert running.violations == []
