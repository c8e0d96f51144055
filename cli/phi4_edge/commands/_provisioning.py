"""One run of provision: look, decide, make the artifacts, decide again with what there is now, apply."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from phi4_edge import artifacts, content
from phi4_edge.artifacts import delivery
from phi4_edge.artifacts.bundle import Bundle
from phi4_edge.artifacts.store import Store
from phi4_edge.commands import _drivers, _workers
from phi4_edge.commands._fleet import Fleet
from phi4_edge.commands._options import Reach
from phi4_edge.commands._rolling import Rolling
from phi4_edge.commands._telling import teller
from phi4_edge.commands._view import View
from phi4_edge.commands._wave_options import Waving
from phi4_edge.core.catalog import Catalog
from phi4_edge.core.plan import Plan
from phi4_edge.core.wave_plan import Wave, kind_of
from phi4_edge.core.waves import BAD
from phi4_edge.data import load_catalog
from phi4_edge.errors import InterruptedRunError, PreflightError
from phi4_edge.report.text import count
from phi4_edge.rollout import plan_file
from phi4_edge.rollout.apply import Job
from phi4_edge.rollout.drive_resume import newest
from phi4_edge.rollout.drive_start import locked_out
from phi4_edge.rollout.journal import state_root
from phi4_edge.rollout.outcome import HostResult, Outcome
from phi4_edge.rollout.plan_file import PlanFile
from phi4_edge.rollout.planning import Planned, Planner, PlanSet
from phi4_edge.rollout.survey import Survey
from phi4_edge.rollout.triage import Triage, triage

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
        self.bundle = Bundle.open(path, content, teller(view))
        self.bundle.bring(self.store, teller(view))

    def look(self, view: View) -> None:
        """Every host is planned for, or has a problem, afterwards; workers that were named have answered."""
        self.rolling.connect(view, str(self.store.root))
        self.seen = self.fleet.survey(view)
        self._decide()

    def _decide(self) -> Planner:
        planner = Planner(self.store.digests(), self.store.image_digests())
        self.planned, self.troubles = self.fleet.decide(planner, self.seen)
        self.sorted = triage(self.planned)
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
        facts = {host: self.planned[host].facts for host in self.todo}
        return self.rolling.hindrance(facts, self.waves(), self._bad(())) if facts else {}

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
        """Hosts that count against the budget before the first wave begins."""
        return {result.host: result.outcome for result in (*self.problems, *beside) if result.outcome in BAD}

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
        unready = self._install_drivers(view)
        if held := {one.host: one.reason for one in unready if one.outcome is Outcome.LOCKED}:
            self.rolling.stopped = "locked"
            return self.leave(locked_out(self.todo, held) | {one.host: one for one in unready})
        unready += self._prepare(view, {result.host for result in unready})
        if unready or self.todo:
            self._decide()
        unready += self._strayed({result.host for result in unready})
        results = {result.host: result for result in (*self.problems, *self.sorted.settled, *unready)}
        waves = self.waves(results)
        if self.rolling.resumed:
            self.rolling.begin(self.documents())
        if waves:
            results |= self._apply(view, waves, self._bad(unready))
        return self._all(results)

    def _install_drivers(self, view: View) -> list[HostResult]:
        """Hosts that shall get a driver have it afterwards and are planned for anew; those that failed come back."""
        hosts = _drivers.waiting(self.todo)
        if not hosts or self.rolling.check:
            return []
        before = dict(self.todo)
        self.rolling.begin(self.documents())
        done = _drivers.install(self.rolling, hosts, self.seen, self.allow_reboot, view)
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
                step = "mend that on this controller, then run again; no host was changed for it"
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
            **dict.fromkeys(("plan_store", "artifact_store", "onnx_store", "ollama_store"), str(self.store.root)),
        }
        if self.rolling.workers:
            _workers.supply(self.rolling.workers, [plan.to_dict() for plan in plans.values()], self.store, view)
        self.rolling.begin(self.documents())
        view.phase(f"{'Checking' if self.rolling.check else 'Provisioning'} {count(len(hosts), 'host')}")
        job = Job("provision", variables, releases={host: plan.release or "" for host, plan in plans.items()})
        serves = {host: self.planned[host].facts.receipt.release for host in hosts}
        settled = {result.host: result for result in self.sorted.settled}
        self.rolling.ready = {host: one for host, one in settled.items() if one.outcome is Outcome.UNCHANGED}
        return self.rolling.drive(waves, bad, job, serves, view)
