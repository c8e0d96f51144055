"""What a plan says of speed, and what it says that it knows it from."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from phi4_edge.core import speed
from phi4_edge.core.facts import parse
from phi4_edge.core.facts.receipt import before_us
from phi4_edge.core.plan import review
from phi4_edge.report.plans import explain
from tests.unit.core.test_speed import ONE

Make = Callable[..., Any]
SAMPLE = "9000000000 20000000000 4"


def record(**changes: Any) -> str:
    return json.dumps(speed.document([dataclasses.replace(ONE, **changes)]))


@pytest.mark.parametrize(
    ("host", "sources", "source", "share"),
    [
        ("n150-8gb", {"bandwidth": SAMPLE, "bench": record()}, "bench", None),
        ("n150-8gb", {"bandwidth": SAMPLE}, "sample", 0.3),
        ("n150-8gb", {"bandwidth": "nonsense"}, "board", 0.4),
        ("n150-8gb", {"bandwidth": {"gap": "failed", "detail": "no memory"}}, "board", 0.4),
        ("n150-8gb", {}, "board", 0.4),
        ("gateway-6gb", {}, "class", 0.6),
        # Of another model, another number of threads, another engine.
        ("n150-8gb", {"bench": record(model="tiny")}, "board", 0.4),
        ("n150-8gb", {"bench": record(threads=3)}, "board", 0.4),
        ("n150-8gb", {"bench": record(engine="ollama")}, "board", 0.4),
        ("n150-8gb", {"bench": "{}"}, "board", 0.4),
    ],
)
def test_a_forecast_names_what_it_is_made_of(
    document: Make, plan: Make, host: str, sources: dict[str, Any], source: str, share: float | None
) -> None:
    made = plan(document(host, **sources))
    assert (made.forecast["source"], made.forecast["uncertainty"]) == (source, share)
    assert made.forecast["measured"] == (source == "bench")
    chosen = next(each for each in made.candidates if each["engine"] == made.engine)
    assert (chosen["source"], chosen["uncertainty"]) == (source, share)


def test_a_sample_is_divided_by_the_bytes_of_a_token(document: Make, plan: Make) -> None:
    made = plan(document("n150-8gb", bandwidth=SAMPLE))
    assert made.forecast["bandwidth"] == 20_000_000_000
    assert made.forecast["decode_tokens_per_second"] == pytest.approx(0.9 * 20e9 / 2.4e9, abs=0.06)
    q8 = next(each for each in made.candidates if each["quantization"] == "q8_0")
    assert q8["decode_tokens_per_second"] == pytest.approx(0.9 * 20e9 / 4.08e9, abs=0.06)
    text = "\n".join(explain(made.to_dict(), 200))
    assert (
        "7.5 tokens/s decoding (forecast, off by up to 30%, from the memory bandwidth sampled on this host, 20 GB/s)"
        in text
    )


def test_what_was_measured_is_shown_as_it_was(document: Make, plan: Make) -> None:
    made = plan(document("n150-8gb", bandwidth=SAMPLE, bench=record(decode=17.44)))
    assert made.forecast["decode_tokens_per_second"] == 17.4
    assert "17.4 tokens/s decoding (measured on this host)" in "\n".join(explain(made.to_dict(), 200))


def test_one_core_reads_less_than_a_boards_memory_gives(document: Make, plan: Make) -> None:
    rates = [
        plan(document("n150-8gb", cgroup=f"v2\ncpu /sys/fs/cgroup {quota} 100000")).forecast["decode_tokens_per_second"]
        for quota in (100000, 200000, 300000)
    ]
    assert rates[0] == pytest.approx(rates[1] / 2, abs=0.06) and rates[1] == rates[2]


def test_the_sample_of_before_us_comes_back_with_the_receipt(document: Make, named: Make) -> None:
    made = named(document("n150-8gb", bandwidth=SAMPLE)).to_dict()
    kept = before_us(made)["memory_bandwidth"]
    receipt = {"present": True, "receipt": {"format": "phi4-edge/receipt/1", "memory_bandwidth": kept}}
    found = parse.parse(document("n150-8gb", receipt=json.dumps(receipt)))
    assert found.speed.bandwidth == 20_000_000_000
    assert parse.parse(document("n150-8gb", receipt=json.dumps({**receipt, "receipt": {}}))).speed.bandwidth is None


def test_a_sample_that_comes_out_otherwise_is_no_other_plan(document: Make, named: Make) -> None:
    first = named(document("n150-8gb", bandwidth=SAMPLE)).to_dict()
    second = named(document("n150-8gb", bandwidth="8000000000 19000000000 4")).to_dict()
    assert first["forecast"] != second["forecast"]
    assert first["fingerprint"] == second["fingerprint"]
    assert list(review.differences(first, second)) == []
