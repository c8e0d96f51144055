"""Masks over scores, as the decode loop uses them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fake_worker import NAMES, WIDTH, ByteTokens

from phi4_engine.loop.grammar import KEPT, Compiler, GrammarError
from phi4_engine.loop.sampling import Sampler

WIDER = WIDTH + 40
END = NAMES["<|end|>"]
SCORES = np.linspace(1, 2, WIDER, dtype=np.float32)
"""The highest are those of numbers that are no tokens."""


def compiler() -> Compiler:
    def table() -> Any:
        from llguidance import LLTokenizer, TokenizerWrapper

        return LLTokenizer(TokenizerWrapper(ByteTokens()), n_vocab=WIDER, eos_token=[END])

    return Compiler(table)


def allowed(scores: Any) -> set[int]:
    return set(map(int, np.flatnonzero(np.isfinite(scores))))


def test_only_what_the_grammar_allows_keeps_its_score() -> None:
    constraint = compiler().constraint('start: "ab" | "cd"')
    masked = constraint.masked(SCORES)
    assert allowed(masked) == {ord("a"), ord("c")}
    assert masked.dtype == SCORES.dtype
    assert (masked[ord("a")], masked[ord("c")]) == (SCORES[ord("a")], SCORES[ord("c")])
    assert Sampler(0.0, 1.0).pick(masked) == ord("c")
    assert {Sampler(2.0, 1.0, seed).pick(masked) for seed in range(20)} == {ord("a"), ord("c")}
    for character in "cd":
        constraint.accept(ord(character))
    assert allowed(constraint.masked(SCORES)) == {END}


def test_a_lazy_one_binds_from_its_token_on() -> None:
    opens = NAMES["<|tool_call|>"]
    constraint = compiler().constraint('start: <|tool_call|> "x"', opens)
    for token in b"anything":
        assert constraint.masked(SCORES) is SCORES
        constraint.accept(token)
    constraint.accept(opens)
    assert allowed(constraint.masked(SCORES)) == {ord("x")}


def test_answers_with_the_same_form_are_apart_and_few_forms_are_kept() -> None:
    made = compiler()
    one, other = made.constraint('start: "ab"'), made.constraint('start: "ab"')
    one.accept(ord("a"))
    assert allowed(one.masked(SCORES)) == {ord("b")}
    assert allowed(other.masked(SCORES)) == {ord("a")}
    for number in range(3 * KEPT):
        made.constraint(f'start: "{number}"')
    assert len(made._kept) == KEPT


def test_what_does_not_compile_and_a_token_that_may_not_come_are_errors_of_one_line() -> None:
    with pytest.raises(GrammarError) as refused:
        compiler().constraint('start: %json {"type":"strin"}')
    assert str(refused.value).endswith("Invalid type: strin")
    constraint = compiler().constraint('start: "ab"')
    with pytest.raises(GrammarError) as failed:
        constraint.accept(ord("z"))
    assert "\n" not in str(failed.value)
