"""The controller's side of a remote run: a worker reached over OpenSSH, and one job of ansible-runner streamed to it.

The worker says first who it is; then it gets one line that holds all that the job needs, secrets among them, and what
ansible-runner's transmitter writes; its events come back to ansible-runner's processor. Nothing secret is in an
argument or on a disk, here or there.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any

from phi4_edge.core.inventory import VaultSecret
from phi4_edge.core.text import printable
from phi4_edge.errors import RunnerError
from phi4_edge.runner.events import Collector, HostEvent
from phi4_edge.runner.private import private_directory
from phi4_edge.runner.run import TOOK_PLACE, RunResult
from phi4_edge.runner.workers.link import Link, WorkerLostError
from phi4_edge.runner.workers.server import BEAT, SILENCE

__all__ = ["WorkerJob", "WorkerLostError", "execute"]

# A job that was asked to end has this long before the connection is cut, which ends it too.
_GRACE = 1.5
# A worker that does not take what the job needs for so long is given up; a large inventory over a slow line takes some.
_TAKING = 300.0
# Bytes of one line; results of a task have a limit of their own far below. A worker must not fill this memory.
_LONGEST = 256 << 20


@dataclass(frozen=True)
class WorkerJob:
    """What a worker is asked to run. `inventory` and `files` come from `inventory`; all of it may be secret.

    `vaults`: each with its password, as nothing of this machine's can be read there.
    """

    playbook: str
    limit: tuple[str, ...]
    inventory: str = field(repr=False)
    extra_vars: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict, repr=False)
    forks: int = 10
    check: bool = False
    diff: bool = False
    task_timeout: int = 0
    become_password: str | None = field(default=None, repr=False)
    connection_password: str | None = field(default=None, repr=False)
    vaults: tuple[VaultSecret, ...] = ()
    operator_vars: tuple[str, ...] = field(default=(), repr=False)
    verbosity: int = 0

    def request(self, number: int) -> dict[str, Any]:
        """The line that describes it. `number` is repeated by every true event of the job."""
        return {
            "do": "run",
            "job": str(number),
            "playbook": self.playbook,
            "limit": list(self.limit),
            "inventory": self.inventory,
            "extra_vars": dict(self.extra_vars),
            "files": dict(self.files),
            "forks": self.forks,
            "check": self.check,
            "diff": self.diff,
            "task_timeout": self.task_timeout,
            "become_password": self.become_password,
            "connection_password": self.connection_password,
            "vaults": [{"label": vault.label, "password": vault.password} for vault in self.vaults],
            "operator_vars": list(self.operator_vars),
            "verbosity": self.verbosity,
        }


def execute(
    link: Link, job: WorkerJob, on_event: Callable[[HostEvent], None], cancelled: Callable[[], bool]
) -> RunResult:
    """The job has ended on the worker, and the connection is closed. `on_event` hears what happens, in this thread.

    When `cancelled()` turns true everything that runs is ended within 2 seconds. Raises WorkerLostError when the
    connection ended before the job did, and RunnerError with Ansible's own words when it could not run at all.
    """
    number = secrets.randbits(62)
    collector = Collector(number, on_event, detailed=job.verbosity > 0)
    with private_directory({}) as private, link:
        pump = _Pump(link, cancelled)
        ended = _Stream(link, pump, collector, str(private)).run(job.request(number))
    if pump.cancelled:
        return RunResult(collector.outcomes(True), True, 254)
    if ended is None:
        raise WorkerLostError(link.name, pump.why or link.words() or "its connection ended")
    if collector.stats is None or ended not in TOOK_PLACE:
        said = collector.words() or link.words() or "it said nothing"
        raise RunnerError(
            f"ansible-playbook could not run the playbook on worker {link.name} (exit status {ended}):\n{said}"
        )
    return RunResult(collector.outcomes(False), False, ended)


class _Stream:
    """ansible-runner's two ends of the connection."""

    def __init__(self, link: Link, pump: _Pump, collector: Collector, private: str) -> None:
        self._link, self._pump, self._collector, self._private = link, pump, collector, private
        self._status: int | None = None

    def run(self, request: Mapping[str, Any]) -> int | None:
        """Exit status of ansible-playbook; None when the worker did not say it."""
        from ansible_runner.streaming import Transmitter

        with self._pump:
            with suppress(OSError):  # a broken connection shows at its other end, with what the worker said
                self._link.say(request)
                Transmitter(_output=self._link.sink, private_data_dir=self._private, only_transmit_kwargs=True).run()
            self._pump.sent()
            try:
                self._listen()
            except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
                # Whatever it is, one worker must not end the rollout of all.
                said = printable(f"{type(error).__name__}: {error}", 200)
                self._pump.why = f"it sent something that is not an event of a job ({said})"
                return None
        return self._status

    def _listen(self) -> None:
        from ansible_runner.streaming import Processor

        class Events(Processor):  # type: ignore[misc]
            """Takes no files: none is sent back, and their names and links would be of the worker's choice."""

            def artifacts_callback(self, artifacts_data: object) -> None:
                raise ValueError("files, which nobody asked for")

        Events(
            _input=_Heard(self._link.source, self._pump),
            private_data_dir=self._private,
            quiet=True,
            event_handler=self._collector.take,
            status_handler=self._hear_status,
        ).run()

    def _hear_status(self, status: Mapping[str, Any], runner_config: object) -> None:
        if isinstance(status.get("rc"), int):
            self._status = int(status["rc"])


class _Heard:
    """The worker's words, and when the last one came."""

    def __init__(self, source: IO[bytes], pump: _Pump) -> None:
        self._source, self._pump = source, pump

    def readline(self) -> bytes:
        line = self._source.readline(_LONGEST)
        self._pump.heard = time.monotonic()
        return line


class _Pump:
    """Lets the worker know that this side lives, tells it when to stop, and cuts the connection to a silent one."""

    def __init__(self, link: Link, cancelled: Callable[[], bool]) -> None:
        self._link, self._wanted = link, cancelled
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.heard = time.monotonic()
        self.cancelled = False
        self.why = ""
        self._sending, self._patience = True, _TAKING

    def sent(self) -> None:
        """The worker has what the job needs: from here on it is spoken to, and has to speak."""
        self.heard = time.monotonic()
        self._sending, self._patience = False, SILENCE

    def __enter__(self) -> _Pump:
        self._thread.start()
        return self

    def __exit__(self, *ended: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        beat = asked = 0.0
        while not self._over.wait(0.1):
            now = time.monotonic()
            if not self.cancelled and self._wanted():
                self.cancelled, asked = True, now
                self._say(b'{"cancel": true}\n')
            if self.cancelled and now - asked > _GRACE:
                self._link.cut()
            elif now - self.heard > self._patience:
                self.why = f"it said nothing for {self._patience:.0f} s"
                self._link.cut()
            elif now - beat > BEAT:
                beat = now
                self._say(b'{"beat": true}\n')

    def _say(self, line: bytes) -> None:
        """Never waits: a worker that does not read is found silent. Nothing comes between the words of the job."""
        if self._sending:
            return
        with suppress(OSError):
            self._link.sink.flush()
            os.write(self._link.sink.fileno(), line)
