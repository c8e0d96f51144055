"""One server for the tests that only ask, and one of its own for a test that wants settings."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.unit.standins.ollama import Ollama, started


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
    one = started(
        tmp_path_factory.mktemp("ollama"),
        OLLAMA_CONTEXT_LENGTH="256", OLLAMA_KEEP_ALIVE="-1", OLLAMA_GO_TEMPLATE="1", OLLAMA_MAX_LOADED_MODELS="1",
    )  # fmt: skip
    one.create("tiny", template="{{ if .Tools }}{{ .Tools }}{{ end }}{{ range .Messages }}{{ .Content }}{{ end }}")
    one.create("plain", template="{{ range .Messages }}{{ .Content }}{{ end }}", system="Be brief.")
    yield one
    one.process.terminate()
    one.process.wait(10)


@pytest.fixture
def memory_limit() -> Iterator[Callable[[int, int], None]]:
    """Puts a process, and those that it starts from then on, under a limit of memory while the test lasts."""
    root = Path("/sys/fs/cgroup")
    name = f"phi4-edge-test-{os.getpid()}"
    folder, limit = root / name, "memory.max"
    if (root / "memory").is_dir():
        folder, limit = root / "memory" / name, "memory.limit_in_bytes"
    try:
        folder.mkdir()
        assert (folder / limit).exists(), folder
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")

    def hold(process: int, size: int) -> None:
        (folder / limit).write_text(str(size))
        (folder / "cgroup.procs").write_text(str(process))

    yield hold
    for line in (folder / "cgroup.procs").read_text().split():
        with suppress(OSError):
            (folder.parent / "cgroup.procs").write_text(line)
    for _ in range(50):
        with suppress(OSError):
            folder.rmdir()
            return
        time.sleep(0.1)
