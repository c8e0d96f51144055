"""A rollout as a state machine: what is to be done next, given what became of the hosts so far.

Whoever drives it does what `action` says and tells it the result. Once more hosts count than the budget allows, no
action names a host that has not begun, whatever is told afterwards.

A host that says another run has locked it is one host: it counts, or is skipped, and decides nothing for the others.
It says nothing about the release either: where only such hosts spend the budget, nobody is taken back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import TypeVar

from phi4_edge.core.rollout.budget import Budget
from phi4_edge.core.rollout.outcome import BAD, COUNTED, TRIED, Outcome
from phi4_edge.core.rollout.waves import Wave
from phi4_edge.errors import WaveError

__all__ = ["Action", "Bake", "End", "Revert", "Rollout", "RunWave", "Stop"]

# Of the hosts that are settled before the first wave only these are part of the sample: hosts that had nothing to be
# done would make every share of bad ones look small.
_SAMPLED_BEFORE = BAD | {Outcome.DONE}


class Stop(StrEnum):
    """Why a rollout ended before all of its hosts had their turn, or with hosts taken back."""

    BUDGET = "budget"
    LOCKED = "locked"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class RunWave:
    """Change the hosts of this wave; then `wave_ended`."""

    wave: Wave


@dataclass(frozen=True, slots=True)
class Bake:
    """Watch these hosts of the wave for so many seconds; then `bake_ended`."""

    wave: Wave
    hosts: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Revert:
    """Bring these hosts of the wave back to the release before, where they have one; then `reverted`."""

    wave: Wave
    hosts: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class End:
    """Nothing more is to be done. `stop` None: every host had its turn."""

    stop: Stop | None


Action = RunWave | Bake | Revert | End
A = TypeVar("A", RunWave, Bake, Revert)


@dataclass(frozen=True)
class Rollout:
    """One rollout. `outcomes`: every host's, those of `before` included; make it with `start`."""

    waves: tuple[Wave, ...]
    budget: Budget
    bake_seconds: float
    before: Mapping[str, Outcome]
    outcomes: Mapping[str, Outcome]
    action: Action
    exceeded: bool
    skip_locked: bool = False

    @classmethod
    def start(
        cls,
        waves: Sequence[Wave],
        budget: Budget,
        bake_seconds: float,
        before: Mapping[str, Outcome],
        skip_locked: bool = False,
    ) -> Rollout:
        """Return a rollout in which no wave has begun.

        `before`: hosts that are settled already, such as those that cannot be reached. `skip_locked`: hosts that
        another run holds do not count. Raises WaveError when a host has two places.
        """
        hosts = [host for wave in waves for host in wave.hosts]
        places = Counter([*hosts, *before])
        if doubled := [host for host, count in places.items() if count > 1]:
            raise WaveError(f"found {doubled[0]} twice in one rollout, needed each host once")
        outcomes = {**before, **dict.fromkeys(hosts, Outcome.UNTOUCHED)}
        settled = MappingProxyType(dict(before))
        begun = cls(tuple(waves), budget, bake_seconds, settled, outcomes, End(None), False, skip_locked)
        return begun._told({})._begin(0)

    @property
    def bad(self) -> int:
        """Hosts that count against the budget."""
        return sum(outcome in self._counted for outcome in self.outcomes.values())

    @property
    def finished(self) -> int:
        """Hosts that had their turn, and that a share of bad ones is a share of."""
        return self._finished(TRIED | self._counted)

    @property
    def total(self) -> int:
        """Hosts of the rollout: all of its waves, and those settled before that count."""
        return sum(self._sampled(host) for host in self.outcomes)

    @property
    def stop(self) -> Stop | None:
        """Why it ended early; None when it did not, or goes on."""
        return self.action.stop if isinstance(self.action, End) else None

    def wave_ended(self, results: Mapping[str, Outcome]) -> Rollout:
        """Return the state after the wave of `RunWave`. A host without a result has not begun."""
        wave = self._expected(RunWave).wave
        after = self._told(results, wave.hosts)
        here = [after.outcomes[host] for host in wave.hosts]
        done = after._with(wave.hosts, Outcome.DONE)
        if Outcome.INTERRUPTED in here or Outcome.UNTOUCHED in here:
            return after._end(Stop.INTERRUPTED)
        if stop := after._spent():
            return after._revert(wave, done if stop is Stop.BUDGET else (), stop)
        if done and self.bake_seconds > 0 and wave.number + 1 < len(self.waves):
            return replace(after, action=Bake(wave, done, self.bake_seconds))
        return after._begin(wave.number + 1)

    def bake_ended(self, unhealthy: Mapping[str, Outcome]) -> Rollout:
        """Return the state after the bake of `Bake`; `unhealthy` holds those that did not stay well, and how.

        One that another run had taken before it could be watched is locked: it is that run's from then on.
        """
        bake = self._expected(Bake)
        known = (Outcome.UNHEALTHY, Outcome.UNREACHABLE, Outcome.LOCKED)
        wrong = [outcome for outcome in unhealthy.values() if outcome not in known]
        if wrong:
            raise WaveError(f"found a host that ended {wrong[0]} in a bake, needed unhealthy, unreachable or locked")
        after = self._told(unhealthy, bake.hosts)
        sick = after._with(bake.hosts, Outcome.UNHEALTHY)
        stop = after._spent()
        if stop is Stop.BUDGET:
            sick = after._with(bake.hosts, Outcome.UNHEALTHY, Outcome.DONE)
        return after._revert(bake.wave, sick, stop)

    def reverted(self, results: Mapping[str, Outcome]) -> Rollout:
        """Return the state after `Revert`. A host that was good and could not go back tells DONE, or how it failed.

        A host that became unhealthy stays so, wherever it is now.
        """
        revert = self._expected(Revert)
        good = set(self._with(revert.hosts, Outcome.DONE))
        told = {host: outcome for host, outcome in results.items() if host in good}
        if Outcome.UNTOUCHED in told.values():
            raise WaveError("found a host that was changed and is told as untouched, needed interrupted")
        after = self._told(told, revert.hosts)
        if Outcome.INTERRUPTED in results.values():
            return after._end(Stop.INTERRUPTED)
        stop = after._spent()
        return after._end(stop) if stop else after._begin(revert.wave.number + 1)

    def interrupted(self) -> Rollout:
        """Return the state after the operator ended it; nothing more begins. An ended rollout stays as it is."""
        return self if isinstance(self.action, End) else self._end(Stop.INTERRUPTED)

    def _expected(self, kind: type[A]) -> A:
        if not isinstance(self.action, kind):
            name = type(self.action).__name__
            raise WaveError(f"found a rollout whose next action is {name}, needed {kind.__name__}")
        return self.action

    def _told(self, results: Mapping[str, Outcome], among: Sequence[str] = ()) -> Rollout:
        """Return the state with these outcomes; the budget, once exceeded, stays so."""
        strange = [host for host in results if host not in among]
        if strange:
            raise WaveError(f"found a result of {strange[0]}, needed only hosts of what was asked for")
        told = replace(self, outcomes=MappingProxyType({**self.outcomes, **results}))
        return replace(told, exceeded=self.exceeded or self.budget.exceeded(told.bad, told.finished, told.total))

    def _begin(self, number: int) -> Rollout:
        """Return the state in which the wave of this number is next, if one may begin."""
        if stop := self._spent():
            return self._end(stop)
        return replace(self, action=RunWave(self.waves[number])) if number < len(self.waves) else self._end(None)

    def _revert(self, wave: Wave, hosts: tuple[str, ...], stop: Stop | None) -> Rollout:
        if hosts:
            return replace(self, action=Revert(wave, hosts, self._why()))
        return self._end(stop) if stop else self._begin(wave.number + 1)

    def _spent(self) -> Stop | None:
        """Return what spent the budget, None where it holds: bad hosts, or only together with those that are held."""
        if not self.exceeded:
            return None
        bad = sum(outcome in BAD for outcome in self.outcomes.values())
        alone = self.budget.exceeded(bad, self._finished(TRIED), self.total)
        return Stop.BUDGET if alone or Outcome.LOCKED not in self.outcomes.values() else Stop.LOCKED

    def _why(self) -> str:
        if self._spent() is not Stop.BUDGET:
            return "it did not stay healthy while it was watched"
        return f"{self.bad} of {self.finished} hosts are bad, and the failure budget is {self.budget}"

    def _end(self, stop: Stop | None) -> Rollout:
        return replace(self, action=End(stop))

    def _with(self, hosts: Sequence[str], *outcomes: Outcome) -> tuple[str, ...]:
        return tuple(host for host in hosts if self.outcomes[host] in outcomes)

    @property
    def _counted(self) -> frozenset[Outcome]:
        return BAD if self.skip_locked else COUNTED

    def _finished(self, among: frozenset[Outcome]) -> int:
        return sum(self._sampled(host) and outcome in among for host, outcome in self.outcomes.items())

    def _sampled(self, host: str) -> bool:
        return host not in self.before or self.before[host] in _SAMPLED_BEFORE | self._counted
