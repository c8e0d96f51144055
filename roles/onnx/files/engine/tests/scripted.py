"""A model without weights: its next token depends on all that its cache holds, so a wrong cache is a wrong token."""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phi4_engine.loop.decode import Answer, DecodeLoop, Failed, Token
from phi4_engine.loop.rows import Rows
from phi4_engine.loop.sampling import Penalties, Sampler
from phi4_engine.loop.schedule import WHOLE_PIECE, Schedule
from phi4_engine.modeldir import SHORT_CONTEXT

VOCABULARY = 97
ALONE = 0.25
"""What a token adds to its key when it was computed by itself: the real kernels differ there in the last bits."""


class ScriptedModel:
    """The real contract: a range of rows, several tokens at once for one row only, never beyond the capacity."""

    def __init__(self, rows: int = 4, capacity: int = 256) -> None:
        # Two arrays, as of a key and a value with several heads: what is moved must be moved in all of them.
        self.cache: Sequence[NDArray[Any]] = [np.zeros((rows, heads, capacity, 1)) for heads in (1, 2)]
        self.runs: list[tuple[int, int, int]] = []
        self.fails_at: int | None = None
        """A run in which a row begins with this token fails."""

    def read(self, row: int, start: int, tokens: NDArray[np.int32]) -> NDArray[Any]:
        """One row, several tokens."""
        assert 1 <= len(tokens) <= WHOLE_PIECE
        return self._run(row, tokens[None], np.array([start]))[0]

    def step(self, first: int, tokens: NDArray[np.int32], lengths: NDArray[np.int32]) -> NDArray[Any]:
        """Several rows, one token each."""
        return self._run(first, tokens[:, None], lengths)

    def halt(self, stop: bool) -> None:
        """Its runs take no time."""

    def _run(self, first: int, tokens: NDArray[np.int32], lengths: NDArray[Any]) -> NDArray[Any]:
        count, width = tokens.shape
        self.runs.append((first, count, width))
        found = []
        for at in range(count):
            row, start = first + at, int(lengths[at])
            assert start + width <= self.cache[0].shape[2], "beyond the capacity"
            for array in self.cache:
                array[row, :, start : start + width, 0] = tokens[at] + (ALONE if width == 1 else 0)
            if self.fails_at is not None and self.cache[0][row, 0, 0, 0] == self.fails_at:
                raise RuntimeError("bad allocation")
            found.append(scores([array[row, -1, : start + width, 0] for array in self.cache]))
        return np.array(found)


def scores(held: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """What a cache with this in it makes of the next token."""
    digest = 0
    for array in held:
        digest = zlib.crc32(np.ascontiguousarray(array, np.float64).tobytes(), digest)
    return np.random.default_rng(digest).normal(size=VOCABULARY)


def alone(prompt: Sequence[int], tokens: int, sampler: Sampler, penalties: Penalties | None = None) -> list[int]:
    """The answer that this prompt has when nobody else is there."""
    penalties = penalties or Penalties()
    held = np.array(prompt, np.float64) + (ALONE if len(prompt) == 1 else 0)
    found: list[int] = []
    for _ in range(tokens):
        found.append(sampler.pick(penalties.applied(scores([held, held]))))
        penalties.count(found[-1])
        held = np.append(held, found[-1] + ALONE)
    return found


@dataclass(frozen=True)
class Request:
    """One request of a random schedule: it arrives at a unit of work, and may leave before its end."""

    id: str
    prompt: tuple[int, ...]
    tokens: int
    arrives: int
    leaves: int | None
    seed: int | None

    def sampler(self) -> Sampler:
        """Greedy without a seed."""
        return Sampler(0.0 if self.seed is None else 0.9, 0.95, self.seed)

    def penalties(self) -> Penalties:
        """As hard as can be for half of them."""
        if self.tokens % 2:
            return Penalties()
        prompt = np.array(self.prompt, np.int32)
        return Penalties(prompt, bias=[(7, 2.5)], repetition=1.5, frequency=0.7, presence=1.0)


def requests(dice: random.Random, count: int, longest: int, vocabulary: int, units: int) -> list[Request]:
    """Different lengths, some beginnings in common, arrivals at random, some that leave."""
    stems = [[dice.randrange(vocabulary) for _ in range(longest)] for _ in range(3)]
    made = []
    for number in range(count):
        shared = dice.choice([0, 31, 32, 33, longest // 2, longest - 2])
        own = [dice.randrange(vocabulary) for _ in range(dice.randint(1, longest - shared))]
        arrives = dice.randrange(units)
        made.append(
            Request(
                id=f"r{number}",
                prompt=(*dice.choice(stems)[:shared], *own),
                tokens=dice.randint(1, 24),
                arrives=arrives,
                leaves=arrives + dice.randrange(units) if dice.random() < 0.2 else None,
                seed=dice.choice([None, 1, dice.randrange(10**9)]),
            )
        )
    return made


def play(model: Any, wanted: Sequence[Request], *, reuse: bool = True) -> dict[str, list[int]]:
    """Every request through one loop; the tokens of each, fewer where it left."""
    rows = Rows(model.cache, reuse=SHORT_CONTEXT if reuse else 0)
    loop = DecodeLoop(model, rows, Schedule())
    found: dict[str, list[int]] = {one.id: [] for one in wanted}
    coming = sorted(wanted, key=lambda one: one.arrives)
    leaving = [one for one in wanted if one.leaves is not None]
    limits = {one.id: one.tokens for one in wanted}
    unit = 0
    while coming or not loop.idle:
        while coming and coming[0].arrives <= unit:
            one = coming.pop(0)
            loop.add(Answer(one.id, np.array(one.prompt, np.int32), one.sampler(), one.penalties()))
        for one in [one for one in leaving if one.leaves == unit]:
            loop.drop(one.id)
        for outcome in loop.advance():
            assert isinstance(outcome, Token), outcome
            found[outcome.id].append(outcome.token)
            if len(found[outcome.id]) == limits[outcome.id]:
                loop.drop(outcome.id)
        unit += 1
    return found


def failures(outcomes: Sequence[Token | Failed]) -> list[str]:
    """Whose answers have failed."""
    return [outcome.id for outcome in outcomes if isinstance(outcome, Failed)]
