"""What tests of Ollama's library share: a registry with a model of it, and a llama.cpp that takes nonsense."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from phi4_edge.artifacts.convert import library, prover
from phi4_edge.artifacts.convert.environment import Converter
from phi4_edge.artifacts.store.store import Store
from tests.unit.artifacts.convert.published_gguf import content, publish
from tests.unit.artifacts.images.standin_registry import StandinRegistry, serving


@pytest.fixture
def proved(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What was to answer in llama.cpp: a stand-in for it, which takes what makes no sense."""
    seen: list[bytes] = []
    monkeypatch.setattr(prover, "ensure", lambda store, progress: Converter(Path("python"), {"xllamacpp": "1"}))
    monkeypatch.setattr(prover, "prove", lambda tester, path, *_: seen.append(path.read_bytes()))
    return seen


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, proved: list[bytes]) -> Iterator[StandinRegistry]:
    monkeypatch.setattr("phi4_edge.artifacts.fetch.http.PAUSES", (0.0, 0.0))
    monkeypatch.setattr("phi4_edge.artifacts.fetch.http._BLOCK", 1000)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.delenv(library.MIRROR, raising=False)
    with serving() as standin:
        publish(standin, content())
        yield standin


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")
