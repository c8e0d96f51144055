"""From scores to a token."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

from phi4_engine.loop.sampling import TOP_K, Sampler, likeliest

SCORES = np.array([0.0, 2.0, 1.0, 3.0, -1.0], np.float32)


@pytest.mark.parametrize(("temperature", "top_p"), [(0.0, 1.0), (0.0005, 1.0), (1.0, 0.0)])
def test_without_temperature_or_top_p_the_highest_score_wins(temperature: float, top_p: float) -> None:
    assert {Sampler(temperature, top_p).pick(SCORES) for _ in range(20)} == {3}


def drawn(sampler: Sampler, scores: NDArray[np.float32], count: int) -> Counter[int]:
    return Counter(sampler.pick(scores) for _ in range(count))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_come_as_often_as_the_softmax_says(temperature: float) -> None:
    found = drawn(Sampler(temperature, 1.0, seed=1), SCORES, 20_000)
    weights = np.exp(SCORES / temperature)
    for token, share in enumerate(weights / weights.sum()):
        assert found[token] / 20_000 == pytest.approx(share, abs=0.015)


def test_top_p_takes_the_fewest_tokens_that_reach_it() -> None:
    shares = np.exp(SCORES) / np.exp(SCORES).sum()  # 0.03, 0.23, 0.09, 0.64, 0.01
    assert set(drawn(Sampler(1.0, 0.6, seed=1), SCORES, 500)) == {3}
    assert set(drawn(Sampler(1.0, 0.7, seed=1), SCORES, 500)) == {3, 1}
    found = drawn(Sampler(1.0, 0.9, seed=1), SCORES, 20_000)
    assert set(found) == {3, 1, 2}
    assert found[3] / 20_000 == pytest.approx(shares[3] / shares[[1, 2, 3]].sum(), abs=0.015)


def test_only_the_50_likeliest_are_drawn() -> None:
    scores = np.zeros(200_064, np.float32)
    scores[1000:1060] = np.arange(60) / 1000 + 1
    assert set(drawn(Sampler(2.0, 1.0, seed=3), scores, 3000)) == set(range(1010, 1060))


def test_a_seed_repeats_and_no_seed_does_not() -> None:
    flat = np.zeros(1000, np.float32)
    one, two = Sampler(1.0, 1.0, seed=-5), Sampler(1.0, 1.0, seed=-5)
    assert [one.pick(flat) for _ in range(30)] == [two.pick(flat) for _ in range(30)]
    assert len({tuple(Sampler(1.0, 1.0).pick(flat) for _ in range(8)) for _ in range(5)}) == 5


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_refused(broken: float) -> None:
    scores = SCORES.copy()
    scores[2] = broken
    for sampler in (Sampler(0.0, 1.0), Sampler(1.0, 1.0)):
        with pytest.raises(ValueError, match="not finite"):
            sampler.pick(scores)


@pytest.mark.parametrize("size", [1, 5, 63, 64, 65, 2000, 200_064])
@pytest.mark.parametrize("count", [1, TOP_K, 256])
@pytest.mark.parametrize("ties", [False, True])
def test_the_likeliest_are_those_of_a_full_sort(size: int, count: int, ties: bool) -> None:
    scores = np.random.default_rng(size).normal(size=size).astype(np.float32)
    if ties:
        scores = scores.round(1)
    assert likeliest(scores, count).tolist() == np.argsort(-scores, kind="stable")[:count].tolist()
