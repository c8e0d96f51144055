"""The record of measurements that lies on a host, and what a sample of its memory is worth."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from phi4_edge.core import speed
from phi4_edge.core.speed import Measured

ONE = Measured(
    model="phi-4-mini-instruct", engine="onnx", quantization="int4", accelerator="cpu", threads=4, context_length=4096,
    streams=1, release="r-0123456789ab", at=1_800_000_000, decode=9.5, prefill=40.0, first_cold=1.5, first_warm=0.1,
    memory=4_700_000_000, idle=0.01,
)  # fmt: skip


def text(*entries: Any) -> str:
    return json.dumps({"format": speed.FORMAT, "measured": list(entries)})


def entry(**changes: Any) -> dict[str, Any]:
    return {**dataclasses.asdict(ONE), **changes}


def test_a_record_is_read_as_it_was_written() -> None:
    other = dataclasses.replace(ONE, engine="ollama", quantization="q8_0", at=ONE.at + 5, prefill=None)
    written = speed.document([ONE, other])
    assert speed.read(json.dumps(written)) == (other, ONE)
    assert len(json.dumps(written)) < 1200


def test_a_newer_measurement_takes_the_place_of_an_older_one_and_the_record_stays_small() -> None:
    newer = dataclasses.replace(ONE, at=ONE.at + 60, decode=11.0)
    many = [dataclasses.replace(ONE, threads=number, at=ONE.at - number) for number in range(10, 40)]
    kept = speed.read(json.dumps(speed.document([newer, ONE, *many])))
    assert kept is not None and len(kept) == speed.MOST_ENTRIES
    assert kept[0] == newer and ONE not in kept


@pytest.mark.parametrize(
    "changes",
    [
        {"decode": "9.5"}, {"decode": None}, {"decode": -1.0}, {"decode": 1e300}, {"decode": True}, {"threads": 2.5},
        {"threads": -1}, {"engine": "onnx\u202e"}, {"engine": ""}, {"engine": "a b"}, {"release": "../../x" * 40},
        {"memory": 1 << 61}, {"memory": 1.5}, {"at": None}, {"extra": 1},
    ],
)  # fmt: skip
def test_an_entry_that_cannot_be_does_not_count(changes: dict[str, Any]) -> None:
    assert speed.read(text(entry(**changes), entry(engine="ollama"))) == (dataclasses.replace(ONE, engine="ollama"),)


@pytest.mark.parametrize(
    "said",
    ["", "{", "[]", "{}", json.dumps({"format": "x", "measured": []}), text("x" * 20_000), "[" * 5000,
     '{"format": NaN}', json.dumps({"format": speed.FORMAT, "measured": {}})],
)  # fmt: skip
def test_what_is_no_record_is_none(said: str) -> None:
    assert speed.read(said) is None


def test_numbers_without_end_are_none() -> None:
    assert speed.read(text(entry()).replace("9.5", "Infinity")) == ()
    assert speed.read(text(entry()).replace("9.5", "NaN")) == ()


@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize("digits", [40, 400, 4000])
def test_a_whole_number_that_no_float_can_hold_is_none(sign: str, digits: int) -> None:
    assert speed.read(text(entry()).replace("9.5", sign + "9" * digits)) == ()


@pytest.mark.parametrize(
    ("said", "cores", "rate"),
    [
        ("9000 17000 4", 1, 9000),
        # Two of four share what the memory gives.
        ("9000 17000 4", 2, 17000),
        ("3000 17000 4", 2, 6000),
        ("3000 17000 4", 16, 17000),
        ("9000 9000 1", 1, 9000),
        ("0 0 0", 2, None),
        ("9000 8000 4", 2, None),
        ("9000 17000", 2, None),
        ("-1 17000 4", 2, None),
        ("9e9 17000 4", 2, None),
        ("9" * 30 + " 17000 4", 2, None),
        ("٣ ٣ ٣", 2, None),
    ],
)
def test_a_sample_counts_for_the_cores_that_an_engine_has(said: str, cores: int, rate: int | None) -> None:
    assert speed.bandwidth(said, cores) == rate
