"""Runs playbooks. The only importer of ansible_runner: `build_run()` decides everything, `execute()` does it.

What ansible-runner does by default and is undone here: it writes the whole environment and the extra variables to
disk, turns host-key checking off, lets tasks live on after a cancel, drops large results, and lets plugins ask on a
terminal that nobody reads.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from phi4_edge import ansible_version, content
from phi4_edge.core.inventory import Login, VaultSecret
from phi4_edge.errors import RunnerError
from phi4_edge.runner import detached, playbook
from phi4_edge.runner.environment import PRIVATE, build_env
from phi4_edge.runner.events import Collector, HostEvent, HostOutcome
from phi4_edge.runner.private import guarded, private_directory
from phi4_edge.runner.process import MARKER, reap

__all__ = ["HostEvent", "HostOutcome", "Run", "RunResult", "build_run", "execute"]

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
# -P: what lies beside the program is no module of Ansible's.
ANSIBLE = (sys.executable, "-P", playbook.__file__)
# A task that takes longer than it may is ended by Ansible itself; one that does not let itself be ended, by us so much
# later.
LATE_SECONDS = 60.0
# What ansible-runner itself must find in the environment; everything else is decided by build_env().
_RUNNER_ENV = ("AWX_ISOLATED_DATA_DIR", "ANSIBLE_CALLBACK_PLUGINS", "ANSIBLE_STDOUT_CALLBACK", "RUNNER_OMIT_EVENTS")

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


def execute(
    run: Run, on_event: Callable[[HostEvent], None], cancelled: Callable[[], bool] = lambda: False
) -> RunResult:
    """The run is over: no process and no file of it is left, however it ended. Prints nothing.

    `on_event` hears what happens, in this thread. When `cancelled()` turns true everything that runs is ended within
    2 seconds. Hosts have failed whose tasks say nothing for longer than `run.silence`. Raises RunnerError with what
    Ansible said when it could not run at all, PreflightError for an untested version of it.
    """
    ansible_version.check()
    job = secrets.randbits(62)
    collector = Collector(job, on_event, detailed=any(word.startswith("-v") for word in run.argv))
    state = {"cancelled": False, "silent": False}

    with private_directory(run.files) as private:

        def asked_to_stop() -> bool:
            state["silent"] = state["silent"] or 0 < run.silence < collector.quiet
            if not any(state.values()) and cancelled():
                state["cancelled"] = True
            if any(state.values()):
                reap(private)
            return any(state.values())

        try:
            extra = {MARKER: private.name, "JOB_ID": str(job)}
            with guarded(private):
                status = _ansible(run, private, extra, collector.take, asked_to_stop)
        finally:
            left = reap(private)
    if left:
        raise RunnerError(f"processes {sorted(left)} of the run could not be stopped: kill them by hand")
    if state["silent"] and collector.give_up(run.silence):
        return RunResult(collector.outcomes(False), False, status)
    if not state["cancelled"] and (collector.stats is None or status not in TOOK_PLACE):
        said = collector.words() or ("nothing happened" if state["silent"] else "it said nothing")
        raise RunnerError(f"ansible-playbook could not run the playbook (exit status {status}):\n{said}")
    return RunResult(collector.outcomes(state["cancelled"]), state["cancelled"], status)


def _ansible(
    run: Run,
    private: Path,
    extra: Mapping[str, str],
    take: Callable[[Mapping[str, Any]], bool],
    asked_to_stop: Callable[[], bool],
) -> int:
    """Exit status of ansible-playbook; 254 when it was cancelled."""
    from ansible_runner import Runner
    from ansible_runner.config.runner import RunnerConfig

    config = RunnerConfig(
        private_data_dir=str(private),
        project_dir=str(run.cwd),  # relative paths in an inventory mean the same as with plain ansible-playbook
        playbook=run.argv[1],
        ident="run",
        fact_cache_type="",
        quiet=True,
        suppress_env_files=True,
    )
    config.prepare()
    config.command = [*WITHOUT_TERMINAL, *ANSIBLE, *(place(word, private) for word in run.argv)]
    config.env = {
        **{name: config.env[name] for name in _RUNNER_ENV if name in config.env},
        **{name: place(value, private) for name, value in run.env.items()},
        **extra,
    }
    config.env["ANSIBLE_STDOUT_CALLBACK"] = "awx_display"

    def on_status(status: Mapping[str, Any], runner_config: object) -> None:
        if status.get("status") == "running":
            with suppress(FileNotFoundError):
                (private / "artifacts" / "run" / "command").unlink()  # the environment, in clear

    runner = Runner(config, event_handler=take, status_handler=on_status, cancel_callback=asked_to_stop)
    _, exit_status = runner.run()
    return 254 if exit_status is None else int(exit_status)


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
