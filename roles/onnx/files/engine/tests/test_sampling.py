"""From scores to a token."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from phi4_engine.loop.sampling import MOST_CANDIDATES, TOP_K, Penalties, Sampler, likeliest, logprobs

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


@pytest.mark.parametrize(
    ("how", "wanted"),
    [
        ({"top_k": 1}, {3}),
        ({"top_k": 2}, {3, 1}),
        ({"top_k": 0}, {0, 1, 2, 3, 4}),
        ({"top_k": -1}, {0, 1, 2, 3, 4}),
        ({"top_k": 2**31 - 1}, {0, 1, 2, 3, 4}),
        ({"min_p": 1.0}, {3}),
        ({"min_p": 0.3}, {3, 1}),  # exp(2 - 3) = 0.37 of the likeliest
        ({"min_p": 0.13}, {3, 1, 2}),  # exp(1 - 3) = 0.135
        ({"min_p": 0.13, "top_k": 2}, {3, 1}),
    ],
)
def test_top_k_and_min_p_leave_those_who_are_drawn(how: dict[str, Any], wanted: set[int]) -> None:
    assert set(drawn(Sampler(1.0, 1.0, seed=1, **how), SCORES, 3000)) == wanted


def test_min_p_counts_after_the_temperature_and_top_p_after_both() -> None:
    assert set(drawn(Sampler(2.0, 1.0, seed=1, min_p=0.3), SCORES, 3000)) == {3, 1, 2}  # exp(-2 / 2) = 0.37
    # Of the two that are left, the likeliest has 0.73.
    assert set(drawn(Sampler(1.0, 0.7, seed=1, top_k=2), SCORES, 500)) == {3}


def test_all_means_as_many_as_are_worth_sorting() -> None:
    found = drawn(Sampler(2.0, 1.0, seed=3, top_k=0), np.zeros(200_064, np.float32), 3000)
    assert set(found) <= set(range(MOST_CANDIDATES))
    assert len(found) > 900


def test_a_token_that_is_masked_is_never_drawn() -> None:
    masked = SCORES.copy()
    masked[[3, 0]] = -np.inf
    assert set(drawn(Sampler(2.0, 1.0, seed=1, top_k=0), masked, 2000)) == {1, 2, 4}
    assert Sampler(0.0, 1.0).pick(masked) == 1
    with pytest.raises(ValueError, match="not finite"):
        Sampler(1.0, 1.0).pick(np.full(5, -np.inf, np.float32))


def said(penalties: Penalties, *tokens: int) -> Penalties:
    for token in tokens:
        penalties.count(token)
    return penalties


PROMPT = np.array([0, 4, 4], np.int32)


@pytest.mark.parametrize(
    ("penalties", "wanted"),
    [
        (Penalties(PROMPT), [0, 2, 1, 3, -1]),
        (said(Penalties(PROMPT), 1, 3), [0, 2, 1, 3, -1]),
        # OpenAI: mu[j] - c[j] * frequency - (c[j] > 0) * presence, where c counts the answer alone.
        (said(Penalties(PROMPT, frequency=0.5), 1, 1, 3), [0, 1, 1, 2.5, -1]),
        (said(Penalties(PROMPT, presence=0.5), 1, 1, 3), [0, 1.5, 1, 2.5, -1]),
        (said(Penalties(PROMPT, frequency=-1, presence=0.5), 1, 1), [0, 3.5, 1, 3, -1]),
        # Hugging Face: positive scores are divided, negative ones multiplied, of prompt and answer, once.
        (Penalties(PROMPT, repetition=2), [0, 2, 1, 3, -2]),
        (said(Penalties(PROMPT, repetition=2), 3, 3), [0, 2, 1, 1.5, -2]),
        (said(Penalties(PROMPT, repetition=0.5), 3), [0, 2, 1, 6, -0.5]),
        (Penalties(bias=[(2, 5), (4, -100)]), [0, 2, 6, 3, -101]),
        (Penalties(bias=[(2, 5), (2, 1.5)]), [0, 2, 7.5, 3, -1]),
        # The bias first, then repetition, then what is taken off.
        (said(Penalties(PROMPT, bias=[(1, 2)], repetition=2, frequency=0.25, presence=0.5), 1, 1),
         [0, 1, 1, 3, -2]),
    ],
)  # fmt: skip
def test_penalties_are_the_formulae_of_their_inventors(penalties: Penalties, wanted: list[float]) -> None:
    before = SCORES.copy()
    assert penalties.applied(SCORES).tolist() == wanted
    assert (before == SCORES).all(), "the model's own scores stay: logprobs are of them"


def test_penalties_decide_before_the_candidates_are_chosen() -> None:
    scores = np.zeros(5000, np.float32)
    scores[:60] = 10
    penalties = Penalties(bias=[(token, -100) for token in range(60)] + [(4999, 60)])
    assert set(drawn(Sampler(1.0, 1.0, seed=1), penalties.applied(scores), 200)) == {4999}


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_logprobs_are_the_logarithms_of_the_softmax(kind: Any) -> None:
    shares = np.exp(SCORES) / np.exp(SCORES).sum()
    found = logprobs(SCORES.astype(kind), 2, 3)
    assert found.own == pytest.approx(math.log(shares[2]))
    assert [token for token, _ in found.top] == [3, 1, 2]
    assert [value for _, value in found.top] == pytest.approx([math.log(shares[one]) for one in (3, 1, 2)])
    assert logprobs(SCORES.astype(kind), 4, 0).top == ()
