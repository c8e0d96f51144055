"""When a silent model process counts as stalled, and when as hung; time is a number here."""

from __future__ import annotations

import itertools

import pytest
from fake_worker import FakeBackend
from shapes import script

from phi4_engine import pulse, worker
from phi4_engine.pulse import Pulse
from phi4_engine.wire import Command, Event, Finished, Job


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
        self.closed = False
        self.heard = [clock.now]

    @property
    def last_sent(self) -> float:
        return self.heard[-1]

    def commands(self, *, wait: bool) -> list[Command]:
        found, self._jobs = [Command("generate", job.id, job) for job in self._jobs], []
        return found

    def send(self, event: Event) -> None:
        self.heard.append(self._clock.now)
        self._open -= isinstance(event, Finished)
        self.closed = not self._open


def test_a_worker_whose_pieces_take_a_third_of_the_limit_is_heard_after_each(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    """With four of them a round takes longer than the limit."""
    piece = pulse.LEAST_SECONDS / 3

    class Slow(worker.Generation):
        def advance(self) -> str:
            clock.now += piece
            return super().advance()

    monkeypatch.setattr(worker, "Generation", Slow)
    monkeypatch.setattr(worker.time, "monotonic", clock)
    jobs = [Job(str(n), ({"role": "user", "content": script("<|user|>" * 3)},), 3, 0.0, 1.0) for n in range(4)]
    pipes = ScriptedPipes(clock, jobs)
    worker.Worker(FakeBackend(), pipes, 400).run()  # type: ignore[arg-type]
    gaps = [after - before for before, after in itertools.pairwise(pipes.heard)]
    assert len(gaps) >= 16
    assert max(gaps) == pytest.approx(piece)
