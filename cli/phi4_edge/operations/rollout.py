"""One rollout over a fleet: its options, its record on this controller, its locks, and how it ends."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from phi4_edge.core.facts.model import HostFacts
from phi4_edge.core.rollout.budget import Budget
from phi4_edge.core.rollout.machine import Rollout, Stop
from phi4_edge.core.rollout.waves import Size, Wave, plan_waves
from phi4_edge.core.text import clean
from phi4_edge.errors import Phi4EdgeError
from phi4_edge.operations.detect import Survey
from phi4_edge.operations.fleet import Fleet
from phi4_edge.operations.options import Reach, Waving
from phi4_edge.remote import holder
from phi4_edge.report import diff
from phi4_edge.report.text import count
from phi4_edge.rollout.apply import Play
from phi4_edge.rollout.drive import Driver, NoLog, stopped
from phi4_edge.rollout.interrupt import Interrupts
from phi4_edge.rollout.journal import Journal, state_root
from phi4_edge.rollout.result import HostResult, Outcome, document
from phi4_edge.rollout.resume import Resumed, newest
from phi4_edge.rollout.start import held, says_held, too_many_down
from phi4_edge.runner.executor import Executor, Local
from phi4_edge.runner.program import Program
from phi4_edge.runner.run import HostEvent
from phi4_edge.view.view import View

if TYPE_CHECKING:
    from phi4_edge.runner.workers.pool import Pool

# After that time a host has noticed that the run which has it was killed just before: its connection has ended, and
# what watches that looks once a second.
AGAIN_SECONDS = 4.0
STOPPING = "stopping: hosts that are switching finish or go back first; Ctrl-C again stops at once"


@dataclass
class Shown:
    """A view that also shows the differences that the hosts tell of, where that is wanted.

    `passwords` were made for chat pages; one that became an administrator's is shown, here and nowhere else.
    """

    view: View
    diff: bool = False
    passwords: Mapping[str, str] = field(default_factory=dict)

    def wave(self, wave: Wave) -> None:
        """The work on a wave begins."""
        self.view.wave(wave)

    def bake(self, wave: Wave, seconds: float) -> None:
        """A wave is watched."""
        self.view.bake(wave, seconds)

    def spent(self, bad: int, exceeded: bool) -> None:
        """So many hosts are bad."""
        self.view.spent(bad, exceeded)

    def finished(self, host: str, outcome: str) -> None:
        """A host is through."""
        self.view.finished(host, outcome)

    def event(self, event: HostEvent) -> None:
        """A task began or ended."""
        self.view.event(event)
        if self.diff and (found := diff.lines(event.host, event.result.get("diff"))):
            self.view.note("\n".join(found))
        facts = event.result.get("ansible_facts")
        made = facts.get("phi4_webui") if isinstance(facts, Mapping) else None
        if isinstance(made, Mapping) and made.get("generated") is True and event.host in self.passwords:
            self.view.note(
                f"{event.host}: the chat page's administrator is {clean(made.get('administrator'), 254)}, "
                f"password {self.passwords[event.host]} (shown this once only; change it on the page)"
            )


@dataclass
class Rolling:
    """A rollout that may begin. In check mode there is no record and no lock, and all hosts are one wave.

    `ready`: hosts that were found to be as planned. `ahead`: who has its turn before Ansible. `around`: who does
    something before and after whoever changes hosts.
    """

    fleet: Fleet
    waving: Waving
    operation: str
    check: bool = False
    diff: bool = False
    limit: str | None = None
    resumed: Resumed | None = None
    options: dict[str, Any] = field(default_factory=dict)
    ready: Mapping[str, HostResult] = field(default_factory=dict)
    journal: Journal | None = None
    workers: Pool | None = None
    ansible: Program = field(default_factory=Program)
    ahead: Callable[[Executor], Executor] = lambda beyond: beyond
    around: Callable[[Executor], Executor] = lambda within: within
    passwords: Mapping[str, str] = field(default_factory=dict, repr=False)
    interrupted: bool = False
    stopped: str | None = None

    @classmethod
    def open(
        cls,
        inventory: Sequence[str],
        reach: Reach,
        waving: Waving,
        operation: str,
        *,
        resume: bool,
        check: bool = False,
        diff: bool = False,
    ) -> Rolling:
        """The rollout of this operation, or the last one that did not end well; reads the inventory, contacts no host.

        Raises InventoryError, and RecordError for nothing to go on with.
        """
        resumed = newest(state_root(), inventory, operation) if resume else None
        if resumed:
            resumed.require(sum(map(bool, reach.extra_vars)))
            waving, reach = waving.recorded(resumed.options), replace(reach, limit=reach.limit or resumed.limit)
        return cls(Fleet.open(inventory, reach), waving, operation, check, diff, reach.limit, resumed)

    @property
    def left(self) -> Fleet:
        """The hosts that were not finished before this run."""
        finished = self.resumed.finished if self.resumed else {}
        return replace(self.fleet, hosts=tuple(host for host in self.fleet.hosts if host.name not in finished))

    def all(self, results: Mapping[str, HostResult]) -> list[HostResult]:
        """The results of all hosts in inventory order, of those that were finished before this run too."""
        known = {**(self.resumed.finished if self.resumed else {}), **results}
        return [known[host.name] for host in self.fleet.hosts]

    def begin(self, plans: Sequence[Mapping[str, Any]]) -> None:
        """The rollout has a record, which holds these plans, and an id for its locks. In check mode nothing happens.

        Raises RecordError when it cannot be written, and LockedError while another process drives the one resumed.
        """
        if self.check:
            return
        if self.journal is None:
            root, again = state_root(), self.resumed
            self.journal = Journal.reopen(root, again.id) if again else Journal.begin(root, self._header())
        self.journal.plans([*(self.resumed.plans if self.resumed else ()), *plans])

    @property
    def id(self) -> str | None:
        """The id of the record, None where there is none."""
        return self.journal.id if self.journal else None

    def _header(self) -> dict[str, Any]:
        access = self.fleet.access
        reached = {"forks": access.forks, "extra_vars": len(access.extra_vars)}
        return {
            "operation": self.operation,
            "inventory": list(access.inventory),
            "limit": self.limit,
            "options": {**self.waving.to_dict(), **reached, **self.options},
        }

    @property
    def lock(self) -> dict[str, Any]:
        """Variables of role lock, under which all plays of this rollout are one holder."""
        return lock_variables(self.id, self.operation, self.waving.lock_wait) if self.id else {}

    def connect(self, view: View, store: str = "") -> None:
        """The workers that were named have answered. Raises PreflightError for one that cannot be used."""
        if self.waving.workers:
            self.workers = connected(self.fleet, self.waving, view, store)

    @property
    def executor(self) -> Executor:
        """Whoever runs the plays: Ansible here, inside `with rolling.ansible` imported once; or on the workers."""
        return self.around(self.workers or self.ahead(Local(self.fleet.access, self.ansible)))

    def waves(self, kinds: Mapping[str, Hashable]) -> tuple[Wave, ...]:
        """Who has its turn when."""
        if self.check:
            return plan_waves(kinds, Size(0), Size(100, percent=True))
        if self.resumed and self.resumed.waves:
            return self.resumed.waves_of(kinds, self.waving.wave)
        return plan_waves(kinds, self.waving.canary, self.waving.wave)

    def start(self, waves: Sequence[Wave], before: Mapping[str, Outcome]) -> Rollout:
        """The rollout before its first wave. In check mode no failure keeps other hosts from being looked at."""
        if self.check:
            return Rollout.start(waves, Budget(Size(100, percent=True)), 0.0, {})
        waving = self.waving
        return Rollout.start(waves, Budget(waving.max_failures), waving.bake, before, waving.skip_locked)

    def look(self, fleet: Fleet, view: View) -> Survey:
        """All hosts are looked at, those that say they are held a second time: of a dead run it is waited for then."""
        seen = fleet.survey(view, sample=True)
        doubtful = {host for host, document in seen.documents.items() if says_held(document)}
        if self.check or self.waving.lock_wait or not doubtful:
            return seen
        time.sleep(AGAIN_SECONDS)
        again = fleet.only(doubtful).survey(view, sample=True)
        gone = {problem.host for problem in again.problems}
        latest = {**seen.documents, **again.documents}
        documents = {host: document for host, document in latest.items() if host not in gone}
        return Survey(documents, (*seen.problems, *again.problems))

    def held(self, facts: Mapping[str, HostFacts]) -> dict[str, HostResult]:
        """Results of hosts that say another run holds them, and that are not waited for: each is out, and no other."""
        return {} if self.check or self.waving.lock_wait else held(facts)

    def hindrance(self, waves: Sequence[Wave], bad: Mapping[str, Outcome]) -> dict[str, HostResult]:
        """What is said of the hosts of the waves, where none of them may be touched at all; else {}.

        That is so where `bad` hosts, with those that are held, are more than the budget allows.
        """
        if self.check:
            return {}
        begun = self.start(waves, bad)
        found = too_many_down(begun, self.limit)
        self.stopped = str(begun.stop) if begun.stop and (found or begun.stop is Stop.LOCKED) else None
        return found

    def drive(
        self, waves: Sequence[Wave], before: Mapping[str, Outcome], play: Play, serves: Mapping[str, str], view: View
    ) -> dict[str, HostResult]:
        """What became of every host of the waves. `serves`: the release that each host serves now, "" for none.

        Raises RunnerError when Ansible itself cannot run; the record says so.
        """
        play = replace(play, lock=self.lock, check=self.check, diff=self.diff, task_timeout=self.waving.task_timeout)
        log = self.journal or NoLog()
        with Interrupts(on_first=lambda: view.note(STOPPING)) as interrupts, self.ansible:
            driver = Driver(self.executor, play, interrupts, Shown(view, self.diff, self.passwords), log, serves)
            try:
                sick = self._watch_again(driver, view)
                rollout = self.start(waves, {**before, **{host: result.outcome for host, result in sick.items()}})
                if self.journal:
                    self.journal.waves(rollout.waves, rollout.budget)
                    view.rollout(self.journal.id, rollout.waves, str(rollout.budget))
                ended = driver.run(rollout)
            except Phi4EdgeError as error:
                log.event("error", message=str(error))
                raise
        self.interrupted = self.interrupted or interrupts.stopping
        self.stopped = stopped(ended)
        return {**sick, **driver.results}

    def _watch_again(self, driver: Driver, view: View) -> dict[str, HostResult]:
        """Ready hosts of a resumed rollout that turn out bad: a wave whose watching was cut is watched again."""
        if not self.resumed or not self.waving.bake:
            return {}
        hosts = self.resumed.doubtful(self.ready, {host.name for host in self.fleet.hosts})
        if not hosts:
            return {}
        view.phase(f"Watching {count(len(hosts), 'host')} for {self.waving.bake:g} s, which was cut short before")
        log, driver.log = driver.log, NoLog()
        sick = driver.watch_again(list(hosts), self.waving.bake, hosts)
        driver.log = log
        for result in sick.values():
            log.event("host", result=result.to_dict(), wave=None)
        return sick

    def close(self, results: Sequence[HostResult], note: Callable[[str], None]) -> dict[str, Any]:
        """The result document; the record has it too. `note` hears why it may not."""
        result = document(results, self.interrupted, self.id, self.stopped)
        if self.journal:
            self.journal.result(result)
            if self.journal.problem:
                note(self.journal.problem)
        return result


def connected(fleet: Fleet, waving: Waving, view: View, store: str = "") -> Pool:
    """The workers that were named. Raises PreflightError for one that cannot be used."""
    from phi4_edge.runner.workers.pool import pool

    return pool(fleet.access, waving.workers, fleet.hosts, store, view.note)


def new_id() -> str:
    """An id for the locks of a run that keeps no record."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def lock_variables(id: str, operation: str, wait: int) -> dict[str, Any]:
    """Variables of role lock: who holds the hosts, for what, and how long to wait for others."""
    own = {**holder.here(), "pid": os.getpid()}
    return {"lock_id": id, "lock_operation": operation, "lock_wait": wait, "lock_holder": own}
