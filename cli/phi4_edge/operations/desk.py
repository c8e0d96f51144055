"""Operations on hosts that were looked at: over the session of the look where it is open, else through Ansible."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from phi4_edge.core.inventory import Host
from phi4_edge.core.plan.overrides import Overrides
from phi4_edge.errors import FactsError, HostFailedError, RunnerError, UnreachableError
from phi4_edge.operations.fleet import Fleet
from phi4_edge.operations.look import ask
from phi4_edge.remote.answers import Key
from phi4_edge.runner import program
from phi4_edge.ssh.errand import rights_at
from phi4_edge.ssh.finding import Refused
from phi4_edge.ssh.guest import Guest, SessionGuest, Unanswered
from phi4_edge.ssh.kept import Sessions
from phi4_edge.ssh.target import resolve

# For a board that starts Python slowly, and for Ansible to start.
SPARE_SECONDS = 60.0


@dataclass
class Desk:
    """Asks the hosts of `fleet`, from any thread. `playbook`: the one that does such a step through Ansible."""

    fleet: Fleet
    sessions: Sessions
    playbook: str
    _one: threading.Lock = field(default_factory=threading.Lock)
    _ansible: threading.Lock = field(default_factory=threading.Lock)
    _ended: threading.Event = field(default_factory=threading.Event)

    def ask(self, host: Host, operation: Key, wish: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """The answer of an operation that takes `seconds` by itself.

        Raises HostFailedError with the host's own words or for no answer of ours, UnreachableError where it is gone.
        """
        try:
            guest = self._guest(host)
            if guest is None:
                return self._by_ansible(host, operation, wish, seconds)
            there = Overrides.from_vars(host.name, host.vars).layout
            args = {**wish, **there.to_dict()}
            answer = ask(guest, self._one, operation, args, seconds + SPARE_SECONDS)
        except (FactsError, RunnerError, Unanswered, ValueError) as error:  # ValueError: settings of ssh
            raise HostFailedError(str(error)) from error
        except Refused as refused:
            raise UnreachableError(refused.finding(host.name).reason) from refused
        if "error" in answer:
            raise HostFailedError(str(answer["error"]))
        return answer

    def cut(self) -> None:
        """What goes on through Ansible ends."""
        self._ended.set()

    def _guest(self, host: Host) -> Guest | None:
        transport = self.sessions.get(host.name)
        if transport is None:
            return None
        rights = rights_at(host, resolve(host).user, True, self.fleet.access.become_password or "")
        return SessionGuest(host, transport, rights) if rights is not None else None

    def _by_ansible(self, host: Host, operation: Key, wish: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        role, _script, do = operation
        told = {f"__{role}_do": do, f"__{role}_wish": dict(wish)}
        limit = int(seconds + 2 * SPARE_SECONDS)
        run = self.fleet.access.run(self.playbook, [host.name], told, task_timeout=limit)
        with self._ansible:  # Ansible's runs are not for many threads at once
            end = program.execute(run, lambda _: None, self._ended.is_set).hosts.get(host.name)
        answer = end.facts.get(f"phi4_{role}") if end is not None else None
        if isinstance(answer, Mapping):
            return dict(answer)
        why = (end.message if end is not None else "") or "Ansible says nothing of it"
        raise (UnreachableError if end is not None and end.status == "unreachable" else HostFailedError)(why)
