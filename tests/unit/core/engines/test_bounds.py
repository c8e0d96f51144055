"""What the inventory may ask of our own engine, and what that engine takes: the same numbers, from one file."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from phi4_edge import content
from phi4_edge.core.catalog.model import Catalog
from phi4_edge.core.engines.table import ENGINES
from phi4_edge.core.plan.overrides import VARIABLES
from phi4_edge.data import load_bounds
from tests.unit.core.conftest import Document

BOUNDS = load_bounds()["onnx"]
GOOD = {"PHI4_MODEL_DIR": "/models/x"}
HOST = "xeon-rtx3060-driver570"
Make = Callable[..., Any]


@pytest.fixture(scope="module")
def settings() -> Iterator[Any]:
    """The engine's own reader of its environment: it needs nothing but the standard library."""
    source = str(content.root() / content.ENGINE_PACKAGE)
    sys.path.insert(0, source)
    try:
        yield importlib.import_module("phi4_engine.settings")
    finally:
        sys.path.remove(source)
        for name in [name for name in sys.modules if name.partition(".")[0] == "phi4_engine"]:
            del sys.modules[name]


def accepted(read: Callable[[], object]) -> bool:
    try:
        read()
    except ValueError:
        return False
    return True


def edges(name: str) -> list[int]:
    low, high = BOUNDS[name]
    return [low - 1, low, high, high + 1]


@pytest.mark.parametrize("name", BOUNDS)
def test_the_engine_takes_its_bounds_and_nothing_beyond(settings: Any, name: str) -> None:
    found = [accepted(lambda value=value: settings.load(GOOD | {name: str(value)})) for value in edges(name)]
    assert found == [False, True, True, False]


@pytest.mark.parametrize("name", [name for name in BOUNDS if name.lower() in VARIABLES])
def test_what_is_planned_the_engine_takes(settings: Any, document: Make, plan: Make, name: str) -> None:
    """At the edges of the inventory's own range and of the engine's: an error, no fit, or a plan that starts."""
    wanted = name.lower()
    for value in {*edges(name), 1, 63, 64, 65, 511, 512, 4096, 4097, 131072, 131073}:
        if not accepted(lambda value=value: VARIABLES[wanted](str(value))):
            continue
        made = plan(document(HOST), engine="onnx", force=True, **{wanted.removeprefix("phi4_"): value})
        takes = accepted(lambda value=value: settings.load(GOOD | {name: str(value)}))
        if made.fits:
            assert takes, f"{wanted}={value} was planned"
        elif not takes:
            low, high = BOUNDS[name]
            assert any(f"{wanted} {value}: onnx takes {low} to {high}" in text for text in made.missing), made.missing


def test_what_the_catalog_sets_is_within_them(catalog: Catalog) -> None:
    engine = catalog.engines["onnx"]
    for name, value in {"PHI4_QUEUE": engine.queue, "PHI4_PORT": engine.container_port}.items():
        low, high = engine.bounds[name]
        assert low <= value <= high


def test_the_unit_lets_it_open_as_many_files_as_it_may_have_connections(settings: Any) -> None:
    limits = importlib.import_module("phi4_engine.limits")
    native = ENGINES["onnx"].native
    assert native is not None
    assert native.files >= settings.BOUNDS["PHI4_CONNECTIONS"][1] + limits.RESERVE + limits.OTHER_FILES


def test_a_context_beyond_what_is_right_is_refused_with_the_reason(document: Document, plan: Make) -> None:
    whole = document(HOST)  # type: ignore[operator]
    made = plan(whole, engine="onnx", quantization="int4_b64", context_length=4097, force=True)
    assert not made.fits
    told = "phi4_context_length 4097: onnx int4_b64 is right up to 4096 tokens, where LongRoPE changes its factors"
    assert any(told in text for text in made.missing), made.missing
    assert plan(whole, engine="onnx", quantization="int4_b64", context_length=4096).fits


@pytest.mark.parametrize(
    ("context", "artifact"), [(4096, "onnx-int4"), (4097, "onnx-int4-long"), (8192, "onnx-int4-long")]
)
def test_a_longer_context_is_served_by_the_model_with_the_long_factors(
    document: Make, plan: Make, context: int, artifact: str
) -> None:
    made = plan(document(HOST), engine="onnx", context_length=context)
    assert made.fits
    assert (made.quantization, made.model.artifact) == ("int4", f"phi-4-mini-instruct/{artifact}")
    warned = [text for text in made.warnings if "LongRoPE" in text]
    assert len(warned) == (context > 4096)
    assert all("short prompts lose some quality" in text for text in warned)


@pytest.mark.parametrize("name", ["n150-8gb", "gateway-6gb", "rk3588-16gb", HOST])
def test_left_to_us_the_long_factors_are_never_chosen(document: Make, plan: Make, name: str) -> None:
    made = plan(document(name), engine="onnx")
    assert made.context_length <= 4096
    assert made.model.artifact == "phi-4-mini-instruct/onnx-int4"


def test_no_context_is_longer_than_what_the_model_has_positions_for(document: Make, plan: Make) -> None:
    refused = plan(document(HOST), engine="onnx", model="tiny", context_length=6145, force=True)
    assert not refused.fits
    assert any("phi4_context_length 6145: tiny has positions for 6144 tokens" in text for text in refused.missing)
    made = plan(document(HOST), engine="onnx", model="tiny", context_length=6144)
    assert made.model.artifact == "tiny/onnx-int4-long"
