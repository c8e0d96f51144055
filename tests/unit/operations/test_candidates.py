"""Which engines are tried on a host: what serves first, then what was asked for and fits; the rest is told."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from phi4_edge.core.facts.parse import parse
from phi4_edge.core.facts.receipt import Receipt
from phi4_edge.errors import CatalogError
from phi4_edge.operations import candidates
from phi4_edge.operations.candidates import Asked, Candidate, LeftOut
from phi4_edge.operations.plan import Planner, Seen
from tests.unit.operations.test_bench import FIXTURE

Chosen = tuple[tuple[Candidate, ...], tuple[LeftOut, ...]]
SERVES = Receipt(
    True, engine="onnx", quantization="int4", model="tiny", release="r-0123456789ab", memory_need=5 * 10**9
)


@pytest.fixture(scope="module")
def planner() -> Planner:
    return Planner({})


@pytest.fixture
def choose(planner: Planner) -> Callable[..., Chosen]:
    """The candidates of an 8 GB gateway that serves onnx int4, with these variables."""

    def chosen(wanted: str, receipt: Receipt = SERVES, **variables: Any) -> Chosen:
        document = json.loads(FIXTURE.read_text(encoding="utf-8"))
        facts = dataclasses.replace(parse(document), receipt=receipt)
        seen = Seen("gw1", document, {"phi4_model": "tiny", **variables})
        return candidates.choose(planner, seen, facts, candidates.asked(wanted))

    return chosen


def labels(found: Chosen) -> list[str]:
    return [f"{one.engine} {one.quantization}" for one in found[0]]


def test_names_are_engines_with_or_without_a_quantization() -> None:
    assert candidates.asked("onnx, ollama:q8_0,onnx") == (Asked("onnx"), Asked("ollama", "q8_0"))
    assert candidates.asked("all") == (Asked("all"),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("olama", "did you mean ollama?"),
        ("all:q8_0", "needed some of onnx, ollama, vllm, all"),
        ("ollama:q8", "did you mean q8_0?"),
        ("ollama:", "found quantization ''"),
        (" , ", "found no engine"),
    ],
)
def test_a_name_that_there_is_not_is_refused(text: str, said: str) -> None:
    with pytest.raises(CatalogError, match=r"found .*, needed ") as refused:
        candidates.asked(text)
    assert said in str(refused.value)


def test_what_serves_comes_first_and_what_fits_of_its_profile_follows(choose: Callable[..., Chosen]) -> None:
    found = choose("ollama,onnx")
    assert labels(found) == ["onnx int4", "ollama q8_0", "ollama q4_K_M"]
    assert [one.served for one in found[0]] == [True, False, False]
    assert [one.bits for one in found[0]] == [4, 8, 4]
    assert {one.accelerator for one in found[0]} == {"cpu"} and found[1] == ()
    assert labels(choose("all")) == labels(found)


def test_what_the_inventory_asks_for_keeps_nothing_else_from_being_tried(choose: Callable[..., Chosen]) -> None:
    found = choose("onnx,ollama", phi4_engine="onnx", phi4_quantization="int4")
    assert labels(found) == ["onnx int4", "ollama q8_0", "ollama q4_K_M"]


def test_what_serves_is_measured_although_no_profile_lists_it(choose: Callable[..., Chosen]) -> None:
    serves = dataclasses.replace(SERVES, quantization="int4_b64")
    assert labels(choose("onnx", serves)) == ["onnx int4_b64", "onnx int4"]
    assert labels(choose("ollama:q4_0", serves)) == ["ollama q4_0"]


@pytest.mark.parametrize(("engine", "quantization"), [("fourth", "int4"), ("onnx", "int3"), ("{{ x }}", "../..")])
def test_what_this_version_does_not_know_is_measured_where_it_serves(
    choose: Callable[..., Chosen], engine: str, quantization: str
) -> None:
    tried, _ = choose("all", dataclasses.replace(SERVES, engine=engine, quantization=quantization))
    assert (tried[0].engine, tried[0].quantization, tried[0].served, tried[0].bits) == (engine, quantization, True, 0)
    assert [one.served for one in tried[1:]] == [False, False, False]


def test_what_serves_on_a_gpu_is_another_candidate_on_the_cpu(choose: Callable[..., Chosen]) -> None:
    serves = dataclasses.replace(SERVES, engine="ollama", quantization="q8_0", gpu="GPU-1")
    tried, _ = choose("ollama:q8_0", serves)
    assert [(one.accelerator, one.served) for one in tried] == [("cpu", False)]


def test_what_does_not_fit_is_left_out_with_the_reason(choose: Callable[..., Chosen]) -> None:
    tried, left = choose("vllm:bf16,ollama:bf16,onnx:int4_k")
    assert [f"{one.engine} {one.quantization}" for one in tried] == ["onnx int4_k"]
    assert [(one.engine, one.quantization) for one in left] == [("vllm", "bf16"), ("ollama", "bf16")]
    assert all(one.reason for one in left)


def test_nothing_is_forced_to_be_tried(choose: Callable[..., Chosen]) -> None:
    tried, left = choose("vllm:bf16", phi4_force=True)
    assert tried == () and "phi4_force" in left[0].reason


def test_an_engine_that_fits_nowhere_is_left_out_as_a_whole(choose: Callable[..., Chosen]) -> None:
    tried, left = choose("vllm")
    assert tried == () and (left[0].engine, left[0].quantization) == ("vllm", "") and left[0].reason


def test_nothing_is_installed_that_would_stay(choose: Callable[..., Chosen]) -> None:
    tried, left = choose("ollama:q8_0", phi4_service_manager="compose", phi4_docker_source="distribution")
    assert tried == () and "would stay" in left[0].reason
