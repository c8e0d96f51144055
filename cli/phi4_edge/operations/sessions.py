"""Who makes changes of settings over SSH sessions of ours, and leaves all else to Ansible.

Such a change is a second's work of a host, and Ansible takes more than that for its tasks alone.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from phi4_edge.core import layout
from phi4_edge.core.inventory import ROLE_TIMES, Host
from phi4_edge.core.plan.changes import settings_alone
from phi4_edge.core.plan.decide import Plan
from phi4_edge.environment import Need, narrowed
from phi4_edge.errors import ArtifactError, InterruptedRunError, Phi4EdgeError
from phi4_edge.operations.detect import DEEP
from phi4_edge.operations.settings_change import LeftError, SettingsChange, Wanted
from phi4_edge.remote import gate, trust
from phi4_edge.remote.answers import HOUR
from phi4_edge.runner.access import Access
from phi4_edge.runner.events import HostEvent, HostOutcome
from phi4_edge.runner.executor import Call, Executor, OnEvent
from phi4_edge.runner.run import RunResult
from phi4_edge.ssh.guest import Guest
from phi4_edge.ssh.kept import ALIVE_SECONDS
from phi4_edge.ssh.visit import Purpose, Visit, visit

PLAYBOOK = "provision"
CANCELLED = 254  # in place of ansible-playbook's exit status
# For the first host of a call to be asked for its lock. Then the others go on without it.
FIRST_SECONDS = 300.0

Decide = Callable[[str, Mapping[str, Any]], Plan]


@dataclass(frozen=True)
class Sessions:
    """An executor before another one. `plans`: those that were agreed to, by host.

    `decide`: the plan of a host for its facts document. `store`: the folder of the controller's store.
    """

    beyond: Executor
    access: Access
    hosts: Mapping[str, Host]
    plans: Mapping[str, Plan]
    decide: Decide
    store: Path

    def execute(self, call: Call, hosts: Sequence[str], on_event: OnEvent, cancelled: Callable[[], bool]) -> RunResult:
        """As of Executor. Hosts that turn out to be as nobody knew are those of `beyond`, behind the others."""
        party = _Party(self, call, on_event)
        done = party.at(self._own(call, hosts), cancelled)
        left = [host for host in hosts if host not in done]
        if party.cut or not left:
            return RunResult(done, bool(left), CANCELLED if left else 0)
        rest = self.beyond.execute(call, left, on_event, cancelled)
        return replace(rest, hosts={**done, **rest.hosts})

    def _own(self, call: Call, hosts: Sequence[str]) -> list[Host]:
        """The hosts of a call where every plan is such a change, and no setting says anything of how it is made.

        None where a single one is not: the hosts of a wave are worked on side by side, and by one who knows whose turn
        it is to be locked.
        """
        if call.playbook != PLAYBOOK or call.check or call.extra_vars.get(DEEP) or not call.extra_vars.get("lock_id"):
            return []
        found = [self.hosts[name] for name in hosts]
        return found if all(map(self._simple, found)) else []

    def _simple(self, host: Host) -> bool:
        reached = host.over_ssh and not host.only_ansible and "phi4_hosts" not in host.vars
        obeyed = host.for_roles.keys() <= ROLE_TIMES and None not in host.for_roles.values()
        return reached and obeyed and settings_alone(self.plans[host.name].to_dict())


@dataclass
class _Party:
    """The hosts of one call. `cut`: it was ended because the operator asked for it."""

    sessions: Sessions
    call: Call
    on_event: OnEvent
    cut: bool = False
    _done: dict[str, HostOutcome] = field(default_factory=dict)
    _events: queue.SimpleQueue[HostEvent] = field(default_factory=queue.SimpleQueue)
    _one: threading.Lock = field(default_factory=threading.Lock)
    _first: str = ""
    _asked: threading.Event = field(default_factory=threading.Event)
    _ours: bool = False
    _presented: list[dict[str, str]] = field(default_factory=list)

    def at(self, hosts: Sequence[Host], cancelled: Callable[[], bool]) -> dict[str, HostOutcome]:
        """What became of those hosts that were not left to Ansible."""
        if not hosts:
            return {}
        try:
            self._presented = trust.kept(self.sessions.store)
        except (ArtifactError, OSError):
            return {}  # said where it is presented to each
        self._first = hosts[0].name
        access = self.sessions.access
        purpose: Purpose[HostOutcome | None] = Purpose(
            work=self._work, seconds=self._seconds, become_password=access.become_password or "",
            password=access.connection_password or "", through=False,
        )  # fmt: skip
        with narrowed(Need.SSH), self._heard(), contextlib.suppress(InterruptedRunError):
            for start in range(0, len(hosts), access.forks):
                part = hosts[start : start + access.forks]
                visit(part, purpose, lambda: self._stopping(cancelled), tell=self._tell)
                if self._stopping(cancelled):
                    break
        return self._done

    @contextlib.contextmanager
    def _heard(self) -> Iterator[None]:
        try:
            yield
        finally:
            if not self.cut:  # else what comes now is that their connections were cut
                self._drain()

    def _drain(self) -> None:
        """What the threads had to tell is told, in this thread."""
        with contextlib.suppress(queue.Empty):
            while True:
                self.on_event(self._events.get_nowait())

    def _stopping(self, cancelled: Callable[[], bool]) -> bool:
        """Whether to end it all; who asks must have heard first which hosts are between switch and commit."""
        self._drain()
        self.cut = self.cut or cancelled()
        return self.cut

    def _tell(self, found: Visit[HostOutcome | None]) -> None:
        if found.refusal.host == self._first:
            self._asked.set()
        if found.result is not None:
            self._done[found.result.host] = found.result

    def _seconds(self, host: Host) -> float:
        """More than all exchanges with a host may take; each has its own limit."""
        plan = self.sessions.plans[host.name].to_dict()
        _, seconds = gate.question(plan, layout.of(plan), False, gate.times(plan))
        return FIRST_SECONDS + 3 * seconds + 3 * HOUR

    def _work(self, guest: Guest) -> HostOutcome | None:
        """What became of one host, None where it is left to Ansible, which has an answer to whatever was found."""
        name, sessions, call = guest.host.name, self.sessions, self.call
        wanted = Wanted(
            sessions.plans[name], lambda document: sessions.decide(name, document), call.extra_vars, self._presented,
            float(call.task_timeout), call.diff,
        )  # fmt: skip
        if (session := guest.get(name)) is not None:  # an engine may load for minutes, in which nothing is said
            session.set_keepalive(ALIVE_SECONDS)
        change = SettingsChange(guest, wanted, self._events.put, self._one)
        try:
            return self._changed(name, change)
        except (LeftError, Phi4EdgeError):
            return None
        finally:
            if name == self._first:
                self._asked.set()
            with contextlib.suppress(Phi4EdgeError):  # then the lock ends with the session
                change.leave()

    def _changed(self, name: str, change: SettingsChange) -> HostOutcome | None:
        """The first host is asked first, so that of two runs over the same hosts one gets them all.

        Where it is not ours the others are Ansible's too, whose roles know how long to wait for whom.
        """
        if name != self._first and not (self._asked.wait(FIRST_SECONDS) and self._ours):
            return None
        document = change.taken()
        if name == self._first:
            self._ours = True
            self._asked.set()
        return change.changed(document)
