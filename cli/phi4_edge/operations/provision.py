"""One run of provision: look, decide, make the artifacts, decide again with what there is now, apply."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from phi4_edge import artifacts, content
from phi4_edge.artifacts import delivery
from phi4_edge.artifacts.bundle.bundle import Bundle
from phi4_edge.artifacts.store.images import Images
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core.catalog.model import Catalog
from phi4_edge.core.engines import administrator
from phi4_edge.core.plan.decide import Plan
from phi4_edge.core.rollout.outcome import COUNTED
from phi4_edge.core.rollout.waves import Wave, kind_of
from phi4_edge.data import load_catalog
from phi4_edge.errors import InterruptedRunError, PreflightError
from phi4_edge.operations import drivers, plan_file, supply, trust
from phi4_edge.operations.detect import Survey
from phi4_edge.operations.fleet import Fleet
from phi4_edge.operations.options import Reach, Waving
from phi4_edge.operations.plan import Planned, Planner, PlanSet
from phi4_edge.operations.plan_file import PlanFile
from phi4_edge.operations.rollout import Rolling
from phi4_edge.operations.triage import Triage, triage
from phi4_edge.report.summary import shortened
from phi4_edge.report.text import count
from phi4_edge.rollout.apply import Job
from phi4_edge.rollout.journal import state_root
from phi4_edge.rollout.result import HostResult, Outcome
from phi4_edge.rollout.resume import newest
from phi4_edge.view.telling import teller
from phi4_edge.view.view import View

NOTHING_MORE = "interrupted after the driver; nothing else was changed"
NOTHING_CHANGED = "nothing was changed on any host; run the same command again"


@dataclass(frozen=True)
class Wish:
    """What the operator wants beside the waves. `check`: nothing is changed. `resume`: go on with the last rollout."""

    check: bool = False
    diff: bool = False
    allow_reboot: bool = False
    resume: bool = False


@dataclass
class Provisioning:
    """What is known so far. `look` first, then `finish`; between the two the operator is asked."""

    fleet: Fleet
    store: Store
    rolling: Rolling
    names: tuple[str, ...]
    bundle: Bundle | None = None
    allow_reboot: bool = False
    reviewed: PlanFile | None = None
    seen: Survey = field(default_factory=lambda: Survey({}, ()))
    planned: dict[str, Planned] = field(default_factory=dict)
    troubles: list[HostResult] = field(default_factory=list)
    sorted: Triage = field(default_factory=lambda: Triage({}, ()))

    @classmethod
    def open(cls, inventory: Sequence[str], reach: Reach, waving: Waving, wish: Wish) -> Provisioning:
        """Reads the inventory; contacts no host. Raises InventoryError, and RecordError for nothing to go on with."""
        resumed = newest(state_root(), inventory, "provision") if wish.resume else None
        if resumed:
            waving, reach = waving.recorded(resumed.options), replace(reach, limit=reach.limit or resumed.limit)
        fleet = Fleet.open(inventory, reach)
        rolling = Rolling(fleet, waving, "provision", wish.check, wish.diff, reach.limit, resumed)
        names = tuple(host.name for host in fleet.hosts)
        left = tuple(host for host in fleet.hosts if not resumed or host.name not in resumed.finished)
        return cls(replace(fleet, hosts=left), Store(), rolling, names, allow_reboot=wish.allow_reboot)

    def unpack(self, path: Path, view: View) -> None:
        """Everything that this run pushes comes from the bundle `path`; the network of this controller is not used.

        Raises ArtifactError when it is not as it was written; the store is as it was then.
        """
        gate = trust.gate()
        self.bundle = Bundle.open(path, content, teller(view), gate=gate)
        view.note(f"{path} is {self.bundle.passed.note}")
        self.bundle.require_place(self.store)
        gate.remember(self.store, self.bundle.passed, str(path))
        self.bundle.bring(self.store, teller(view))

    def look(self, view: View) -> None:
        """Every host is planned for, or has a problem, afterwards; workers that were named have answered."""
        self.rolling.connect(view, str(self.store.root))
        self.seen = self.rolling.look(self.fleet, view)
        self._decide()

    def _decide(self) -> Planner:
        planner = Planner(self.store.digests(), Images(self.store).digests())
        self.planned, self.troubles = self.fleet.decide(planner, self.seen)
        self.sorted = triage(self.planned, self.rolling.held({host: one.facts for host, one in self.planned.items()}))
        return planner

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

    def waves(self, beside: Collection[str] = ()) -> tuple[Wave, ...]:
        """Who is to be changed when, without the hosts in `beside`."""
        return self.rolling.waves({host: kind_of(plan) for host, plan in self.todo.items() if host not in beside})

    def hindrance(self) -> dict[str, HostResult]:
        """What is said of the hosts that were to be changed, where none may be touched at all; else {}."""
        return self.rolling.hindrance(self.waves(), self._bad(()))

    def review(self, file: PlanFile) -> None:
        """The plans are those that were reviewed. Raises PreflightError that says what is not so any more."""
        now = PlanSet.of(self.planned, self.problems, self.fleet.source(self.rolling.limit))
        if found := plan_file.differences(file, now):
            raise plan_file.refuse(file, found)
        self.reviewed = file

    def _strayed(self, beside: Collection[str]) -> list[HostResult]:
        """Hosts that would get something else than was reviewed, now that drivers and artifacts are there."""
        if self.reviewed is None:
            return []
        plans = [plan.to_dict() for host, plan in self.todo.items() if host not in beside]
        found = plan_file.strayed(self.reviewed, plans)
        return [HostResult(host, Outcome.PREFLIGHT, why, plan_file.AGAIN) for host, why in found.items()]

    def _bad(self, beside: Iterable[HostResult]) -> dict[str, Outcome]:
        """Hosts that count against the budget before the first wave begins, or that the operator skips."""
        found = (*self.problems, *self.sorted.settled, *beside)
        return {result.host: result.outcome for result in found if result.outcome in COUNTED}

    def leave(self, hindered: Mapping[str, HostResult]) -> list[HostResult]:
        """Every host's result, where nothing was changed on any."""
        return self._all({result.host: result for result in (*self.problems, *self.sorted.settled)} | dict(hindered))

    def _all(self, results: Mapping[str, HostResult]) -> list[HostResult]:
        """The results of all hosts in inventory order, of those that were finished before this run too."""
        resumed = self.rolling.resumed
        known = {**(resumed.finished if resumed else {}), **results}
        return [known[name] for name in self.names]

    def finish(self, view: View) -> list[HostResult]:
        """Every host's result, in inventory order. Raises InterruptedRunError when Ctrl-C came before any change."""
        unnamed = {host for host, plan in self.todo.items() if plan.release is None}
        unready = self._install_drivers(view)
        unready += self._prepare(view, {result.host for result in unready})
        if unready or self.todo:
            self._decide()
        self._tell_names(view, unnamed)
        unready += self._strayed({result.host for result in unready})
        results = {result.host: result for result in (*self.problems, *self.sorted.settled, *unready)}
        waves = self.waves(results)
        if self.rolling.resumed:
            self.rolling.begin(self.documents())
        if waves:
            results |= self._apply(view, waves, self._bad(unready))
        return self._all(results)

    def _tell_names(self, view: View, unnamed: Collection[str]) -> None:
        """Say what the releases are called that had no name when the plans were shown."""
        named: dict[str, list[str]] = {}
        for host, plan in self.todo.items():
            if host in unnamed and plan.release:
                named.setdefault(plan.release, []).append(host)
        for release, hosts in named.items():
            view.note(f"{shortened(hosts)}: the release is {release}, as its files are here now")

    def _install_drivers(self, view: View) -> list[HostResult]:
        """Hosts that shall get a driver have it afterwards and are planned for anew; those that failed come back."""
        hosts = drivers.waiting(self.todo)
        if not hosts or self.rolling.check:
            return []
        before = dict(self.todo)
        self.rolling.begin(self.documents())
        done = drivers.install(self.rolling, hosts, self.seen, self.allow_reboot, view, self._bad(()))
        self.seen, self.rolling.interrupted = done.seen, done.interrupted
        self._decide()
        untouched = [host for host in self.todo if done.interrupted and host not in {one.host for one in done.failed}]
        for host in hosts:
            if (plan := self.todo.get(host)) and plan.engine != before[host].engine:
                view.note(f"{host}: with the driver it is planned for {plan.engine} {plan.quantization}")
        rest = [HostResult(host, Outcome.UNTOUCHED, NOTHING_MORE, "run the same command again") for host in untouched]
        return [*done.failed, *rest]

    def _prepare(self, view: View, beside: Collection[str]) -> list[HostResult]:
        """What the plans need is in the store afterwards; hosts for which it is not come back."""
        catalog = load_catalog()
        unready: list[HostResult] = []
        failed: dict[tuple[object, ...], str] = {}
        for host, plan in self.todo.items():
            if host in beside:
                continue
            wanted = plan.to_dict()
            key = delivery.key(wanted)
            if key not in failed:
                failed[key] = self._ensure(catalog, wanted, view)
            if failed[key]:
                step = "fix that on this controller, then run again; no host was changed"
                unready.append(HostResult(host, Outcome.PREFLIGHT, failed[key], step))
        return unready

    def _ensure(self, catalog: Catalog, wanted: Mapping[str, Any], view: View) -> str:
        """Empty when all is there; else why it is not."""
        if self.rolling.check and (lacking := delivery.missing(self.store, wanted)):
            return f"{', '.join(lacking)}: not in the store, and --check makes and fetches nothing"
        bundle = str(self.bundle.path) if self.bundle else ""
        try:
            artifacts.ensure(self.store, catalog, wanted, content, teller(view), bundle)
        except PreflightError as error:
            return str(error)
        except KeyboardInterrupt as error:
            raise InterruptedRunError(f"interrupted while preparing artifacts; {NOTHING_CHANGED}") from error
        return ""

    def _apply(self, view: View, waves: Sequence[Wave], bad: Mapping[str, Outcome]) -> dict[str, HostResult]:
        hosts = [host for wave in waves for host in wave.hosts]
        plans = {host: self.todo[host] for host in hosts}
        variables = {
            "plan_expected": {host: plan.fingerprint for host, plan in plans.items()},
            **dict.fromkeys(
                ("plan_store", "artifact_store", "onnx_store", "ollama_store", "trust_store"), str(self.store.root)
            ),
        }
        # For pages that get their administrator in this run, where the inventory has no password for him.
        self.rolling.passwords = {host: secrets.token_urlsafe(15) for host, plan in plans.items() if plan.webui}
        if self.rolling.passwords:
            variables[administrator.GENERATED] = dict(self.rolling.passwords)
        if self.rolling.workers:
            supply.supply(self.rolling.workers, [plan.to_dict() for plan in plans.values()], self.store, view)
        self.rolling.begin(self.documents())
        view.phase(f"{'Checking' if self.rolling.check else 'Provisioning'} {count(len(hosts), 'host')}")
        job = Job("provision", variables, releases={host: plan.release or "" for host, plan in plans.items()})
        serves = {host: self.planned[host].facts.receipt.release for host in hosts}
        settled = {result.host: result for result in self.sorted.settled}
        self.rolling.ready = {host: one for host, one in settled.items() if one.outcome is Outcome.UNCHANGED}
        return self.rolling.drive(waves, bad, job, serves, view)
