"""A connection plugin that asks has no terminal to ask on: the run ends in bounded time, with host and reason."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from phi4_edge.runner import detached, program
from phi4_edge.runner import run as runner_run

pytestmark = pytest.mark.slow

PLUGIN = '''
from ansible.plugins.connection.local import Connection as Local
from ansible.utils.display import Display

DOCUMENTATION = """
name: {name}
short_description: asks
description: asks
author: nobody
extends_documentation_fragment: connection_pipelining
"""


class Connection(Local):
    transport = "{name}"

    def _connect(self):
        {ask}
        return super()._connect()
'''
# How plugins, and the programs that they start, ask.
ASKING = {
    "asks_input": 'input("Accept the host key? ")',
    "asks_getpass": 'import getpass; getpass.getpass("Password for edge@PLANT: ")',
    "asks_display": 'Display().prompt_until("authenticity of the host: ")',
    "asks_terminal": 'open("/dev/tty", "r+b", buffering=0).read(1)',
    "asks_output": "import os; os.read(os.open(os.ttyname(1), os.O_RDWR), 1)",
    "asks_errors": "import os; os.read(2, 1)",
    "asks_program": 'import subprocess; subprocess.run(["sh", "-c", "read a </dev/tty"], check=True)',
    "asks_standard_input": 'import subprocess; subprocess.run(["sh", "-c", "read a"], check=True)',
}
PLAYBOOK = "- hosts: all\n  gather_facts: false\n  tasks:\n    - name: Look\n      ansible.builtin.command: 'true'\n"
# As a library in C that waits in a loop: Ansible's own limit of a task does not reach it.
DEAF = (
    "import signal, time; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM, signal.SIGTERM]); time.sleep(3600)"
)
BOUND = 240.0  # the machine of the tests may be busy with others; without a bound it would be for ever


def made(folder: Path, plugins: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A playbook and an inventory with one host for each plugin, called like it, and one that is well."""
    (folder / "plugins").mkdir()
    for name, ask in plugins.items():
        (folder / "plugins" / f"{name}.py").write_text(PLUGIN.replace("{name}", name).replace("{ask}", ask))
    monkeypatch.setenv("ANSIBLE_CONNECTION_PLUGINS", str(folder / "plugins"))
    (folder / "site.yml").write_text(PLAYBOOK)
    lines = [f"{name} ansible_connection={name}" for name in plugins]
    common = f"[all:vars]\nansible_python_interpreter={sys.executable}\n"
    (folder / "hosts.ini").write_text("\n".join(["well ansible_connection=local", *lines, common]))
    return folder / "site.yml", folder / "hosts.ini"


def test_whoever_asks_is_told_that_nobody_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    playbook, hosts = made(tmp_path, ASKING, monkeypatch)
    start = time.monotonic()
    result = program.execute(runner_run.build_run(playbook, [hosts]), lambda event: None)
    assert time.monotonic() - start < BOUND
    assert result.hosts["well"].status == "ok"
    for name in ASKING:
        assert result.hosts[name].status in {"failed", "unreachable"}, name
        assert result.hosts[name].message, name


def test_what_waits_and_does_not_hear_is_ended_with_host_and_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_run, "LATE_SECONDS", 15.0)
    playbook, hosts = made(tmp_path, {"deaf": DEAF}, monkeypatch)
    start = time.monotonic()
    result = program.execute(runner_run.build_run(playbook, [hosts], task_timeout=5), lambda event: None)
    assert time.monotonic() - start < BOUND
    assert (result.hosts["deaf"].status, result.hosts["deaf"].timed_out) == ("failed", True)
    assert "found no end of Look within 20 s, needed one" in result.hosts["deaf"].message
    assert result.hosts["well"].status != "failed"
    assert not result.cancelled


def test_a_run_that_nothing_comes_of_is_ended_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_run, "LATE_SECONDS", 10.0)
    (tmp_path / "hosts.sh").write_text("#!/bin/sh\nsleep 3600\n")
    (tmp_path / "hosts.sh").chmod(0o755)
    (tmp_path / "site.yml").write_text(PLAYBOOK)
    run = runner_run.build_run(tmp_path / "site.yml", [tmp_path / "hosts.sh"], task_timeout=1)
    with pytest.raises(runner_run.RunnerError, match="nothing happened"):
        program.execute(run, lambda event: None)


def detach(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-S", detached.__file__, *words]
    env = {"PATH": os.environ["PATH"]}
    return subprocess.run(command, input=stdin, capture_output=True, text=True, env=env, timeout=120, check=False)


@pytest.mark.parametrize(
    ("script", "status", "printed"),
    [
        ("echo out; echo err >&2; exit 3", 3, "out\nerr\n"),
        ("kill -9 $$", 137, ""),
        ("cat; echo $?", 0, "0\n"),  # nothing comes in
        ("sleep 20 & echo left", 0, "left\n"),  # as a shared connection is
        ("[ -t 1 ] || echo none; (: </dev/tty) 2>/dev/null || echo nor that", 0, "none\nnor that\n"),
    ],
)
def test_a_detached_program(script: str, status: int, printed: str) -> None:
    done = detach("sh", "-c", script, stdin="typed\n")
    assert (done.returncode, done.stdout) == (status, printed)


def test_a_program_that_is_not_there() -> None:
    done = detach("/nowhere/program")
    assert (done.returncode, done.stdout) == (127, "/nowhere/program: No such file or directory\n")
