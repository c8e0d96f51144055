"""When a silent model process counts as stalled, and when as hung; time is a number here."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from fake_worker import FakeModel, FakeTokenizer, Script
from numpy.typing import NDArray
from shapes import script

from phi4_engine import pulse, worker
from phi4_engine.pulse import Pulse
from phi4_engine.wire import Command, Event, Finished, Job, Sampling, Started


class Clock:
    """Time that goes on only when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.mark.parametrize(("slowest", "limit"), [(0.0, 20), (0.01, 20), (1.0, 20), (2.0, 40), (7.0, 140), (25.0, 300)])
def test_the_limit_follows_the_slowest_piece_within_bounds(clock: Clock, slowest: float, limit: float) -> None:
    found = Pulse(clock)
    found.learn(slowest / 2)
    clock.now += slowest
    found.heard(working=True)
    assert found.limit == pytest.approx(limit)
    for silence, stalled, hung in ((0.49, False, False), (0.51, True, False), (1.01, True, True)):
        clock.now = 1000.0 + slowest + silence * limit
        assert (found.stalled, found.hung) == (stalled, hung)
    found.heard(working=False)
    assert (found.stalled, found.hung) == (False, False)


def test_waiting_for_work_is_no_piece_of_it(clock: Clock) -> None:
    found = Pulse(clock)
    clock.now += 9
    found.heard(working=False)
    clock.now += 9
    found.begins()
    clock.now += 0.5
    found.heard(working=True)
    assert found.limit == 20
    clock.now += 9
    found.heard(working=True)
    assert found.limit == 180


class ScriptedPipes:
    """Hands four requests to a worker and closes when all are answered; notes when it was heard."""

    def __init__(self, clock: Clock, jobs: list[Job]) -> None:
        self._clock = clock
        self._jobs = jobs
        self._open = len(jobs)
        self._over = threading.Event()
        self.heard = [clock.now]

    def commands(self) -> Iterator[Command]:
        yield from [Command("generate", job.id, job) for job in self._jobs]
        self._over.wait(60)

    def send(self, *events: Event) -> None:
        if any(isinstance(event, Started) for event in events):
            return  # the thread that reads commands says so; it tells nothing of the loop
        self.heard.append(self._clock.now)
        self._open -= sum(isinstance(event, Finished) for event in events)
        if not self._open:
            self._over.set()


def test_a_worker_whose_pieces_take_a_third_of_the_limit_is_heard_after_each(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    """With four prompts to read a round takes longer than the limit."""
    piece = pulse.LEAST_SECONDS / 3

    class Slow(FakeModel):
        def read(self, row: int, start: int, tokens: NDArray[np.int32]) -> NDArray[np.float32]:
            clock.now += piece
            return super().read(row, start, tokens)

        def step(self, first: int, tokens: NDArray[np.int32], lengths: NDArray[np.int32]) -> NDArray[np.float32]:
            clock.now += piece
            return super().step(first, tokens, lengths)

    monkeypatch.setattr(worker.time, "monotonic", clock)
    jobs = [Job(str(n), ({"role": "user", "content": script("<|user|>" * 3)},), 3, Sampling(0.0)) for n in range(4)]
    pipes, scripts = ScriptedPipes(clock, jobs), list[Script]()
    backend = worker.Backend(FakeTokenizer(scripts), Slow(scripts, 4, 400))
    worker.Worker(backend, pipes, 400).run()  # type: ignore[arg-type]
    gaps = [after - before for before, after in itertools.pairwise(pipes.heard)]
    assert len(gaps) >= 6
    assert max(gaps) == pytest.approx(piece)
