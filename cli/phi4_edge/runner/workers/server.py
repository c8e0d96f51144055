"""The worker's side of a remote run: one job of ansible-runner, whose events go to whoever is at the other end.

All that the job needs came with the request and is in a private directory in memory. The job ends with the connection:
when its other end is closed, asks for it, or says nothing for a while, no process and no file of the job is left.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import shlex
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from phi4_edge import content
from phi4_edge.core.inventory import VaultSecret
from phi4_edge.errors import RunnerError
from phi4_edge.runner.environment import PRIVATE
from phi4_edge.runner.private import private_directory
from phi4_edge.runner.process import MARKER, reap
from phi4_edge.runner.run import POLL_SECONDS, WITHOUT_TERMINAL, Run, build_run, place

# The controller says something every BEAT seconds; one that is not heard for SILENCE seconds is gone.
BEAT, SILENCE = 5.0, 45.0
# A process that was told to end and does not, because nobody reads what it writes, is ended after so many seconds.
_LEAVE = 5.0
INVENTORY = "inventory.yml"
_KNOWN_HOSTS = "known_hosts"


def serve(request: Mapping[str, Any], source: io.BufferedReader, sink: IO[bytes]) -> None:
    """The job has ended, whatever ended it. Its events were written to `sink` as ansible-runner's worker writes them.

    Raises RunnerError for a request that makes no run.
    """
    run = _decide(request)
    files = {str(name): str(text) for name, text in request["files"].items()}
    job = _until_eof(source)
    with private_directory({**run.files, **files}) as private:
        (private / INVENTORY).write_text(place(str(request["inventory"]), private), encoding="utf-8")
        try:
            with _Ear(source, private) as ear:
                _stream(job, _Seat(run, private, str(request["job"])), sink, lambda: ear.told_to_end)
        finally:
            reap(private)


def _decide(request: Mapping[str, Any]) -> Run:
    """The run as this machine would decide it for itself: its own roles, environment and configuration."""
    try:
        run = build_run(
            playbook=content.playbook(str(request["playbook"])),
            inventory=(),
            limit=tuple(str(host) for host in request["limit"]),
            extra_vars=dict(request["extra_vars"]),
            forks=int(request["forks"]),
            check=bool(request["check"]),
            diff=bool(request["diff"]),
            become_password=request["become_password"],
            connection_password=request["connection_password"],
            vaults=[VaultSecret(str(each["label"]), "", str(each["password"])) for each in request["vaults"]],
            operator_vars=[str(text) for text in request["operator_vars"]],
            verbosity=int(request["verbosity"]),
            task_timeout=int(request["task_timeout"]),
            cwd=Path("/"),
        )
        more = ["--inventory", f"{PRIVATE}/{INVENTORY}"]
    except (KeyError, TypeError, ValueError) as error:
        raise RunnerError(f"found an invalid request, needed one that describes a run: {error!r}") from error
    env = dict(run.env)
    if _KNOWN_HOSTS in request["files"] and "ANSIBLE_SSH_ARGS" in env:
        # What the controller knows counts beside what this machine knows.
        env["ANSIBLE_SSH_ARGS"] += f" -o 'GlobalKnownHostsFile={PRIVATE}/{_KNOWN_HOSTS} /etc/ssh/ssh_known_hosts'"
    return replace(run, argv=(*run.argv, *more), env=env)


def _until_eof(source: IO[bytes]) -> bytes:
    """What ansible-runner's transmitter wrote."""
    lines = []
    for line in iter(source.readline, b""):
        lines.append(line)
        if b'"eof"' in line and "eof" in json.loads(line):
            return b"".join(lines)
    raise RunnerError("the connection ended before the job was described")


class _Seat:
    """Where a job runs, as the arguments of ansible-runner say it."""

    def __init__(self, run: Run, private: Path, job: str) -> None:
        self.run, self.private, self.job = run, private, job

    def arguments(self) -> dict[str, Any]:
        """What ansible-runner is asked to run."""
        binary, *command = [*WITHOUT_TERMINAL, *(place(word, self.private) for word in self.run.argv)]
        return {
            "binary": binary,
            "cmdline": shlex.join(command),
            "envvars": {MARKER: self.private.name, "JOB_ID": self.job},
            "ident": "run",
            "fact_cache_type": "",
            "suppress_env_files": True,
        }

    def environment(self) -> dict[str, str]:
        """What the job's environment is made of."""
        return {name: place(value, self.private) for name, value in self.run.env.items()}


def _stream(job: bytes, seat: _Seat, sink: IO[bytes], ended: Callable[[], bool]) -> None:
    from ansible_runner.streaming import Worker

    class Streamed(Worker):  # type: ignore[misc]
        """ansible-runner's worker, which says nothing of its environment and sends no files back."""

        def update_paths(self, kwargs: dict[str, Any]) -> dict[str, Any]:
            return {**kwargs, **seat.arguments()}

        def status_handler(self, status_data: dict[str, Any], runner_config: object) -> None:
            if status_data.get("status") == "running":
                with contextlib.suppress(FileNotFoundError):
                    (seat.private / "artifacts" / "run" / "command").unlink()  # the environment, in clear
            kept = {name: value for name, value in status_data.items() if name not in {"env", "command", "cwd"}}
            super().status_handler(kept, runner_config)

        def artifacts_handler(self, artifact_dir: str) -> None:
            """Everything is in the events."""

        def finished_callback(self, runner_obj: Any) -> None:
            if runner_obj is not None:
                self.status_handler({"status": runner_obj.status, "rc": runner_obj.rc}, None)
            super().finished_callback(runner_obj)

    os.environ.clear()
    os.environ.update(seat.environment())
    worker = Streamed(
        _input=io.BytesIO(job),
        _output=sink,
        keepalive_seconds=BEAT,
        private_data_dir=str(seat.private),
        cancel_callback=ended,
    )
    worker.run()


class _Ear:
    """Listens to the controller while the job runs.

    The end of the connection, a wish to stop, and silence all end the job: its processes at once, and this process
    too when it does not come back from a write that nobody reads. The guard clears up behind it then.
    """

    def __init__(self, source: io.BufferedReader, private: Path) -> None:
        self._source, self._private = source, private
        self._heard = time.monotonic()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._listen, self._watch)]
        self.told_to_end = False

    def __enter__(self) -> _Ear:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *ended: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _listen(self) -> None:
        while not self._over.is_set():
            # Never in a read that nothing comes to: a thread in one could not be ended.
            if not select.select([self._source], [], [], POLL_SECONDS)[0]:
                continue
            said = self._source.read1(65536)
            self._heard = time.monotonic()
            if not said or b"cancel" in said:
                break
        self.told_to_end = True

    def _watch(self) -> None:
        while not self._over.wait(POLL_SECONDS):
            if time.monotonic() - self._heard > SILENCE:
                self.told_to_end = True
            if self.told_to_end:
                reap(self._private)
                if not self._over.wait(_LEAVE):
                    os._exit(1)
                return
