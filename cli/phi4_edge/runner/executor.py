"""Runs a playbook on hosts and says what became of each: from this controller, or from wherever an executor puts it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from phi4_edge.runner import program
from phi4_edge.runner.access import Access
from phi4_edge.runner.run import HostEvent, RunResult

OnEvent = Callable[[HostEvent], None]


@dataclass(frozen=True)
class Call:
    """What is to be done on some hosts: a playbook of ours by name, its variables, and how it is run.

    `task_timeout`: seconds that one task may take on one host; 0 sets no limit.
    """

    playbook: str
    extra_vars: Mapping[str, Any] = field(default_factory=dict)
    check: bool = False
    diff: bool = False
    task_timeout: int = 0


class Executor(Protocol):
    """Whoever runs a call. `on_event` is called in the thread that called `execute`, never from two at once."""

    def execute(self, call: Call, hosts: Sequence[str], on_event: OnEvent, cancelled: Callable[[], bool]) -> RunResult:
        """The call has ended on all `hosts` afterwards, and no process of it is left.

        When `cancelled()` turns true everything that runs is ended within 2 seconds. Raises RunnerError with Ansible's
        own words when it could not run at all.
        """


@dataclass(frozen=True)
class Local:
    """Runs Ansible on this controller: with an `ansible` that is imported already, or one for this call."""

    access: Access
    ansible: program.Program | None = None

    def execute(self, call: Call, hosts: Sequence[str], on_event: OnEvent, cancelled: Callable[[], bool]) -> RunResult:
        """One Ansible run for all hosts; see Executor."""
        run = self.access.run(call.playbook, hosts, call.extra_vars, call.check, call.diff, call.task_timeout)
        execute = self.ansible.execute if self.ansible else program.execute
        return execute(run, on_event, cancelled)
