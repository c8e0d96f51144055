"""A run of a playbook, decided whole before it begins, and what came of it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from phi4_edge import content
from phi4_edge.core.inventory import Login, VaultSecret
from phi4_edge.errors import RunnerError
from phi4_edge.runner import detached
from phi4_edge.runner.environment import PRIVATE, build_env
from phi4_edge.runner.events import HostEvent, HostOutcome

__all__ = ["HostEvent", "HostOutcome", "Run", "RunResult", "build_run"]

# Ansible's exit codes for a run that took place: all well, a host failed, a host unreachable (with both: 4 or 6).
TOOK_PLACE = frozenset({0, 2, 4, 6})
# The tag of tasks that say in a line what the command says itself, in its own table: it runs the same playbooks.
REPORT = "report"
# Beyond it Ansible only debugs itself.
MOST_VERBOSE = 4
# ansible-runner asks whether to go on once in this many seconds (its default is 5).
POLL_SECONDS = 0.2
# ansible-runner's own terminal is one that nobody reads: what would ask there is to end instead.
WITHOUT_TERMINAL = (sys.executable, "-I", "-S", detached.__file__)
# A task that takes longer than it may is ended by Ansible itself; one that does not let itself be ended, by us so much
# later.
LATE_SECONDS = 60.0

_NO_LOGIN = Login()


@dataclass(frozen=True)
class Run:
    """One run of ansible-playbook: its command, environment, and the files of its private directory.

    `{private}` in `argv` and `env` stands for that directory. Secrets are only in `files`, which live in memory. After
    `silence` seconds in which nothing happens it is ended; 0: never.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    files: Mapping[str, str] = field(repr=False)
    cwd: Path
    silence: float = 0.0


@dataclass(frozen=True)
class RunResult:
    """What became of each host that the run touched. `cancelled`: it was ended because the operator asked for it."""

    hosts: Mapping[str, HostOutcome]
    cancelled: bool
    exit_status: int


def build_run(
    playbook: Path,
    inventory: Iterable[str | Path],
    limit: Iterable[str] = (),
    extra_vars: Mapping[str, Any] | None = None,
    forks: int = 10,
    check: bool = False,
    diff: bool = False,
    become_password: str | None = None,
    connection_password: str | None = None,
    vaults: Sequence[VaultSecret] = (),
    operator_vars: Sequence[str] = (),
    login: Login = _NO_LOGIN,
    verbosity: int = 0,
    task_timeout: int = 0,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Run:
    """A run that is decided and not begun; reads the environment and configuration, changes nothing.

    `operator_vars` are documents as `--extra-vars @FILE` takes them, templates and all. `extra_vars` go over them and
    reach the play as data: a `{{` in them is text. `login` counts where the inventory says nothing else.
    `task_timeout`: seconds that a task may take on a host; 0 leaves it to the operator's configuration. Raises
    RunnerError for a number of forks below 1.
    """
    environ, cwd = os.environ if environ is None else environ, cwd or Path.cwd()
    _check_forks(forks)
    files = {"env/settings": json.dumps(_SETTINGS), **(variables := _variables(operator_vars, extra_vars or {}))}
    argv = ["ansible-playbook", str(_absolute(playbook, cwd)), "--forks", str(forks), *_sources(inventory, cwd)]
    argv += [word for name in variables for word in ("--extra-vars", f"@{PRIVATE}/{name}")]
    argv += ["--skip-tags", REPORT]
    if names := list(limit):
        files["limit"], argv = "\n".join(names) + "\n", [*argv, "--limit", f"@{PRIVATE}/limit"]
    argv += [*_flags(check, diff, verbosity), *_login(login, cwd)]
    passwords = _password_options({"become": become_password, "connection": connection_password})
    for more, secret in (passwords, vault_options(vaults, cwd)):
        argv += more
        files |= secret
    env = _env(environ, cwd, task_timeout, login.jump)
    return Run(tuple(argv), MappingProxyType(env), MappingProxyType(files), cwd, _silence(task_timeout))


def _flags(check: bool, diff: bool, verbosity: int) -> list[str]:
    wanted = {"--check": check, "--diff": diff, f"-{'v' * min(verbosity, MOST_VERBOSE)}": verbosity > 0}
    return [flag for flag in wanted if wanted[flag]]


def _password_options(passwords: Mapping[str, str | None]) -> tuple[list[str], dict[str, str]]:
    """Arguments that give Ansible those of these passwords that there are, and the private files that they name."""
    files = {f"{option}_password": password for option, password in passwords.items() if password is not None}
    return [word for name in files for word in (f"--{name}-file".replace("_", "-"), f"{PRIVATE}/{name}")], files


def _variables(operator_vars: Sequence[str], extra_vars: Mapping[str, Any]) -> dict[str, str]:
    """Files of extra variables, those last that go over the others."""
    said = {f"operator_vars_{number}.yml": text for number, text in enumerate(operator_vars)}
    return {**said, "extra_vars.yml": _yaml(extra_vars)}


def vault_options(vaults: Iterable[VaultSecret], cwd: Path) -> tuple[list[str], dict[str, str]]:
    """Arguments that give Ansible all these secrets, and the files of the private directory that they name."""
    argv, files = [], {}
    for number, vault in enumerate(vaults):
        if vault.password is None:
            where = str(_absolute(vault.path, cwd))
        else:
            where = f"{PRIVATE}/vault_{number}"
            files[f"vault_{number}"] = vault.password
        argv += ["--vault-id", vault.identity(where)]
    return argv, files


def _check_forks(forks: int) -> None:
    if forks < 1:
        raise RunnerError(f"found forks {forks}, needed at least 1")


def _silence(task_timeout: int) -> float:
    return task_timeout + LATE_SECONDS if task_timeout else 0.0


def _sources(inventory: Iterable[str | Path], cwd: Path) -> Iterator[str]:
    for source in inventory:
        yield from ("--inventory", str(source) if "," in str(source) else str(_absolute(source, cwd)))


def _login(login: Login, cwd: Path) -> list[str]:
    argv = ["--user", login.user] if login.user else []
    return argv + (["--private-key", str(_absolute(login.private_key_file, cwd))] if login.private_key_file else [])


def _env(environ: Mapping[str, str], cwd: Path, task_timeout: int, jump: str) -> dict[str, str]:
    # Not resolved: in a virtual environment the interpreter is a link, and ansible-playbook lies beside the link.
    env = build_env(environ, content.collections(), Path(sys.executable).parent, cwd, jump)
    if env.get("ANSIBLE_CONFIG"):
        env["ANSIBLE_CONFIG"] = str(_absolute(env["ANSIBLE_CONFIG"], cwd))
    if task_timeout:
        env["ANSIBLE_TASK_TIMEOUT"] = str(task_timeout)
    return env


_SETTINGS = {
    "pexpect_timeout": POLL_SECONDS,
    "pexpect_use_poll": True,  # select() cannot watch more than 1024 files
    "suppress_output_file": True,
    "suppress_ansible_output": True,
}


def place(text: str, private: Path) -> str:
    """`text` with the private directory where it was left open."""
    return text.replace(PRIVATE, str(private))


def _absolute(path: str | Path, cwd: Path) -> Path:
    return cwd / Path(path).expanduser()


def _yaml(value: Any) -> str:
    """JSON in which every text is marked `!unsafe`, as YAML: Ansible takes it as data and never as a template."""
    if isinstance(value, str):
        return f"!unsafe {json.dumps(value)}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(str(key))}: {_yaml(item)}" for key, item in value.items()) + "}\n"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_yaml(item) for item in value) + "]"
    return json.dumps(value)
