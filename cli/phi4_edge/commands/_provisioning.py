"""One run of provision: look, decide, make the artifacts, decide again with what there is now, apply."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phi4_edge import artifacts, content
from phi4_edge.artifacts import delivery
from phi4_edge.artifacts.bundle import Bundle
from phi4_edge.artifacts.store import Store
from phi4_edge.commands import _drivers
from phi4_edge.commands._fleet import Fleet
from phi4_edge.commands._options import Reach
from phi4_edge.commands._telling import teller
from phi4_edge.commands._view import View
from phi4_edge.core.catalog import Catalog
from phi4_edge.core.plan import Plan
from phi4_edge.data import load_catalog
from phi4_edge.errors import InterruptedRunError, PreflightError
from phi4_edge.report import diff
from phi4_edge.report.text import count
from phi4_edge.rollout.apply import Job, apply
from phi4_edge.rollout.interrupt import Interrupts
from phi4_edge.rollout.outcome import HostResult, Outcome
from phi4_edge.rollout.planning import Planned, Planner
from phi4_edge.rollout.survey import Survey
from phi4_edge.rollout.triage import Triage, triage
from phi4_edge.runner import HostEvent

NOTHING_MORE = "interrupted after the driver; nothing else was changed"
NOTHING_CHANGED = "nothing was changed on any host; run the same command again"


@dataclass
class Provisioning:
    """What is known so far. `look` first, then `finish`; between the two the operator is asked."""

    fleet: Fleet
    store: Store
    check: bool = False
    diff: bool = False
    bundle: Bundle | None = None
    allow_reboot: bool = False
    seen: Survey = field(default_factory=lambda: Survey({}, ()))
    planned: dict[str, Planned] = field(default_factory=dict)
    troubles: list[HostResult] = field(default_factory=list)
    interrupted: bool = False
    sorted: Triage = field(default_factory=lambda: Triage({}, ()))

    @classmethod
    def open(
        cls, inventory: Sequence[str], reach: Reach, check: bool, diff: bool, allow_reboot: bool = False
    ) -> Provisioning:
        """Reads the inventory; contacts no host. Raises InventoryError."""
        return cls(Fleet.open(inventory, reach), Store(), check, diff, allow_reboot=allow_reboot)

    def unpack(self, path: Path, view: View) -> None:
        """Everything that this run pushes comes from the bundle `path`; the network of this controller is not used.

        Raises ArtifactError when it is not as it was written; the store is as it was then.
        """
        self.bundle = Bundle.open(path, content, teller(view))
        self.bundle.bring(self.store, teller(view))

    def look(self, view: View) -> None:
        """Every host is planned for, or has a problem, afterwards."""
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

    def finish(self, view: View) -> list[HostResult]:
        """Every host's result, in inventory order. Raises InterruptedRunError when Ctrl-C came before any change."""
        unready = self._install_drivers(view)
        unready += self._prepare(view, {result.host for result in unready})
        if unready or self.todo:
            self._decide()
        results = {result.host: result for result in (*self.problems, *self.sorted.settled, *unready)}
        hosts = [host for host in self.todo if host not in results]
        for result in self._apply(view, hosts) if hosts else ():
            results[result.host] = result
        return [results[host.name] for host in self.fleet.hosts]

    def _install_drivers(self, view: View) -> list[HostResult]:
        """Hosts that shall get a driver have it afterwards and are planned for anew; those that failed come back."""
        hosts = _drivers.waiting(self.todo)
        if not hosts or self.check:
            return []
        before = dict(self.todo)
        done = _drivers.install(self.fleet, hosts, self.seen, self.allow_reboot, view)
        self.seen, self.interrupted = done.seen, done.interrupted
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
        if self.check and (lacking := delivery.missing(self.store, wanted)):
            return f"{', '.join(lacking)}: not in the store, and --check makes and fetches nothing"
        bundle = str(self.bundle.path) if self.bundle else ""
        try:
            artifacts.ensure(self.store, catalog, wanted, content, teller(view), bundle)
        except PreflightError as error:
            return str(error)
        except KeyboardInterrupt as error:
            raise InterruptedRunError(f"interrupted while preparing artifacts; {NOTHING_CHANGED}") from error
        return ""

    def _apply(self, view: View, hosts: Sequence[str]) -> tuple[HostResult, ...]:
        plans = {host: self.todo[host] for host in hosts}
        variables = {
            "plan_expected": {host: plan.fingerprint for host, plan in plans.items()},
            **dict.fromkeys(("plan_store", "artifact_store", "onnx_store", "ollama_store"), str(self.store.root)),
        }
        job = Job(
            self.fleet.access,
            "provision",
            variables,
            self.check,
            self.diff,
            {host: plan.release or "" for host, plan in plans.items()},
        )
        view.phase(f"{'Checking' if self.check else 'Provisioning'} {count(len(hosts), 'host')}")

        def stopping() -> None:
            view.note("stopping: hosts that are switching finish or go back first; Ctrl-C again ends it at once")

        def hear(event: HostEvent) -> None:
            view.event(event)
            if self.diff and (found := diff.lines(event.host, event.result.get("diff"))):
                view.note("\n".join(found))

        with Interrupts(on_first=stopping) as interrupts:
            done = apply(job, hosts, interrupts, hear, lambda result: view.finished(result.host, str(result.outcome)))
        self.interrupted = interrupts.stopping
        return done
