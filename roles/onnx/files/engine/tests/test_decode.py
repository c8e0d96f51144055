"""Many answers in one loop: each is what it would be alone. The model is scripted; `test_session` has a real one."""

from __future__ import annotations

import itertools
import random
import statistics
import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scripted import ScriptedModel, alone, failures, play, requests, scores

from phi4_engine.loop.decode import Answer, DecodeLoop, Failed, Token
from phi4_engine.loop.rows import Rows
from phi4_engine.loop.sampling import Penalties, Sampler, logprobs
from phi4_engine.loop.schedule import Schedule


@pytest.mark.parametrize("seed", range(200))
def test_every_answer_is_what_it_is_alone(seed: int) -> None:
    dice = random.Random(seed)
    wanted = requests(dice, 12, longest=200, vocabulary=97, units=80)
    found = play(ScriptedModel(rows=4), wanted, reuse=seed % 5 != 0)
    for one in wanted:
        told = alone(one.prompt, one.tokens, one.sampler(), one.penalties())
        if one.leaves is None:
            assert found[one.id] == told
        else:
            assert found[one.id] == told[: len(found[one.id])]


@pytest.mark.parametrize("seed", range(40))
def test_each_of_several_answers_to_a_prompt_is_what_it_is_alone(seed: int) -> None:
    dice = random.Random(seed)
    model = ScriptedModel(rows=4)
    loop = DecodeLoop(model, Rows(model.cache, reuse=0 if seed % 2 else 4096), Schedule())
    prompts = {name: np.array([dice.randrange(97) for _ in range(dice.randint(1, 150))], np.int32) for name in "ab"}

    def made(name: str, index: int) -> Answer:
        penalties = Penalties(prompts[name], repetition=1.3, presence=0.5)
        return Answer(f"{name}/{index}" if index else name, prompts[name], Sampler(1.0, 0.95, seed + index), penalties)

    found: dict[str, list[int]] = {}
    for name, count in (("a", 3), ("b", dice.choice([1, 2]))):
        first, *others = (made(name, index) for index in range(count))
        first.siblings = others
        found |= {one.id: [] for one in (first, *others)}
        loop.add(first)
    limits = {name: dice.randint(1, 20) for name in found}
    while not loop.idle:
        for outcome in loop.advance():
            assert isinstance(outcome, Token)
            found[outcome.id].append(outcome.token)
            if len(found[outcome.id]) == limits[outcome.id]:
                loop.drop(outcome.id)
    for name, told in found.items():
        own, _, index = name.partition("/")
        lone = made(own, int(index or 0))
        assert told == alone(prompts[own].tolist(), limits[name], lone.sampler, lone.penalties)


def several(prompt: list[int], count: int) -> Answer:
    """An answer to it with siblings."""
    first = answer("a", prompt)
    first.siblings = [answer(f"a/{index}", prompt) for index in range(1, count)]
    return first


@pytest.mark.parametrize("reuse", [0, 4096])
def test_a_prompt_of_several_answers_is_read_once(reuse: int) -> None:
    model = ScriptedModel()
    loop = DecodeLoop(model, Rows(model.cache, reuse=reuse), Schedule())
    loop.add(several(list(range(90)) * 2, 4))
    while not (outcomes := loop.advance()):
        pass
    assert {one.id for one in outcomes} == {"a", "a/1", "a/2", "a/3"}
    loop.advance()
    assert model.runs == [(0, 1, 128), (0, 1, 52), (0, 4, 1)]


def test_siblings_leave_with_one_whose_prompt_is_not_read_and_go_on_after_it() -> None:
    loop = loop_over(ScriptedModel())
    loop.add(several(list(range(90)) * 2, 3))
    assert loop.advance() == []
    loop.drop("a")
    assert loop.idle
    loop.add(several([1, 2, 3], 3))
    assert len(loop.advance()) == 3
    loop.drop("a")
    assert {one.id for one in loop.advance()} == {"a/1", "a/2"}


def test_siblings_fail_with_the_prompt_and_one_without_a_row_reads_it_itself() -> None:
    model = ScriptedModel(rows=2)
    model.fails_at = 6
    loop = loop_over(model)
    loop.add(several([6, 1, 2], 2))
    assert failures(loop.advance()) == ["a", "a/1"]
    assert loop.idle
    loop.add(several([5, 1, 2], 3))
    assert {one.id for one in loop.advance()} == {"a", "a/1"}
    loop.drop("a")
    found = {one.id for _ in range(3) for one in loop.advance()}
    assert found == {"a/1", "a/2"}


def answer(name: str, prompt: list[int]) -> Answer:
    return Answer(name, np.array(prompt, np.int32), Sampler(0.0, 1.0))


def note(found: dict[str, list[int]], outcomes: list[Token | Failed]) -> None:
    """The tokens of a turn in which nothing failed."""
    for one in outcomes:
        assert isinstance(one, Token)
        found[one.id].append(one.token)


def loop_over(model: Any, **how: Any) -> DecodeLoop:
    return DecodeLoop(model, Rows(model.cache), Schedule(), **how)


def test_those_who_decode_share_one_run() -> None:
    model = ScriptedModel()
    loop = loop_over(model)
    for number in range(4):
        loop.add(answer(f"a{number}", [number, 1, 2]))
    while len(loop.advance()) < 4:
        pass
    assert model.runs[-1] == (0, 4, 1)


def test_a_row_that_leaves_in_the_middle_leaves_no_gap() -> None:
    model = ScriptedModel()
    loop = loop_over(model)
    for number in range(4):
        loop.add(answer(f"a{number}", [number, 1, 2]))
    while len(loop.advance()) < 4:
        pass
    loop.drop("a1")
    assert {one.id for one in loop.advance()} == {"a0", "a2", "a3"}
    assert model.runs[-1][1:] == (3, 1), "three neighbours, one run"


def test_a_prompt_and_those_who_decode_take_turns() -> None:
    model = ScriptedModel()
    loop = loop_over(model, clock=itertools.count(step=10.0).__next__)  # every piece takes ten seconds
    loop.add(answer("quick", [1, 2, 3]))
    loop.advance()
    loop.add(answer("long", list(range(90)) * 2))
    for _ in range(8):
        loop.advance()
    assert [width for _, _, width in model.runs[1:]] == [1, 16] * 4


def test_a_run_that_fails_for_one_row_fails_for_that_one_alone() -> None:
    model = ScriptedModel()
    loop = loop_over(model)
    for number in (5, 6, 7):
        loop.add(answer(f"a{number}", [number, 1, 2]))
    found: dict[str, list[int]] = {f"a{number}": [] for number in (5, 6, 7)}
    while len(outcomes := loop.advance()) < 3:
        note(found, outcomes)
    note(found, outcomes)
    model.fails_at = 6
    outcomes = loop.advance()
    assert failures(outcomes) == ["a6"]
    for one in outcomes:
        if isinstance(one, Token):
            found[one.id].append(one.token)
    for name in ("a5", "a7"):
        assert found[name] == alone([int(name[1]), 1, 2], len(found[name]), Sampler(0.0, 1.0))
    assert {one.id for one in loop.advance()} == {"a5", "a7"}


def test_a_prompt_that_cannot_be_read_fails_and_its_row_is_used_again() -> None:
    model = ScriptedModel(rows=1)
    model.fails_at = 6
    loop = loop_over(model)
    loop.add(answer("bad", [6] * 40))
    loop.add(answer("good", [6] * 39 + [7]))
    assert failures(loop.advance()) == ["bad"]
    model.fails_at = None
    outcomes = loop.advance()
    assert [one.id for one in outcomes] == ["good"]
    assert model.runs[-1] == (0, 1, 40), "nothing of the failed reading was used"


def test_logprobs_are_of_the_models_own_scores() -> None:
    model = ScriptedModel()
    loop = loop_over(model)
    prompt = np.array([4, 5, 6], np.int32)
    loop.add(Answer("a", prompt, Sampler(0.0, 1.0), Penalties(prompt, bias=[(9, 100.0)]), logprobs=3))
    [told] = loop.advance()
    assert isinstance(told, Token)
    assert told.token == 9, "the bias forces it"
    assert told.logprobs == logprobs(scores([prompt, prompt]), 9, 3)
    assert told.logprobs is not None
    assert 9 not in [token for token, _ in told.logprobs.top]


class Broken(ScriptedModel):
    def step(self, first: int, tokens: NDArray[np.int32], lengths: NDArray[np.int32]) -> NDArray[Any]:
        found = super().step(first, tokens, lengths)
        found[0, 3] = np.nan
        return found


def test_scores_that_are_no_numbers_fail_their_answer_alone() -> None:
    loop = loop_over(Broken())
    loop.add(answer("a", [1, 2]))
    loop.add(answer("b", [3, 4]))
    while len(outcomes := loop.advance()) < 2:
        assert not failures(outcomes) or outcomes[0].id == "a"
        if failures(outcomes):
            return
    [first, second] = outcomes
    assert isinstance(first, Failed)
    assert isinstance(second, Token)


class Stoppable(ScriptedModel):
    """Reading is stopped by `meanwhile`, as another thread would."""

    def __init__(self) -> None:
        super().__init__()
        self.halted = False
        self.meanwhile: Any = None

    def read(self, row: int, start: int, tokens: NDArray[np.int32]) -> NDArray[Any]:
        assert not self.halted, "told to stop before it ran"
        if self.meanwhile is not None:
            self.meanwhile()
        if self.halted:
            raise RuntimeError("exiting due to terminate flag being set to true")
        return super().read(row, start, tokens)

    def halt(self, stop: bool) -> None:
        self.halted = stop


def test_an_interrupted_piece_is_read_again_unless_the_answer_is_dropped() -> None:
    model = Stoppable()
    loop = loop_over(model)
    prompt = list(range(90)) * 2
    loop.add(answer("a", prompt))
    model.meanwhile = lambda: loop.interrupt("a")
    assert loop.advance() == []
    model.meanwhile = lambda: loop.interrupt("another")
    assert loop.advance() == []
    [token] = loop.advance()
    assert isinstance(token, Token)
    assert [token.token] == alone(prompt, 1, Sampler(0.0, 1.0))
    loop.interrupt("a")
    loop.drop("a")
    assert loop.idle


class Ready(ScriptedModel):
    """Scores as wide as the real ones, without the work."""

    def __init__(self) -> None:
        super().__init__(capacity=4096)
        self._wide = np.random.default_rng(1).normal(size=(4, 200_064)).astype(np.float32)

    def _run(self, first: int, tokens: NDArray[np.int32], lengths: NDArray[Any]) -> NDArray[Any]:
        return self._wide[: len(tokens)]


@pytest.mark.parametrize("penalized", [False, True])
def test_a_step_of_four_costs_three_milliseconds_of_python_at_most(penalized: bool) -> None:
    loop = loop_over(Ready())
    for number in range(4):
        prompt = np.arange(1000, dtype=np.int32)
        penalties = Penalties(prompt, repetition=1.1, frequency=0.5) if penalized else Penalties()
        loop.add(Answer(f"a{number}", prompt, Sampler(0.8, 0.95, number), penalties))
    while len(loop.advance()) < 4:
        pass
    seconds = []
    for _ in range(60):
        began = time.thread_time()
        loop.advance()
        seconds.append(time.thread_time() - began)
    # The quickest third: the others say what else shares the caches of this machine.
    assert statistics.median(sorted(seconds)[:20]) < 0.003
