"""Tries engines on hosts that serve: each is provisioned, proven and measured, and what served comes back after each.

Back after each one, not at the end alone: a host keeps the release that it came from only until the next but one. So
at any moment what served before is on the host, and one command brings it back, whatever becomes of this run.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from phi4_edge.artifacts.store.images import Images
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core.facts.installed import misplaced
from phi4_edge.core.facts.model import HostFacts
from phi4_edge.core.facts.receipt import Receipt, status
from phi4_edge.core.rollout.outcome import GOOD
from phi4_edge.core.rollout.waves import Size
from phi4_edge.errors import FactsError, InterruptedRunError, Phi4EdgeError
from phi4_edge.operations import bench, candidates
from phi4_edge.operations.benched import Benched, Trial, Wish, entry
from phi4_edge.operations.candidates import Asked, Candidate, LeftOut
from phi4_edge.operations.facts import unusable
from phi4_edge.operations.fleet import Fleet
from phi4_edge.operations.options import Waving
from phi4_edge.operations.plan import Planner, Seen
from phi4_edge.operations.provision import Provisioning
from phi4_edge.operations.rollout import Rolling
from phi4_edge.operations.serving import serving
from phi4_edge.report.text import count
from phi4_edge.rollout import start
from phi4_edge.rollout.apply import Play
from phi4_edge.rollout.interrupt import outlasting_terminal
from phi4_edge.rollout.result import HostResult, Outcome
from phi4_edge.view.view import View

OPERATION = "bench"
# Each host is for itself, and a lock that a step left behind is waited for on the way back.
WAVING = Waving(canary=Size(0), wave=Size(100, percent=True), bake=0.0, max_failures=Size(100, percent=True))
BACK = replace(WAVING, lock_wait=60)
# Ends of a provision after which the host serves what it served before, for sure.
_STAYED = frozenset(
    {Outcome.UNCHANGED, Outcome.ROLLED_BACK, Outcome.LOCKED, Outcome.NO_FIT, Outcome.PREFLIGHT, Outcome.UNTOUCHED}
)


@dataclass(frozen=True)
class Trying:
    """What is tried on one host, beside the receipt of what serves there."""

    receipt: Receipt
    candidates: tuple[Candidate, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def switches(self) -> tuple[Candidate, ...]:
        """Candidates that take the place of what serves."""
        return tuple(one for one in self.candidates if not one.served)


@dataclass
class Tryout:
    """`look` first, then the operator is asked, then `run`. `problems`: hosts on which nothing is tried.

    `back`: how each host came back to what served, of those that left it.
    """

    fleet: Fleet
    wish: Wish
    wanted: Sequence[Asked]
    at_a_time: int
    hosts: dict[str, Trying] = field(default_factory=dict)
    problems: list[HostResult] = field(default_factory=list)
    benched: list[Benched] = field(default_factory=list)
    back: dict[str, HostResult] = field(default_factory=dict)
    interrupted: bool = False
    _away: set[str] = field(default_factory=set)

    def look(self, view: View) -> None:
        """Every host has its candidates, or a problem, afterwards. Changes nothing."""
        seen = self.fleet.survey(view)
        found, self.problems = serving(self.fleet, seen)
        locked = start.held({name: facts for name, (_, facts) in found.items()})
        store = Store()
        planner = Planner(store.digests(), Images(store).digests())
        for name, (host, facts) in found.items():
            problem = locked.get(name) or _unsafe(name, facts)
            if problem is None:
                document = self.fleet.seen(host, seen.documents[name])
                problem = self._plan(planner, document, facts)
            self.problems += [problem] if problem else []

    def _plan(self, planner: Planner, seen: Seen, facts: HostFacts) -> HostResult | None:
        """The host has its candidates afterwards; what is said of it where it has none."""
        try:
            tried, left = candidates.choose(planner, seen, facts, self.wanted)
        except FactsError as error:
            return unusable(seen.host, error)
        if not tried:
            why = "; ".join(f"{one.engine} {one.quantization}".strip() + f": {one.reason}" for one in left)
            step = f"see what fits: phi4-edge plan INVENTORY --limit {seen.host}"
            return HostResult(seen.host, Outcome.NO_FIT, why, step)
        self.hosts[seen.host] = Trying(facts.receipt, tried, left)
        return None

    def proposal(self) -> list[dict[str, Any]]:
        """The hosts whose service is interrupted: what serves, what is tried, and seconds without answers, a guess."""
        return [
            {
                "host": host,
                "serves": f"{trying.receipt.engine} {trying.receipt.quantization}",
                "tries": [f"{one.engine} {one.quantization}" for one in trying.switches],
                # The way back takes about as long as the way there.
                "down_seconds": 2 * sum(one.down_seconds for one in trying.switches),
            }
            for host, trying in self.hosts.items()
            if trying.switches
        ]

    def ways_back(self, hosts: Iterable[str]) -> list[str]:
        """Commands that bring these hosts back to what served there, wherever this run has left them."""
        releases: dict[str, list[str]] = {}
        for host in hosts:
            releases.setdefault(self.hosts[host].receipt.release, []).append(host)
        words = ["phi4-edge", "rollback", *self.fleet.access.inventory]
        return [
            shlex.join([*words, "--limit", ",".join(names), "--to", release]) for release, names in releases.items()
        ]

    def run(self) -> None:
        """Every candidate was tried on every host, one after the other; hosts serve what they served before.

        `interrupted` says that Ctrl-C ended it; the hosts have come back then too. What becomes of hosts is no error.
        """
        turns = max((len(one.candidates) for one in self.hosts.values()), default=0)
        try:
            with outlasting_terminal():
                for place in range(turns):
                    for (engine, quantization), hosts in self._turn(place).items():
                        self._try(engine, quantization, hosts)
        except (KeyboardInterrupt, InterruptedRunError):
            self.interrupted = True
        cut = "cut while it went back to what served"
        self.back |= {host: self._told(HostResult(host, Outcome.INTERRUPTED, cut)) for host in self._away}

    def _turn(self, place: int) -> dict[tuple[str, str], list[str]]:
        """The hosts of each candidate that is at this place of their lists, without those that did not come back."""
        found: dict[tuple[str, str], list[str]] = {}
        for host, trying in self.hosts.items():
            if place < len(trying.candidates) and not self._lost(host):
                one = trying.candidates[place]
                found.setdefault((one.engine, one.quantization), []).append(host)
        return found

    def _lost(self, host: str) -> bool:
        return host in self.back and self.back[host].outcome not in GOOD

    def _try(self, engine: str, quantization: str, hosts: Sequence[str]) -> None:
        serve = [host for host in hosts if self._candidate(host, engine, quantization).served]
        others = [host for host in hosts if host not in serve]
        try:
            ready = self._provision(engine, quantization, others) if others else {}
            if not self.interrupted and (serve or ready):
                self._measure(engine, quantization, [*serve, *ready], ready)
        except InterruptedRunError:
            raise
        except Phi4EdgeError as error:
            told = {one.host for one in self.benched if (one.engine, one.quantization) == (engine, quantization)}
            for host in (host for host in hosts if host not in told):
                self._note(engine, quantization, HostResult(host, Outcome.FAILED, str(error)))
        finally:
            if self._away:
                self._put_back()
        if self.interrupted:
            raise InterruptedRunError("interrupted while engines were tried")

    def _candidate(self, host: str, engine: str, quantization: str) -> Candidate:
        return next(
            one for one in self.hosts[host].candidates if (one.engine, one.quantization) == (engine, quantization)
        )

    def _as_if(self, engine: str, quantization: str, hosts: Collection[str]) -> Fleet:
        """The hosts, planned as if their inventory had asked for this candidate."""
        fleet, wanted = self.fleet.only(hosts), candidates.variables(engine, quantization)
        return replace(fleet, settings={**fleet.settings, **wanted})

    def _provision(self, engine: str, quantization: str, hosts: Sequence[str]) -> dict[str, float]:
        """Hosts that serve the candidate, proven by its gate, and the seconds that it took; others are in `benched`."""
        fleet = self._as_if(engine, quantization, hosts)
        # The play plans anew. Names are the catalog's here: a receipt's could be a template.
        wanted = json.dumps(candidates.variables(engine, quantization))
        fleet = replace(fleet, access=replace(fleet.access, extra_vars=(*fleet.access.extra_vars, wanted)))
        targets = {host: self.hosts[host].receipt.release for host in hosts}
        rolling = Rolling(fleet, WAVING, OPERATION, limit=",".join(hosts), options={"served": targets})
        run = Provisioning(fleet, Store(), rolling)
        with fleet.view() as view:
            view.note(f"trying {engine} {quantization} on {count(len(hosts), 'host')}")
            run.look(view)
            run.unready |= _strayed(run, targets)
            self._away = {host for host in run.todo if host not in run.unready}
            results = run.finish(view)
            rolling.close(results, view.note)
        self.interrupted = rolling.interrupted
        self._away -= {result.host for result in results if result.outcome in _STAYED}
        for result in results:
            if result.outcome is not Outcome.DONE:
                self._note(engine, quantization, result)
        return {result.host: result.seconds for result in results if result.outcome is Outcome.DONE}

    def _measure(self, engine: str, quantization: str, hosts: Collection[str], seconds: Mapping[str, float]) -> None:
        fleet = self._as_if(engine, quantization, hosts)
        with fleet.view() as view:
            found, problems = bench.bench(fleet, self.wish, self.at_a_time, view)
        for one in found:
            self.benched.append(replace(one, trial=self._trial(engine, quantization, one.host, seconds)))
        for problem in problems:
            self._note(engine, quantization, problem, seconds)

    def _note(
        self, engine: str, quantization: str, result: HostResult, seconds: Mapping[str, float] | None = None
    ) -> None:
        """A candidate was not measured, for this reason."""
        trial = self._trial(engine, quantization, result.host, seconds or {})
        self.benched.append(Benched(result.host, engine, quantization, "", result, trial=trial))

    def _trial(self, engine: str, quantization: str, host: str, seconds: Mapping[str, float]) -> Trial:
        one, took = self._candidate(host, engine, quantization), seconds.get(host)
        return Trial(one.bits, one.accelerator, one.served, None if took is None else round(took, 1))

    def _put_back(self) -> None:
        """The hosts that may serve a candidate serve what they served before, or it is said how they come to."""
        hosts = [host for host in self.hosts if host in self._away]
        targets = {host: self.hosts[host].receipt.release for host in hosts}
        fleet = self.fleet.only(hosts)
        rolling = Rolling(fleet, BACK, OPERATION, limit=",".join(hosts), options={"to": targets})
        wanted = {"service_rollback_to": targets, "receipt_forget_previous": True}
        play = Play("rollback", wanted, releases=targets, through=True)
        try:
            with fleet.view() as view:
                view.phase(f"Bringing {count(len(hosts), 'host')} back to what served")
                rolling.begin(())
                found = rolling.drive(rolling.waves(dict.fromkeys(hosts, "")), {}, play, {}, view)
                rolling.close(list(found.values()), view.note)
        except Phi4EdgeError as error:
            found = {host: HostResult(host, Outcome.FAILED, str(error)) for host in hosts}
        self._away = set()
        self.interrupted = self.interrupted or rolling.interrupted
        self.back |= {host: self._told(result) for host, result in found.items()}

    def _told(self, result: HostResult) -> HostResult:
        """A host that is not back: how it comes back."""
        if result.outcome in GOOD:
            return result
        return replace(result, next_step=f"bring back what served: {self.ways_back([result.host])[0]}")

    def entries(self) -> list[dict[str, Any]]:
        """What was tried on each host, for the document."""
        return [
            entry(host, trying.receipt, self.benched, self.back.get(host), [asdict(one) for one in trying.left_out])
            for host, trying in self.hosts.items()
        ]

    def in_order(self) -> list[Benched]:
        """What was measured, host by host as the inventory has them."""
        places = {host.name: place for place, host in enumerate(self.fleet.hosts)}
        return sorted(self.benched, key=lambda one: places[one.host])


def _unsafe(name: str, facts: HostFacts) -> HostResult | None:
    """What is said of a host that could not be brought back to what it serves for sure; None for one that can."""
    wrong, step = misplaced(facts)
    found = status(facts.receipt, facts.service)
    if not wrong and facts.journal.open:
        wrong = f"found a change to {facts.journal.release} that was cut at {facts.journal.step}, needed none under way"
    if not wrong and not facts.receipt.release:
        wrong = "found a receipt without a release, needed one to bring back"
    if not wrong and found != "serving":
        wrong = f"found what serves {found}, needed it as it was committed"
    if not wrong:
        return None
    return HostResult(
        name, Outcome.PREFLIGHT, wrong, step or f"phi4-edge provision INVENTORY --limit {name}, then again"
    )


def _strayed(run: Provisioning, targets: Mapping[str, str]) -> dict[str, HostResult]:
    """Hosts that serve something else than when the operator was asked."""
    return {
        host: HostResult(
            host,
            Outcome.PREFLIGHT,
            f"found release {found or 'none'}, needed {targets[host]}, which served before: another run changed it",
            "run it again when nobody else is at work there",
        )
        for host, planned in run.planned.items()
        if (found := planned.facts.receipt.release) != targets[host]
    }
