"""Executes runs of playbooks. The only importer of ansible_runner.

What ansible-runner does by default and is undone here: it writes the whole environment and the extra variables to
disk, turns host-key checking off, lets tasks live on after a cancel, drops large results, and lets plugins ask on a
terminal that nobody reads.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from phi4_edge import ansible_version
from phi4_edge.errors import RunnerError
from phi4_edge.runner.events import Collector, HostEvent
from phi4_edge.runner.forkserver import ForkServer
from phi4_edge.runner.private import private_directory, subdirectory
from phi4_edge.runner.process import MARKER, reap
from phi4_edge.runner.run import TOOK_PLACE, WITHOUT_TERMINAL, Run, RunResult, place

# What ansible-runner itself must find in the environment; everything else is decided by build_env().
_RUNNER_ENV = ("AWX_ISOLATED_DATA_DIR", "ANSIBLE_CALLBACK_PLUGINS", "ANSIBLE_STDOUT_CALLBACK", "RUNNER_OMIT_EVENTS")
# What is another one in each run; Ansible looks at it when a run begins, not when it is imported.
_EACH_RUN = frozenset({"AWX_ISOLATED_DATA_DIR", "JOB_ID"})


def execute(
    run: Run, on_event: Callable[[HostEvent], None], cancelled: Callable[[], bool] = lambda: False
) -> RunResult:
    """One run, with nothing left of it afterwards; see Program.execute."""
    with Program() as program:
        return program.execute(run, on_event, cancelled)


class Program:
    """ansible-playbook for one run after the other, imported once for all that have the same environment.

    A context manager: no process and no file of it is left behind it, however it ended.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._private: Path | None = None
        self._server: ForkServer | None = None

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._private = self._server = None
        self._stack.close()

    def execute(
        self, run: Run, on_event: Callable[[HostEvent], None], cancelled: Callable[[], bool] = lambda: False
    ) -> RunResult:
        """The run is over: no process and no file of it is left, however it ended. Prints nothing.

        `on_event` hears what happens, in this thread. When `cancelled()` turns true everything that runs is ended
        within 2 seconds. Hosts have failed whose tasks say nothing for longer than `run.silence`. Raises RunnerError
        with what Ansible said when it could not run at all, PreflightError for an untested version of it.
        """
        ansible_version.check()
        private, server = self._opened()
        job = secrets.randbits(62)
        collector = Collector(job, on_event, detailed=any(word.startswith("-v") for word in run.argv))
        state = {"cancelled": False, "silent": False}

        def asked_to_stop() -> bool:
            state["silent"] = state["silent"] or 0 < run.silence < collector.quiet
            if not any(state.values()) and cancelled():
                state["cancelled"] = True
            if any(state.values()):
                reap(private, spared=server.pids)
            return any(state.values())

        try:
            with subdirectory(private / "run", run.files) as folder:
                status = _Attempt(run, private, folder, server, job).status(collector.take, asked_to_stop)
        finally:
            left = reap(private, spared=server.pids)
        if left:
            raise RunnerError(f"processes {sorted(left)} of the run could not be stopped: kill them by hand")
        if state["silent"] and collector.give_up(run.silence):
            return RunResult(collector.outcomes(False), False, status)
        if not state["cancelled"] and (collector.stats is None or status not in TOOK_PLACE):
            server.close()  # what could not run begins anew the next time
            said = collector.words() or ("nothing happened" if state["silent"] else "it said nothing")
            raise RunnerError(f"ansible-playbook could not run the playbook (exit status {status}):\n{said}")
        return RunResult(collector.outcomes(state["cancelled"]), state["cancelled"], status)

    def _opened(self) -> tuple[Path, ForkServer]:
        if self._private is None or self._server is None:
            self._private = self._stack.enter_context(private_directory({}))
            self._stack.callback(reap, self._private)
            self._server = ForkServer(self._private)
            self._stack.callback(self._server.close)
        return self._private, self._server


@dataclass(frozen=True)
class _Attempt:
    """A run with its place: `folder` is its own, in the private directory of all runs."""

    run: Run
    private: Path
    folder: Path
    server: ForkServer
    job: int

    def status(self, take: Callable[[Mapping[str, Any]], bool], asked_to_stop: Callable[[], bool]) -> int:
        """Exit status of ansible-playbook; 254 when it was cancelled."""
        from ansible_runner import Runner

        runner = Runner(self._config(), event_handler=take, status_handler=self._heard, cancel_callback=asked_to_stop)
        _, exit_status = runner.run()
        return 254 if exit_status is None else int(exit_status)

    def _config(self) -> Any:
        from ansible_runner.config.runner import RunnerConfig

        config = RunnerConfig(
            private_data_dir=str(self.folder),
            project_dir=str(
                self.run.cwd
            ),  # relative paths in an inventory mean the same as with plain ansible-playbook
            playbook=self.run.argv[1],
            ident="run",
            fact_cache_type="",
            quiet=True,
            suppress_env_files=True,
        )
        config.prepare()
        config.env = {
            **{name: config.env[name] for name in _RUNNER_ENV if name in config.env},
            **{name: place(value, self.private) for name, value in self.run.env.items()},
            MARKER: self.private.name,
            "JOB_ID": str(self.job),
            "ANSIBLE_STDOUT_CALLBACK": "awx_display",
        }
        kept = {name: value for name, value in config.env.items() if name not in _EACH_RUN}
        ansible = self.server.command(kept, self.run.cwd)
        config.command = [*WITHOUT_TERMINAL, *ansible, *(place(word, self.folder) for word in self.run.argv)]
        return config

    def _heard(self, status: Mapping[str, Any], runner_config: object) -> None:
        if status.get("status") == "running":
            with suppress(FileNotFoundError):
                (self.folder / "artifacts" / "run" / "command").unlink()  # the environment, in clear
