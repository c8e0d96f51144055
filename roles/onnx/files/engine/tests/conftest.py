"""Fixtures: engines with the fake worker, and with the real one where a model is at hand."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from client import Engine, healthy, python

HERE = Path(__file__).parent
StartEngine = Callable[..., Engine]


@pytest.fixture
def start() -> Iterator[StartEngine]:
    """Starts an engine with the fake worker; keyword arguments are environment variables."""
    engines: list[Engine] = []

    def start_one(**environ: str) -> Engine:
        defaults = {"PHI4_MODEL_DIR": "/nonexistent", "PHI4_CONTEXT_LENGTH": "400", "PHI4_RELEASE": "r-test"}
        engines.append(Engine(python(HERE / "fake_main.py"), defaults | environ))
        return engines[-1]

    yield start_one
    for engine in engines:
        engine.close()
    assert [engine.log for engine in engines if "Traceback" in engine.log] == []


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """One healthy engine with the fake worker for all tests of a module."""
    yield from _serving()


@pytest.fixture(scope="module")
def wide() -> Iterator[Engine]:
    """The same with four rows."""
    yield from _serving(PHI4_PARALLEL="4")


def _serving(**environ: str) -> Iterator[Engine]:
    defaults = {"PHI4_MODEL_DIR": "/nonexistent", "PHI4_CONTEXT_LENGTH": "400", "PHI4_RELEASE": "r-test"}
    running = Engine(python(HERE / "fake_main.py"), defaults | environ)
    try:
        running.wait_for(200)
        yield running
    finally:
        running.close()
    assert "Traceback" not in running.log


@pytest.fixture(scope="session")
def model_dir() -> Path:
    """The tiny model. `make test` makes it and sets the variable."""
    path = os.environ.get("PHI4_TEST_MODEL_DIR", "")
    if not path:
        pytest.skip("PHI4_TEST_MODEL_DIR is not set: NO REAL GENERATION IS TESTED IN THIS RUN")
    return Path(path)


@pytest.fixture(scope="module")
def real(model_dir: Path) -> Iterator[Engine]:
    """One healthy engine with onnxruntime-genai and the tiny model, started as a gateway starts it."""
    environ = {"PHI4_MODEL_DIR": str(model_dir), "PHI4_MODEL_NAME": "tiny", "PHI4_CONTEXT_LENGTH": "2048"}
    with healthy(environ) as running:
        yield running


@pytest.fixture(scope="module")
def server(model_dir: Path) -> Iterator[Engine]:
    """One with two slots and a short context, as the tests of llama.cpp's server have it."""
    settings = {"PHI4_CONTEXT_LENGTH": "512", "PHI4_PARALLEL": "2", "PHI4_MODEL_NAME": "tiny", "PHI4_RELEASE": "b1"}
    with healthy({"PHI4_MODEL_DIR": str(model_dir), **settings}) as running:
        yield running
