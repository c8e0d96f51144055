"""One server for the tests that only ask, and one of its own for a test that wants settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ollama_support import Ollama, started


@pytest.fixture
def ollama(tmp_path: Path) -> Iterator[Callable[..., Ollama]]:
    """Starts servers; they end with the test."""
    running: list[Ollama] = []

    def start(**settings: str) -> Ollama:
        running.append(started(tmp_path, **settings))
        return running[-1]

    yield start
    for one in running:
        one.process.terminate()
        assert one.process.wait(10) == 0


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ollama]:
    """A server with the models tiny (with tools) and plain (without)."""
    one = started(tmp_path_factory.mktemp("ollama"), OLLAMA_CONTEXT_LENGTH="256", OLLAMA_KEEP_ALIVE="-1")
    one.create("tiny", template="{{ if .Tools }}{{ .Tools }}{{ end }}{{ range .Messages }}{{ .Content }}{{ end }}")
    one.create("plain", template="{{ range .Messages }}{{ .Content }}{{ end }}", system="Be brief.")
    yield one
    one.process.terminate()
    one.process.wait(10)
