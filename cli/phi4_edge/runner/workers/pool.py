"""Spreads the hosts of a wave over workers: other machines that run Ansible for this controller, near the hosts.

A worker that is lost takes no further part; its hosts go to the others, and to this controller when none is left. The
lock on each host keeps two from working on it at once: who comes second waits until the first run's lock has ended.
"""

from __future__ import annotations

import os
import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from phi4_edge.core.inventory import Host
from phi4_edge.errors import PreflightError, RunnerError
from phi4_edge.runner.access import Access
from phi4_edge.runner.executor import Call, Local, OnEvent
from phi4_edge.runner.run import HostEvent, HostOutcome, RunResult
from phi4_edge.runner.workers import client, inventory
from phi4_edge.runner.workers.inventory import Portable
from phi4_edge.runner.workers.link import connect, host_of

# Seconds that a host of a lost worker may stay locked: until the worker notices, and until its lock is stale.
TAKEOVER_SECONDS = 120
_KNOWN_HOSTS = "~/.ssh/known_hosts"
# How often the operator's wish to stop is looked at, in seconds.
_POLL = 0.1


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
            rest = f"{len(self.workers)} left" if self.workers else "this controller continues alone"
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
        return client.execute(link, self._job(worker, call, hosts), on_event, cancelled)

    def again(self, call: Call) -> Call:
        """The same call for hosts of a lost worker, whose lock may still be held for a while."""
        wait = max(float(call.extra_vars.get("lock_wait") or 0), TAKEOVER_SECONDS)
        return replace(call, extra_vars={**call.extra_vars, "lock_wait": wait})

    def _job(self, worker: Worker, call: Call, hosts: Sequence[str]) -> client.WorkerJob:
        assert self._inventory is not None, "made before the first job"  # noqa: S101
        return client.WorkerJob(
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
            connection_password=self.access.connection_password,
            vaults=tuple(inventory.opened(vault) for vault in self.access.vaults),
            operator_vars=self.access.extra_vars,
            verbosity=self.access.verbosity,
        )

    def _portable(self) -> Portable:
        settings = {name: _settings(host) for name, host in self.hosts.items()}
        access = self.access
        made = inventory.portable(access.inventory, settings, access.vaults, access.extra_vars)
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
                f"{error}; needed a machine that this one reaches with ssh without prompts, whose host key is "
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
    """How the host is reached, read here: templates and ansible.cfg may need what only this controller has."""
    ssh = host.ssh
    jump = f"-o ProxyJump={ssh.jump} " if ssh.jump else ""
    return {
        "ansible_port": str(host.port or ""),
        "ansible_user": host.user,
        "ansible_ssh_private_key_file": ssh.private_key_file,
        "ansible_ssh_common_args": jump + ssh.common_args,
        "ansible_ssh_extra_args": ssh.extra_args,
        "ansible_ssh_args": ssh.ssh_args,
        "ansible_ssh_timeout": str(ssh.timeout),
        "ansible_ssh_retries": str(ssh.retries or ""),
    }


def _moved(variables: Mapping[str, Any], here: str, there: str) -> dict[str, Any]:
    return {
        name: there if here and name.endswith("_store") and value == here else value
        for name, value in variables.items()
    }


@dataclass(frozen=True)
class Part:
    """Hosts that one worker (None: this controller) has."""

    worker: Worker | None
    hosts: tuple[str, ...]


@dataclass(frozen=True)
class _End:
    """How a part ended: with a result, or with what went wrong."""

    part: Part
    result: RunResult | None = None
    error: BaseException | None = None


def spread(hosts: Sequence[str], pool: Pool) -> list[Part]:
    """Each host on the worker that it is near, the others where there is most room; here without any worker."""
    taken: dict[Worker | None, list[str]] = {None: [], **{worker: [] for worker in pool.workers}}
    free = []
    for host in hosts:
        wanted = pool.near.get(host)
        worker = next((one for one in pool.workers if wanted in (one.target, one.host)), None) if wanted else None
        if host in pool.here or not pool.workers:
            taken[None].append(host)
        elif worker is None:
            free.append(host)
        else:
            taken[worker].append(host)
    for host in free:
        taken[min(pool.workers, key=lambda worker: len(taken[worker]) / worker.cpus)].append(host)
    order = {host: index for index, host in enumerate(hosts)}
    return [Part(one, tuple(sorted(names, key=order.__getitem__))) for one, names in taken.items() if names]


class Course:
    """One call. Every part runs in a thread of its own; events are told in the thread that called `run`."""

    def __init__(self, pool: Pool, call: Call, on_event: OnEvent, cancelled: Callable[[], bool]) -> None:
        self._pool, self._call, self._tell, self._wanted = pool, call, on_event, cancelled
        self._queue: queue.SimpleQueue[HostEvent | _End] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._changed: Counter[str] = Counter()
        self._outcomes: dict[str, HostOutcome] = {}
        self._statuses: list[int] = []
        self._open = 0
        self._cut = False

    def run(self, hosts: Sequence[str]) -> RunResult:
        """What became of all hosts. Raises RunnerError when the call could not even be run here."""
        try:
            self._begin(spread(hosts, self._pool), self._call)
            while self._open:
                self._step()
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()
        counted = {
            host: replace(end, changed=max(end.changed, self._changed[host])) for host, end in self._outcomes.items()
        }
        return RunResult(counted, self._cut, max(self._statuses, default=0))

    def _begin(self, parts: Sequence[Part], call: Call) -> None:
        for part in parts:
            thread = threading.Thread(target=self._work, args=(part, call), daemon=True)
            thread.start()
            self._threads.append(thread)
            self._open += 1

    def _work(self, part: Part, call: Call) -> None:
        try:
            ended = _End(part, self._pool.run(part.worker, call, part.hosts, self._queue.put, self._stop.is_set))
        except BaseException as error:  # whatever it is, the thread that waits must hear of it
            ended = _End(part, error=error)
        self._queue.put(ended)

    def _step(self) -> None:
        if not self._stop.is_set() and self._wanted():
            self._stop.set()
        try:
            found = self._queue.get(timeout=_POLL)
        except queue.Empty:
            return
        if isinstance(found, HostEvent):
            if found.kind == "changed":
                self._changed[found.host] += 1
            self._tell(found)
            return
        self._open -= 1
        if found.result is not None:
            self._outcomes.update(found.result.hosts)
            self._statuses.append(found.result.exit_status)
            self._cut = self._cut or found.result.cancelled
        else:
            self._lost(found)

    def _lost(self, end: _End) -> None:
        """The part's hosts go elsewhere; nothing new begins once the operator wants to stop."""
        worker = end.part.worker
        if end.error is not None and (
            worker is None or not isinstance(end.error, (RunnerError, PreflightError, OSError))
        ):
            raise end.error
        if worker is not None:
            self._pool.give_up(worker, getattr(end.error, "reason", "") or str(end.error))
        if self._stop.is_set():
            self._cut = True
        else:
            self._begin(spread(end.part.hosts, self._pool), self._pool.again(self._call))
