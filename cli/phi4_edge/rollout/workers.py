"""Spreads the hosts of a wave over workers: other machines that run Ansible for this controller, near the hosts.

A worker that is lost takes no further part; its hosts go to the others, and to this controller when none is left. The
lock on each host keeps two from working on it at once: who comes second waits until the first run's lock has ended.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from phi4_edge import runner_inventory, runner_remote
from phi4_edge.core.reach import Host
from phi4_edge.errors import PreflightError, RunnerError
from phi4_edge.rollout.access import Access
from phi4_edge.rollout.executor import Call, Local, OnEvent
from phi4_edge.rollout.workers_course import Course
from phi4_edge.runner import HostEvent, RunResult
from phi4_edge.runner_inventory import Portable
from phi4_edge.runner_link import connect, host_of

# Seconds that a host of a lost worker may stay locked: until the worker notices, and until its lock is stale.
TAKEOVER_SECONDS = 120
_KNOWN_HOSTS = "~/.ssh/known_hosts"


@dataclass(frozen=True)
class Worker:
    """One machine, `[user@]host[:port]`. `store`: where its store is; `cpus`: its share of the hosts."""

    target: str
    store: str
    cpus: int

    @property
    def host(self) -> str:
        """Its name without user and port."""
        return host_of(self.target)


@dataclass
class Pool:
    """Executes calls on workers; see Executor. `note` hears what becomes of them.

    `near` says by host which worker is wanted; those in `here` are for this controller only. `store` is this
    controller's: variables of a call that end in `_store` and name it name the worker's own there.
    """

    access: Access
    workers: list[Worker]
    hosts: Mapping[str, Host] = field(default_factory=dict)
    near: Mapping[str, str] = field(default_factory=dict)
    here: frozenset[str] = frozenset()
    store: str = ""
    note: Callable[[str], None] = lambda text: None
    _inventory: Portable | None = None

    def give_up(self, worker: Worker, reason: str) -> None:
        """The worker takes no further part."""
        if worker in self.workers:
            self.workers.remove(worker)
            rest = f"{len(self.workers)} left" if self.workers else "this controller does it alone from here on"
            self.note(f"worker {worker.target} is given up: {reason} ({rest})")

    def execute(self, call: Call, hosts: Sequence[str], on_event: OnEvent, cancelled: Callable[[], bool]) -> RunResult:
        """See Executor."""
        if self.workers and self._inventory is None:
            self._inventory = self._portable()
        return Course(self, call, on_event, cancelled).run(hosts)

    def run(
        self,
        worker: Worker | None,
        call: Call,
        hosts: Sequence[str],
        on_event: Callable[[HostEvent], None],
        cancelled: Callable[[], bool],
    ) -> RunResult:
        """The call on these hosts from one place; None is this controller. Raises WorkerLostError."""
        if worker is None:
            return Local(self.access).execute(call, hosts, on_event, cancelled)
        link, _ = connect(worker.target)
        return runner_remote.execute(link, self._job(worker, call, hosts), on_event, cancelled)

    def again(self, call: Call) -> Call:
        """The same call for hosts of a lost worker, whose lock may still be held for a while."""
        wait = max(float(call.extra_vars.get("lock_wait") or 0), TAKEOVER_SECONDS)
        return replace(call, extra_vars={**call.extra_vars, "lock_wait": wait})

    def _job(self, worker: Worker, call: Call, hosts: Sequence[str]) -> runner_remote.Job:
        assert self._inventory is not None, "made before the first job"  # noqa: S101
        vault = self.access.vault_password_file
        return runner_remote.Job(
            playbook=call.playbook,
            limit=tuple(hosts),
            inventory=self._inventory.text,
            extra_vars=_moved(call.extra_vars, self.store, worker.store),
            files=self._inventory.files,
            forks=self.access.forks,
            check=call.check,
            diff=call.diff,
            task_timeout=call.task_timeout,
            become_password=self.access.become_password,
            vault_password=runner_inventory.secret(vault) if vault else None,
        )

    def _portable(self) -> Portable:
        settings = {name: _settings(host) for name, host in self.hosts.items()}
        made = runner_inventory.portable(self.access.inventory, settings, self.access.vault_password_file)
        known = Path(_KNOWN_HOSTS).expanduser()
        if not known.is_file():
            return made
        return replace(made, files={**made.files, "known_hosts": known.read_text(encoding="utf-8", errors="replace")})


def pool(
    access: Access,
    targets: Sequence[str],
    hosts: Iterable[Host] = (),
    store: str | os.PathLike[str] = "",
    note: Callable[[str], None] = lambda text: None,
) -> Pool:
    """A pool of workers that have all answered, and are what this controller is.

    `hosts`: those of the inventory, evaluated. Raises PreflightError naming the first worker that cannot be used.
    """
    workers = []
    for target in dict.fromkeys(targets):
        try:
            link, hello = connect(target)
        except RunnerError as error:
            raise PreflightError(
                f"{error}; needed a machine that this one reaches with ssh without being asked, whose host key is "
                "known, and on which phi4-edge is installed"
            ) from error
        with link:
            workers.append(Worker(target, hello.store, hello.cpus))
    known = {host.name: host for host in hosts}
    near = {name: str(host.vars["phi4_worker"]).strip() for name, host in known.items() if "phi4_worker" in host.vars}
    # Another connection than ssh may mean this very machine, or a container on it.
    here = frozenset(name for name, host in known.items() if not host.over_ssh)
    return Pool(access, workers, known, near, here, os.fspath(store), note)


def _settings(host: Host) -> dict[str, str]:
    """How the host is reached, evaluated here: templates may need what only this controller has."""
    return {
        "ansible_user": host.user,
        "ansible_ssh_private_key_file": host.ssh.private_key_file,
        "ansible_ssh_common_args": host.ssh.common_args,
        "ansible_ssh_extra_args": host.ssh.extra_args,
        "ansible_ssh_args": host.ssh.ssh_args,
    }


def _moved(variables: Mapping[str, Any], here: str, there: str) -> dict[str, Any]:
    return {
        name: there if here and name.endswith("_store") and value == here else value
        for name, value in variables.items()
    }
