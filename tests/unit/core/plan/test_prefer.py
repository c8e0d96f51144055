"""phi4_prefer: which of the candidates that fit comes first, and that the plan says so."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from phi4_edge.core import speed
from phi4_edge.core.plan import review
from tests.unit.core.test_speed import ONE

Make = Callable[..., Any]
OTHER = dataclasses.replace(ONE, engine="ollama", quantization="q4_K_M", decode=12.0)


def bench(*measured: speed.Measured) -> str:
    return json.dumps(speed.document(measured))


def order(made: Any) -> list[str]:
    return [f"{each['engine']} {each['quantization']}" for each in made.candidates]


LISTED = ["onnx int4", "ollama q8_0", "ollama q4_K_M"]


@pytest.mark.parametrize("prefer", [None, "listed"])
def test_as_listed_is_the_default(document: Make, plan: Make, prefer: str | None) -> None:
    made = plan(document("n150-8gb", bench=bench(OTHER)), **({"prefer": prefer} if prefer else {}))
    assert order(made) == LISTED and made.engine == "onnx"
    assert not any("phi4_prefer" in reason for reason in made.reasons)


def test_speed_counts_within_a_class_of_quality(document: Make, plan: Make) -> None:
    made = plan(document("n150-8gb", bench=bench(OTHER)), prefer="speed")
    assert order(made) == ["ollama q4_K_M", "onnx int4", "ollama q8_0"]
    assert (made.engine, made.quantization) == ("ollama", "q4_K_M")
    said = "phi4_prefer speed, within as many bits of a weight: ollama q4_K_M (12 tokens/s measured, 4 bits), onnx"
    assert any(reason.startswith(said) for reason in made.reasons)
    # However fast, half the bits do not come before the class that is listed first.
    fast = dataclasses.replace(OTHER, quantization="q8_0", decode=500.0)
    assert order(plan(document("n150-8gb", bench=bench(fast)), prefer="speed"))[0] == "onnx int4"


def test_without_measurements_the_smaller_weights_are_the_faster_ones(document: Make, plan: Make) -> None:
    assert order(plan(document("n150-8gb"), prefer="speed")) == ["onnx int4", "ollama q4_K_M", "ollama q8_0"]


def test_memory_counts_whatever_the_quality(document: Make, plan: Make) -> None:
    made = plan(document("n150-8gb"), prefer="memory")
    assert order(made) == ["ollama q4_K_M", "onnx int4", "ollama q8_0"]
    needs = [each["need"] for each in made.candidates]
    assert needs == sorted(needs) and made.quantization == "q4_K_M"
    assert any(reason.startswith("phi4_prefer memory: ollama q4_K_M (3.5 GB), ") for reason in made.reasons)


def test_what_does_not_fit_is_passed_over_with_its_reason(document: Make, plan: Make) -> None:
    small = document("n150-8gb", meminfo="MemTotal: 7600000 kB\nMemAvailable: 7000000 kB")
    made = plan(small, prefer="speed", threads=400)
    assert not made.fits
    made = plan(document("gtx1060-6gb"), prefer="memory")
    assert [each["quantization"] for each in made.rejected] == [
        each["quantization"] for each in made.candidates[: len(made.rejected)]
    ]


def test_a_sample_that_comes_out_otherwise_keeps_the_order_and_the_review(document: Make, named: Make) -> None:
    first, second = (
        named(document("n150-8gb", bandwidth=said), prefer="speed").to_dict()
        for said in ("9000000000 20000000000 4", "8000000000 18000000000 4")
    )
    assert first["reasons"] != second["reasons"]
    assert first["fingerprint"] == second["fingerprint"]
    assert list(review.differences(first, second)) == []
