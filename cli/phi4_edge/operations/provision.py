"""One run of provision: look, decide; then the operator is asked; then drivers, artifacts, decide again, drive."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phi4_edge import content
from phi4_edge.artifacts.store.images import Images
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core.engines import administrator
from phi4_edge.core.engines.table import ENGINES
from phi4_edge.core.plan.decide import Plan
from phi4_edge.core.rollout.outcome import COUNTED
from phi4_edge.core.rollout.waves import Wave, kind_of
from phi4_edge.errors import AGAIN
from phi4_edge.operations import depot, draining, drivers, plan_file, supply, trust
from phi4_edge.operations.artifacts import Making
from phi4_edge.operations.detect import DEEP, Survey
from phi4_edge.operations.fleet import Fleet
from phi4_edge.operations.options import Reach, Waving
from phi4_edge.operations.plan import Planned, Planner, PlanSet, Seen
from phi4_edge.operations.plan_file import PlanFile
from phi4_edge.operations.rollout import Rolling
from phi4_edge.operations.sessions import Sessions
from phi4_edge.operations.triage import Triage, triage
from phi4_edge.report.summary import shortened
from phi4_edge.report.text import count
from phi4_edge.rollout.apply import Play
from phi4_edge.rollout.result import HostResult, Outcome
from phi4_edge.runner.executor import Executor
from phi4_edge.view.telling import teller
from phi4_edge.view.view import View

if TYPE_CHECKING:
    from phi4_edge.artifacts.bundle.bundle import Bundle

NOTHING_MORE = "interrupted after the driver; nothing else was changed"


@dataclass(frozen=True)
class Wish:
    """What the operator wants beside the waves. `check`: nothing is changed. `resume`: go on with the last rollout.

    `deep`: each look hashes every managed file, so that bytes are repaired whose stamp says nothing.
    """

    check: bool = False
    diff: bool = False
    allow_reboot: bool = False
    resume: bool = False
    deep: bool = False


@dataclass
class Provisioning:
    """What is known so far. `look` first, then `finish`; between the two the operator is asked.

    `fleet`: the hosts that this run is about. `unnamed`: hosts whose release had no name when the plans were shown.
    `unready`: hosts that one of the phases has left out of the rest.
    """

    fleet: Fleet
    store: Store
    rolling: Rolling
    bundle: Bundle | None = None
    allow_reboot: bool = False
    reviewed: PlanFile | None = None
    seen: Survey = field(default_factory=lambda: Survey({}, ()))
    planned: dict[str, Planned] = field(default_factory=dict)
    troubles: list[HostResult] = field(default_factory=list)
    sorted: Triage = field(default_factory=lambda: Triage({}, ()))
    unnamed: frozenset[str] = frozenset()
    unready: dict[str, HostResult] = field(default_factory=dict)

    @classmethod
    def open(cls, inventory: Sequence[str], reach: Reach, waving: Waving, wish: Wish) -> Provisioning:
        """Reads the inventory; contacts no host. Raises InventoryError, and RecordError for nothing to go on with."""
        rolling = Rolling.open(
            inventory, reach, waving, "provision", resume=wish.resume, check=wish.check, diff=wish.diff
        )
        return cls(replace(rolling.left, deep=wish.deep), Store(), rolling, allow_reboot=wish.allow_reboot)

    def unpack(self, path: Path, view: View) -> None:
        """Everything that this run pushes comes from the bundle `path`; the network of this controller is not used.

        Raises ArtifactError when it is not as it was written; the store is as it was then.
        """
        from phi4_edge.artifacts.bundle.bundle import Bundle  # with all that may fetch and make things

        gate = trust.gate()
        self.bundle = Bundle.open(path, content, teller(view), gate=gate)
        view.note(f"{path} is {self.bundle.passed.note}")
        self.bundle.require_place(self.store)
        gate.remember(self.store, self.bundle.passed, str(path))
        self.bundle.bring(self.store, teller(view))

    # The phases, in their order. Each says what is true after it.

    def look(self, view: View) -> None:
        """Every host is planned for, or has a problem, afterwards; workers that were named have answered."""
        self.rolling.connect(view, str(self.store.root))
        self.seen = self.rolling.look(self.fleet, view)
        self._decide()
        self.unnamed = frozenset(host for host, plan in self.todo.items() if plan.release is None)

    def finish(self, view: View) -> list[HostResult]:
        """Every host's result, in inventory order. Raises InterruptedRunError when Ctrl-C came before any change."""
        self._install_drivers(view)
        self._make_artifacts(view)
        self._decide_again(view)
        self._hold_to_review()
        return self._drive(view)

    def _decide(self) -> None:
        """Hosts are planned for with what they are and what the store holds now."""
        self.planned, self.troubles = self.fleet.decide(self._planner, self.seen)
        self.sorted = triage(self.planned, self.rolling.held({host: one.facts for host, one in self.planned.items()}))

    @property
    def _planner(self) -> Planner:
        return Planner(self.store.digests(), Images(self.store).digests())

    def _install_drivers(self, view: View) -> None:
        """Hosts that shall get a driver have it, and are planned for anew; those that failed are unready."""
        hosts = drivers.waiting(self.todo)
        if not hosts or self.rolling.check:
            return
        before = dict(self.todo)
        self.rolling.begin(self.documents())
        done = drivers.install(self.rolling, hosts, self.seen, self.allow_reboot, view, self._bad())
        self.seen, self.rolling.interrupted = done.seen, done.interrupted
        self._decide()
        for host in hosts:
            if (plan := self.todo.get(host)) and plan.engine != before[host].engine:
                view.note(f"{host}: with the driver it is planned for {plan.engine} {plan.quantization}")
        self._leave_out(done.failed)
        if done.interrupted:
            self._leave_out(HostResult(host, Outcome.UNTOUCHED, NOTHING_MORE, AGAIN) for host in self._ready())

    def _make_artifacts(self, view: View) -> None:
        """What the plans need is in the store; hosts for which it is not are unready."""
        bundle = str(self.bundle.path) if self.bundle else ""
        self._leave_out(Making(self.store, self.rolling.check, bundle).ensure(self._ready(), view))

    def _decide_again(self, view: View) -> None:
        """Plans name the digests of what was made, and so have their releases, which are told."""
        if self.unready or self.todo:
            self._decide()
        named: dict[str, list[str]] = {}
        for host, plan in self.todo.items():
            if host in self.unnamed and plan.release:
                named.setdefault(plan.release, []).append(host)
        for release, hosts in named.items():
            view.note(f"{shortened(hosts)}: the release is {release}, as its files are here now")

    def _hold_to_review(self) -> None:
        """Hosts that would get something else than was reviewed, now that drivers and artifacts are there, are out."""
        if self.reviewed is None:
            return
        found = plan_file.strayed(self.reviewed, [plan.to_dict() for plan in self._ready().values()])
        self._leave_out(HostResult(host, Outcome.PREFLIGHT, why, plan_file.AGAIN) for host, why in found.items())

    def _drive(self, view: View) -> list[HostResult]:
        """The waves are through, or the rollout has stopped. Every host's result, in inventory order."""
        waves = self.waves()
        if self.rolling.resumed:
            self.rolling.begin(self.documents())
        return self.leave(self._apply(view, waves) if waves else {})

    # What the phases have made of it, for the operator and for the next phase.

    @property
    def todo(self) -> Mapping[str, Plan]:
        """Plans that are to be applied, by host."""
        return self.sorted.todo

    @property
    def problems(self) -> list[HostResult]:
        """Hosts that could not be planned for."""
        return [*self.seen.problems, *self.troubles]

    def documents(self) -> list[dict[str, Any]]:
        """All plans, as data."""
        return [found.plan.to_dict() for found in self.planned.values()]

    def waves(self) -> tuple[Wave, ...]:
        """Who is to be changed when."""
        out = {result.host for result in self._settled()}
        return self.rolling.waves({host: kind_of(plan) for host, plan in self.todo.items() if host not in out})

    def hindrance(self) -> dict[str, HostResult]:
        """What is said of the hosts that were to be changed, where none may be touched at all; else {}."""
        return self.rolling.hindrance(self.waves(), self._bad())

    def review(self, file: PlanFile) -> None:
        """The plans are those that were reviewed. Raises PreflightError that says what is not so any more."""
        now = PlanSet.of(self.planned, self.problems, self.fleet.source(self.rolling.limit))
        if found := plan_file.differences(file, now):
            raise plan_file.refuse(file, found)
        self.reviewed = file

    def leave(self, results: Mapping[str, HostResult]) -> list[HostResult]:
        """These results and those of the hosts that nothing was done to, in inventory order."""
        return self.rolling.all({result.host: result for result in self._settled()} | dict(results))

    def _ready(self) -> dict[str, Plan]:
        return {host: plan for host, plan in self.todo.items() if host not in self.unready}

    def _leave_out(self, results: Iterable[HostResult]) -> None:
        self.unready |= {result.host: result for result in results}

    def _settled(self) -> tuple[HostResult, ...]:
        return (*self.problems, *self.sorted.settled, *self.unready.values())

    def _bad(self) -> dict[str, Outcome]:
        """Hosts that count against the budget before the first wave begins, or that the operator skips."""
        return {result.host: result.outcome for result in self._settled() if result.outcome in COUNTED}

    def _apply(self, view: View, waves: Sequence[Wave]) -> dict[str, HostResult]:
        plans = {host: self.todo[host] for wave in waves for host in wave.hosts}
        variables = self._variables(plans)
        if self.rolling.workers:
            supply.supply(self.rolling.workers, list(plans.values()), self.store, view)
        self.rolling.begin(self.documents())
        view.phase(f"{'Checking' if self.rolling.check else 'Provisioning'} {count(len(plans), 'host')}")
        releases = {host: plan.release or "" for host, plan in plans.items()}
        serves = {host: self.planned[host].facts.receipt.release for host in plans}
        settled = {result.host: result for result in self.sorted.settled}
        self.rolling.ready = {host: one for host, one in settled.items() if one.outcome is Outcome.UNCHANGED}
        self.rolling.ahead = lambda beyond: self._sessions(beyond, plans)
        stopped, ansible = draining.stopped(plans), self.rolling.ansible
        self.rolling.around = draining.around(self.fleet, ansible, "provision", stopped, view.note)
        folders = depot.delivered(self.store, plans.values())
        with depot.opened(self.store.root, self.fleet.hosts, folders) as (place, asked):
            play = Play("provision", {**variables, depot.VARIABLE: asked}, releases=releases)
            aloud = depot.Aloud(view, place.told)
            results = self.rolling.drive(waves, self._bad(), play, serves, aloud)
            aloud.tell()
        return results

    def _sessions(self, beyond: Executor, plans: Mapping[str, Plan]) -> Sessions:
        """Who makes changes of settings, each with the plan for what its host is then."""
        hosts, planner = {host.name: host for host in self.fleet.hosts}, self._planner

        def decide(host: str, document: Mapping[str, Any]) -> Plan:
            return planner.decide(Seen(host, document, self.fleet.variables(hosts[host]))).plan

        return Sessions(beyond, self.fleet.access, hosts, plans, decide, self.store.root)

    def _variables(self, plans: Mapping[str, Plan]) -> dict[str, Any]:
        """What the playbook is told: which plan each host must come to, where the store is, and made passwords."""
        # The role of an engine that runs natively fetches its files from there; all other files are role artifact's.
        native = (f"{engine.name}_store" for engine in ENGINES.values() if engine.native is not None)
        stores = ("plan_store", "artifact_store", *native, "trust_store")
        variables: dict[str, Any] = {
            "plan_expected": {host: plan.fingerprint for host, plan in plans.items()},
            **dict.fromkeys(stores, str(self.store.root)),
            **({DEEP: True} if self.fleet.deep else {}),
        }
        # For pages that get their administrator in this run, where the inventory has no password for him.
        self.rolling.passwords = {host: secrets.token_urlsafe(15) for host, plan in plans.items() if plan.webui}
        if self.rolling.passwords:
            variables[administrator.GENERATED] = dict(self.rolling.passwords)
        return variables
