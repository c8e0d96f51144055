"""One unit of work at a time: a step for everybody who decodes, or a piece of the oldest prompt.

Pure against the `Model` protocol. One thread runs it; `interrupt` alone may be called from another.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from phi4_engine.loop.grammar import Constraint, GrammarError
from phi4_engine.loop.rows import Rows
from phi4_engine.loop.sampling import Logprobs, Penalties, Sampler, logprobs
from phi4_engine.loop.schedule import Piece, Schedule


class Model(Protocol):
    """The graph with its KV cache. Its runs raise RuntimeError when the runtime fails."""

    @property
    def cache(self) -> Sequence[NDArray[Any]]:
        """Every array of keys or values, [rows, heads, capacity, head size]."""

    def read(self, row: int, start: int, tokens: NDArray[np.int32]) -> NDArray[Any]:
        """The row holds these tokens from `start` on; returns the scores for the next one, [vocabulary]."""

    def step(self, first: int, tokens: NDArray[np.int32], lengths: NDArray[np.int32]) -> NDArray[Any]:
        """The rows from `first` on hold one token more each, at `lengths`; returns scores, [rows, vocabulary]."""

    def halt(self, stop: bool) -> None:
        """With true the run in progress ends at once, with an error; with false the next ones run again."""


@dataclass
class Answer:
    """One answer, as tokens. Ids of several answers to one request are its id, and that with "/" and more."""

    id: str
    prompt: NDArray[np.int32]
    sampler: Sampler
    penalties: Penalties = field(default_factory=Penalties)
    logprobs: int | None = None
    """So many of the likeliest tokens are told with each token; None: no logprobs at all."""
    cached: int = 0
    """Tokens of the prompt that were there already."""
    last: int = -1
    """The token that was drawn last; the cache does not have it yet."""
    siblings: Sequence[Answer] = ()
    """Further answers to the same prompt, which is read once for all of them."""
    constraint: Constraint | None = None
    """What its form allows next; None where it is free."""

    @property
    def request(self) -> str:
        """The id of the request that it answers."""
        return self.id.partition("/")[0]


@dataclass(frozen=True)
class Token:
    """The next token of an answer."""

    id: str
    token: int
    logprobs: Logprobs | None = None


@dataclass(frozen=True)
class Failed:
    """The answer cannot go on; it has left the loop."""

    id: str
    message: str
    form: bool = False
    """It is the form that the answer should have which cannot be followed any more."""


class DecodeLoop:
    """Answers, from prompt to last token. Each one stays until it is dropped or has failed."""

    def __init__(
        self,
        model: Model,
        rows: Rows,
        schedule: Schedule,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model = model
        self._rows = rows
        self._schedule = schedule
        self._clock = clock
        self._waiting: deque[Answer] = deque()
        self._reading: Answer | None = None
        self._decoding: dict[str, Answer] = {}
        self._guard = threading.Lock()
        self._running: str | None = None
        self._halted = False

    @property
    def idle(self) -> bool:
        """There is nothing to do."""
        return not (self._waiting or self._reading or self._decoding)

    def add(self, answer: Answer) -> None:
        """It is answered when its turn comes, and so are its siblings. Prompt and whole answer must fit a row."""
        self._waiting.append(answer)

    def drop(self, answer_id: str) -> None:
        """The answer is over, or nobody wants it any more; without effect on one that has left.

        Siblings of one whose prompt has not been read leave with it.
        """
        self._waiting = deque(one for one in self._waiting if one.id != answer_id)
        if self._reading is not None and self._reading.id == answer_id:
            self._reading = None
        elif self._decoding.pop(answer_id, None) is None:
            return
        self._rows.give_back(answer_id)

    def interrupt(self, request: str | None) -> None:
        """The piece of this request's prompt that is being read ends at once, any piece with None; for any thread."""
        with self._guard:
            if self._running is not None and request in (None, self._running):
                self._halted = True
                self._model.halt(True)

    def advance(self) -> list[Token | Failed]:
        """One unit of work."""
        self._admit()
        reading = self._reading
        left = 0 if reading is None else len(reading.prompt) - self._rows.length(reading.id)
        unit = self._schedule.choose(decoding=bool(self._decoding), left=left)
        if reading is not None and isinstance(unit, Piece):
            return self._read(reading, unit.tokens)
        return self._step() if unit is not None else []

    def _admit(self) -> None:
        """The oldest prompt has a row. Not before its turn: until then others may have read what it begins with."""
        if self._reading is None and self._waiting:
            cached = self._rows.take(self._waiting[0].id, self._waiting[0].prompt)
            if cached is not None:
                self._reading = self._waiting.popleft()
                self._reading.cached = cached

    def _read(self, answer: Answer, count: int) -> list[Token | Failed]:
        start = self._rows.length(answer.id)
        piece = answer.prompt[start : start + count]
        with self._guard:
            self._running = answer.request
        began = self._clock()
        try:
            scores = self._model.read(self._rows.index(answer.id), start, piece)
        except RuntimeError as error:
            return [] if self._resumed() else self._fail_all(answer, error)
        if not self._resumed():
            self._schedule.measured(count, self._clock() - began)
        self._rows.wrote(answer.id, piece, read=True)
        if start + count < len(answer.prompt):
            return []
        self._reading = None
        return [self._draw(one, scores) for one in self._family(answer)]

    def _family(self, answer: Answer) -> list[Answer]:
        """The answer whose prompt has been read, and its siblings: they decode from here on.

        The web process has kept rows for them. Where one is missing all the same, a sibling reads the prompt itself.
        """
        found = [answer]
        for one in answer.siblings:
            if self._rows.fork(answer.id, one.id):
                found.append(one)
            else:
                self._waiting.append(one)
        self._decoding |= {one.id: one for one in found}
        return found

    def _resumed(self) -> bool:
        """Runs go on as usual after this; true when the last one had been told to stop."""
        with self._guard:
            stopped = self._halted
            self._running, self._halted = None, False
            self._model.halt(False)
        return stopped

    def _step(self) -> list[Token | Failed]:
        first, ids = self._rows.gather(self._decoding)
        batch = [self._decoding[one] for one in ids]
        try:
            scores: Sequence[NDArray[Any]] = list(self._run(first, batch))
        except RuntimeError as error:
            if len(batch) == 1:
                return [self._fail(batch[0], error)]
            return self._one_by_one(batch)
        return [self._written(answer, row) for answer, row in zip(batch, scores, strict=True)]

    def _one_by_one(self, batch: Sequence[Answer]) -> list[Token | Failed]:
        """A run raised for some row: only those whose own run fails too have failed."""
        found: list[Token | Failed] = []
        for answer in batch:
            try:
                scores = self._run(self._rows.index(answer.id), [answer])[0]
            except RuntimeError as error:
                found.append(self._fail(answer, error))
            else:
                found.append(self._written(answer, scores))
        return found

    def _run(self, first: int, batch: Sequence[Answer]) -> NDArray[Any]:
        tokens = np.array([answer.last for answer in batch], np.int32)
        lengths = np.array([self._rows.length(answer.id) for answer in batch], np.int32)
        return self._model.step(first, tokens, lengths)

    def _written(self, answer: Answer, scores: NDArray[Any]) -> Token | Failed:
        self._rows.wrote(answer.id, [answer.last], read=False)
        return self._draw(answer, scores)

    def _draw(self, answer: Answer, scores: NDArray[Any]) -> Token | Failed:
        bound = answer.constraint
        try:
            changed = answer.penalties.applied(scores)
            answer.last = answer.sampler.pick(changed if bound is None else bound.masked(changed))
            if bound is not None:
                bound.accept(answer.last)
        except ValueError as error:
            return self._fail(answer, error)
        answer.penalties.count(answer.last)
        told = None if answer.logprobs is None else logprobs(scores, answer.last, answer.logprobs)
        return Token(answer.id, answer.last, told)

    def _fail_all(self, answer: Answer, error: Exception) -> list[Token | Failed]:
        """The prompt cannot be read: nobody who waits for it goes on."""
        return [self._fail(answer, error), *(Failed(one.id, str(error)) for one in answer.siblings)]

    def _fail(self, answer: Answer, error: Exception) -> Failed:
        if self._reading is answer:
            self._reading = None
        self._decoding.pop(answer.id, None)
        self._rows.forget(answer.id)
        return Failed(answer.id, str(error), form=isinstance(error, GrammarError))
