"""One call on many hosts from several places at once, and what becomes of hosts whose place is lost."""

from __future__ import annotations

import queue
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from phi4_edge.errors import PreflightError, RunnerError
from phi4_edge.rollout.executor import Call, OnEvent
from phi4_edge.runner import HostEvent, HostOutcome, RunResult

if TYPE_CHECKING:
    from phi4_edge.rollout.workers import Pool, Worker

# How often the operator's wish to stop is looked at, in seconds.
_POLL = 0.1


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
            self._threads.append(thread)
            self._open += 1
            thread.start()

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
