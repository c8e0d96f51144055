"""What the views know: every host's state, the waves, the bake and the budget. No clock and no output of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from phi4_edge.core.rollout.outcome import BAD, GOOD, Outcome
from phi4_edge.report import outcomes
from phi4_edge.report.text import cut, size_of

if TYPE_CHECKING:
    from phi4_edge.core.rollout.waves import Wave
    from phi4_edge.runner.run import HostEvent

WAITING, RUNNING, BAKING, BACK = "waiting", "running", "baking", "going back"
WORKED_ON = (RUNNING, BAKING, BACK)
# Words that are no success and no work either: they stay in sight.
TROUBLE = frozenset(Outcome) - GOOD - {Outcome.UNTOUCHED}
ENDS = ("failed", "unreachable")
_IDLE_SECONDS = 2.0  # shorter waits are between any two tasks
_ARGUMENTS = "Validating arguments"  # the task that Ansible adds to every role


@dataclass(slots=True)
class Line:
    """One host: its state (waiting, one of `WORKED_ON`, or how it ended), and since when, in seconds of a clock.

    `trouble` is the last thing that went wrong; `outcome` is what the run said of it, "" while it has said nothing.
    """

    host: str
    state: str = WAITING
    step: str = ""
    task: str = ""
    trouble: str = ""
    outcome: str = ""
    began: float | None = None
    task_began: float | None = None
    task_ended: float | None = None
    ended: float | None = None

    def seconds(self, now: float) -> float:
        """Time from its first task to its end, or to now."""
        return 0.0 if self.began is None else max((now if self.ended is None else self.ended) - self.began, 0.0)

    def task_seconds(self, now: float) -> float:
        """Time of the task that runs; 0 when none does."""
        return 0.0 if self.task_began is None else max(now - self.task_began, 0.0)

    def waits(self, now: float) -> bool:
        """Whether its task is over for a while: Ansible begins the next one when the other hosts are there too."""
        return self.task_ended is not None and now - self.task_ended >= _IDLE_SECONDS


@dataclass(slots=True)
class Span:
    """When a wave began and ended."""

    began: float | None = None
    ended: float | None = None


@dataclass
class Board:
    """Everything that was told. `steps`: what each role is doing, for people. Each `now` is of the same clock."""

    steps: Mapping[str, str]
    title: str = ""
    lines: dict[str, Line] = field(default_factory=dict)
    id: str = ""
    began: float = 0.0
    waves: tuple[Wave, ...] = ()
    spans: dict[int, Span] = field(default_factory=dict)
    current: Wave | None = None
    budget: str = ""
    bad: int = 0
    exceeded: bool = False
    bake_ends: float | None = None

    def line(self, host: str) -> Line:
        """The host's line, made when it has none."""
        return self.lines.setdefault(host, Line(host))

    def phase(self, text: str, now: float) -> None:
        """Something that concerns all hosts begins; a bake is over by then."""
        self.settle(now)
        self.title = text

    def progress(self, name: str, step: str, detail: str, done: int, total: int) -> None:
        """Something is being made on the controller."""
        amount = f" {done * 100 // total} % of {size_of(total)}" if total else ""
        self.title = f"{name}: {step}{amount} {detail}"

    def take(self, event: HostEvent, now: float) -> bool:
        """Records the event; true when the host went on to another step or stopped."""
        line = self.line(event.host)
        before = (line.state, line.step)
        if line.began is None:
            line.began = now
        line.task = "" if event.task.startswith(_ARGUMENTS) else event.task
        line.task_began, line.task_ended = (now, None) if event.kind == "start" else (None, now)
        line.step = self.steps.get(event.role, event.role or line.step)
        if event.kind in ENDS:
            line.state, line.trouble, line.ended = event.kind, event.message or line.trouble, now
        elif event.kind == "start" or not line.outcome:
            line.state, line.ended = self._work(line), None
        return (line.state, line.step) != before

    def _work(self, line: Line) -> str:
        """What a task on the host means: one that was through is watched, or it goes back."""
        if self.bake_ends is not None:
            return BAKING
        return BACK if line.outcome in GOOD | {Outcome.UNHEALTHY} else RUNNING

    def end(self, host: str, outcome: str, now: float) -> None:
        """A host is through."""
        line = self.line(host)
        line.state = line.outcome = outcome
        line.task_began = None
        if line.ended is None:
            line.ended = now

    def rollout(self, id: str, waves: Sequence[Wave], budget: str, now: float) -> None:
        """What was known of hosts before, for example from looking at them, is forgotten unless it is trouble."""
        self.id, self.waves, self.budget, self.began, self.title = id, tuple(waves), budget, now, ""
        hosts = [host for wave in self.waves for host in wave.hosts]
        kept = {host: line for host, line in self.lines.items() if line.state in TROUBLE and host not in set(hosts)}
        self.lines = {**kept, **{host: Line(host) for host in hosts}}
        self.spans = {wave.number: Span() for wave in self.waves}
        self.current, self.bake_ends, self.bad, self.exceeded = None, None, 0, False

    def wave(self, wave: Wave, now: float) -> None:
        """The work on a wave begins."""
        self._end_wave(now)
        self.current, self.title = wave, "" if self.waves else self.title
        self.spans[wave.number] = Span(now)
        for host in wave.hosts:
            self.line(host)

    def bake(self, wave: Wave, seconds: float, now: float) -> None:
        """The wave's good hosts are watched."""
        self.bake_ends, self.title = now + max(seconds, 0.0), ""
        for host in wave.hosts:
            line = self.line(host)
            if line.outcome in GOOD:
                line.state, line.step, line.task, line.task_ended = BAKING, "", "", None

    def spent(self, bad: int, exceeded: bool, now: float) -> bool:
        """So many hosts count against the budget; true when that is news. It is counted when a bake is over too."""
        self.settle(now)
        news = (bad, exceeded) != (self.bad, self.exceeded)
        self.bad, self.exceeded = bad, exceeded
        return news

    def close(self, now: float) -> None:
        """Nothing more comes."""
        self.title = ""
        self._end_wave(now)
        for line in self.lines.values():
            if line.state == WAITING:
                line.state = Outcome.UNTOUCHED

    @property
    def place(self) -> str:
        """The wave that is worked on, by name and by number of how many."""
        if self.current is None:
            return ""
        numbers = [wave.number for wave in self.waves]
        name, number = cut(self.current.name, 20), self.current.number
        return f"{name} ({numbers.index(number) + 1} of {len(numbers)})" if number in numbers else name

    def group(self, wave: Wave) -> list[Line]:
        """The lines of a wave's hosts."""
        return [self.line(host) for host in wave.hosts]

    def _end_wave(self, now: float) -> None:
        self.settle(now)
        if self.current is not None and (span := self.spans[self.current.number]).ended is None:
            span.ended = now

    def settle(self, now: float) -> None:
        """Hosts that were worked on again, and of which nothing else was said since, are what they were before."""
        self.bake_ends = None
        for line in self.lines.values():
            if line.state in WORKED_ON and line.outcome:
                line.state, line.task_began = line.outcome, None
                line.ended = now if line.ended is None else line.ended


def word(state: str) -> str:
    """A state or an outcome for people. Good ones are called the same here whatever the command does."""
    return cut(state, 20) if state in GOOD or state not in set(Outcome) else outcomes.word(state).text


def counts(lines: Sequence[Line]) -> str:
    """How many hosts are in which state: at work, then good, then in trouble, then those whose turn will come."""
    order = (*WORKED_ON, *sorted(GOOD), *sorted(BAD), *sorted(TROUBLE - BAD))
    found: dict[str, int] = {}
    for line in lines:
        found[line.state] = found.get(line.state, 0) + 1
    known = [state for state in order if state in found]
    rest = [state for state in found if state not in order]
    return ", ".join(f"{found[state]} {word(state)}" for state in [*known, *rest])
