"""The state of one run over a fleet, as pure data: what became of each host, and the exit code that follows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType


class Outcome(StrEnum):
    """How a host ended in one run."""

    DONE = "done"  # was changed, and answered after
    UNCHANGED = "unchanged"  # nothing to do, nothing done
    FAILED = "failed"  # failed while being changed
    ROLLED_BACK = "rolled_back"  # failed after the switch, and is back on the release before
    UNHEALTHY = "unhealthy"  # passed the gate, and failed while it was watched afterwards
    TIMED_OUT = "timed_out"  # one step took longer than it may
    REVERTED = "reverted"  # was good, and went back because too many others of its rollout were bad
    UNREACHABLE = "unreachable"  # not reached, or it did not accept us, or has another host key
    LOCKED = "locked"  # it says that another run has locked it
    NO_FIT = "no_fit"  # nothing that it can run
    PREFLIGHT = "preflight"  # something that was needed before the start is missing
    INTERRUPTED = "interrupted"  # was under way when the operator ended the run
    UNTOUCHED = "untouched"  # its turn did not come


# The host has what it was to have.
GOOD = frozenset({Outcome.DONE, Outcome.UNCHANGED})
# What went wrong on a host.
BAD = frozenset({Outcome.FAILED, Outcome.UNREACHABLE, Outcome.TIMED_OUT, Outcome.UNHEALTHY, Outcome.ROLLED_BACK})
# What counts against the failure budget of a rollout: a host that says it is held is one more that did not get its
# release, unless the operator wants such hosts skipped.
COUNTED = BAD | {Outcome.LOCKED}
# The hosts that a share of counted ones is a share of.
TRIED = BAD | GOOD | {Outcome.REVERTED}

EXIT_CODES: Mapping[Outcome, int] = MappingProxyType(
    {
        Outcome.DONE: 0,
        Outcome.UNCHANGED: 0,
        Outcome.FAILED: 4,
        Outcome.ROLLED_BACK: 4,
        Outcome.UNHEALTHY: 4,
        Outcome.TIMED_OUT: 4,
        Outcome.REVERTED: 4,
        Outcome.UNREACHABLE: 5,
        Outcome.LOCKED: 6,
        Outcome.NO_FIT: 3,
        Outcome.PREFLIGHT: 3,
        Outcome.INTERRUPTED: 130,
        # Not by itself: what stopped the run, Ctrl-C or another host, has a code of its own.
        Outcome.UNTOUCHED: 0,
    }
)
# What the caller must hear first: an interruption, then hosts that may be damaged, then hosts that nobody saw.
PRECEDENCE = (130, 4, 5, 6, 3)


def exit_code(outcomes: Iterable[Outcome]) -> int:
    """Return the exit code of a run with these outcomes: the first of `PRECEDENCE` that occurs, else 0."""
    codes = {EXIT_CODES[outcome] for outcome in outcomes}
    return next((code for code in PRECEDENCE if code in codes), 0)


@dataclass(frozen=True, slots=True)
class RunState:
    """One run: every host with its outcome, in the order of the inventory."""

    outcomes: Mapping[str, Outcome]

    @classmethod
    def start(cls, hosts: Iterable[str]) -> RunState:
        """Return a run in which no host has been touched yet."""
        return cls(MappingProxyType(dict.fromkeys(hosts, Outcome.UNTOUCHED)))

    def ended(self, host: str, outcome: Outcome) -> RunState:
        """Return the state after `host` came to `outcome`; raises KeyError for a host that is not in the run."""
        if host not in self.outcomes:
            raise KeyError(host)
        return replace(self, outcomes=MappingProxyType({**self.outcomes, host: outcome}))

    @property
    def counts(self) -> dict[str, int]:
        """How many hosts came to each outcome, only those that occur."""
        present = list(self.outcomes.values())
        return {outcome.value: present.count(outcome) for outcome in Outcome if outcome in present}

    @property
    def untouched(self) -> tuple[str, ...]:
        """Hosts whose turn has not come."""
        return tuple(host for host, outcome in self.outcomes.items() if outcome is Outcome.UNTOUCHED)

    @property
    def exit_code(self) -> int:
        """The exit code if the run ended now."""
        return exit_code(self.outcomes.values())
