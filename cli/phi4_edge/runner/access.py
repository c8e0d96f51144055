"""How Ansible reaches the hosts of one command, and what one of its runs is asked to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from phi4_edge import content
from phi4_edge.core.inventory import Login, VaultSecret
from phi4_edge.errors import RunnerError
from phi4_edge.runner import run as runner_run

_NO_LOGIN = Login()


@dataclass(frozen=True)
class Access:
    """The inventory as given on the command line, with what it says of logins, and the secrets that open the hosts.

    `extra_vars`: documents of variables that go over the inventory's; they may hold secrets. `verbosity`: how much
    Ansible tells.
    """

    inventory: tuple[str, ...]
    forks: int = 10
    become_password: str | None = field(default=None, repr=False)
    vaults: tuple[VaultSecret, ...] = ()
    extra_vars: tuple[str, ...] = field(default=(), repr=False)
    verbosity: int = 0
    login: Login = _NO_LOGIN
    connection_password: str | None = field(default=None, repr=False)

    def run(
        self,
        playbook: str,
        hosts: Sequence[str],
        extra_vars: Mapping[str, Any] | None = None,
        check: bool = False,
        diff: bool = False,
        task_timeout: int = 0,
    ) -> runner_run.Run:
        """One run of a playbook of ours on exactly these hosts; `task_timeout`: seconds that a task may take.

        Raises RunnerError for no hosts: Ansible without a limit takes all of the inventory.
        """
        if not hosts:
            raise RunnerError(f"found no hosts to run {playbook} on, needed at least one")
        return runner_run.build_run(
            playbook=content.playbook(playbook),
            inventory=self.inventory,
            limit=tuple(hosts),
            extra_vars=dict(extra_vars or {}),
            forks=self.forks,
            check=check,
            diff=diff,
            become_password=self.become_password,
            connection_password=self.connection_password,
            vaults=self.vaults,
            operator_vars=self.extra_vars,
            verbosity=self.verbosity,
            login=self.login,
            task_timeout=task_timeout,
        )
