"""Tokens are counted as the tokenizers library counts them, and in bounded time whatever the text is."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import pytest

from tests.ansible.gateway.measuring import measure_count, measure_gguf
from tests.ansible.plays import ROOT
from tests.standins.ollama_store import TINY

COUNTS = json.loads((ROOT / "tests" / "fixtures" / "tokens" / "counts.json").read_text())["counts"]
CUTS = ("gpt-2", "gpt-4o")


@pytest.fixture(scope="module", params=CUTS)
def counted(request: pytest.FixtureRequest) -> tuple[Any, int]:
    """A counter that cuts texts in one way, and the column of what it must find."""
    vocabulary = measure_gguf.read(str(TINY))._replace(pre=request.param)
    return measure_count.Counter(vocabulary), 1 + CUTS.index(request.param)


def test_every_text_has_as_many_tokens_as_the_library_finds(counted: tuple[Any, int]) -> None:
    counter, column = counted
    wrong = [
        (row[0][:80], row[column], found)
        for row in COUNTS
        if (found := counter.count(row[0], 1 << 60, 60)) != (row[column], True)
    ]
    assert wrong == []


def test_a_long_piece_is_merged_as_a_short_one_is(counted: tuple[Any, int]) -> None:
    counter, _ = counted
    picked = random.Random(3)
    for _ in range(300):
        piece = "".join(picked.choice("etaoin the") for _ in range(picked.randint(2, 200))).encode()
        assert counter._few(piece) == counter._many(piece), piece


@pytest.mark.parametrize(
    "text",
    [
        "a" * 200_000, "A" * 200_000, " " * 200_000, " \n" * 100_000, "7" * 200_000, "!" * 200_000, "aA" * 100_000,
        "😀" * 50_000, "漢字" * 33_000, "<|end|>" * 28_000, "<|" * 100_000, "'s" * 100_000,
        random.Random(1).randbytes(200_000).decode("utf-8", "replace"),
        "".join(random.Random(2).choice("etaoinshrdlu") for _ in range(200_000)),
        "".join(map(chr, [*range(0x20, 0xD800), *range(0xE000, 0x18000)])),
    ],
    ids=lambda text: ascii(text[:4]),
)  # fmt: skip
def test_a_hostile_text_takes_a_bounded_time(counted: tuple[Any, int], text: str) -> None:
    counter, _ = counted
    began = time.monotonic()
    found = counter.count(text, 4095, 2.0)
    assert time.monotonic() - began < 3.0
    assert found.tokens > 4095


def test_time_that_is_over_ends_a_count(counted: tuple[Any, int]) -> None:
    counter, _ = counted
    text = "".join(random.Random(4).choice("etaoinshrdlu") for _ in range(150_000))
    began = time.monotonic()
    found = counter.count(text, 1 << 60, 0.05)
    assert not found.whole and time.monotonic() - began < 1.0
    assert counter.count("and then it works again", 1 << 60, 5).whole


def test_what_is_kept_between_texts_is_bounded(counted: tuple[Any, int]) -> None:
    counter, _ = counted
    picked = random.Random(5)
    for _ in range(30):
        counter.count(
            "".join(chr(picked.randrange(0x20, 0xD000)) + " ab"[picked.randrange(3)] for _ in range(4000)), 1 << 60, 9
        )
    assert len(counter._known) <= 8192 and len(counter._kinds) <= 16384 and len(counter._ranks) <= 32768


def test_a_token_in_front_of_every_prompt_counts() -> None:
    vocabulary = measure_gguf.read(str(TINY))._replace(lead=1)
    assert measure_count.Counter(vocabulary).count("", 10, 1).tokens == 1


def test_a_cut_that_is_not_known_is_told() -> None:
    with pytest.raises(ValueError, match=r"found a text cut as in 'other', needed one of gpt-2, gpt-4o"):
        measure_count.Counter(measure_gguf.read(str(TINY))._replace(pre="other"))
