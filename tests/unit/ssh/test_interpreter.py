"""What the preflight says of a Python that is missing, too old or broken."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.inventory import Host, SshSettings
from phi4_edge.ssh import Refusal, diagnosis, interpreter
from tests.unit.ssh.test_check import found, host, serving

KILLED = "sh -c 'kill -ILL $$' -"  # stands for a Python of another CPU


@pytest.mark.parametrize(
    ("status", "text", "said"),
    [(127, "", "there is no python3"), (0, "banner\n3 6\n", "Python 3.6"), (0, "x" * 100_000, "no working")],
)
def test_python_that_is_missing_old_or_strange(tmp_path: Path, status: int, text: str, said: str) -> None:
    assert said in python_that(tmp_path, status, text).reason


def python_that(folder: Path, status: int, text: str, listed: str = "", **changes: Any) -> Refusal:
    """What is found of a host whose Python ends so; `listed` is what lies there."""

    def answer(command: str, stdin: str) -> tuple[int, str]:
        if command.startswith("echo "):
            return 0, command.removeprefix("echo ")
        return (0, listed) if "dangling" in command else (status, text)

    with serving(answer) as (port, _):
        finding = found(host(folder, port, **changes))
    assert (finding.kind, finding.exit_code) == ("no_python", 3)
    return finding


@pytest.mark.parametrize(
    ("status", "text", "listed", "said", "step"),
    [
        (1, "3 11\nModuleNotFoundError: No module named 'zlib'\n", "", "lacks the module zlib", "zlib1g-dev"),
        (132, "", "", "that python3 is ended by SIGILL", "another CPU"),
        (139, "Segmentation fault\n", "", "that python3 is ended by SIGSEGV", "dmesg"),
        (127, "python3: error while loading shared libraries: libpython3.9.so.1.0: gone\n", "", "libpython3.9.so.1.0",
         "install python3 again"),
        (127, "", "dangling /usr/bin/python3 /etc/alternatives/python3\n/usr/bin/python3.11\n", "which leads nowhere",
         "interpreter=/usr/bin/python3.11"),
        (0, "3 6\n", "/usr/bin/python3.6\n/usr/bin/python3.9\n", "Python 3.6", "interpreter=/usr/bin/python3.9"),
        (0, "2 7\n", "", "Python 2.7", "install python3 there"),
        (1, "Unhandled exception in thread started by\n", "", "no working python3 (Unhandled", "install python3"),
    ],
)  # fmt: skip
def test_python_that_is_broken_is_told_as_that(
    tmp_path: Path, status: int, text: str, listed: str, said: str, step: str
) -> None:
    finding = python_that(tmp_path, status, text, listed)
    assert said in finding.reason
    assert finding.reason.endswith(", needed Python 3.8 or newer")
    assert step in finding.next_step


def test_a_wrong_interpreter_of_the_inventory_is_named(tmp_path: Path) -> None:
    def answer(command: str, stdin: str) -> tuple[int, str]:
        if command.startswith("echo "):
            return 0, command.removeprefix("echo ")
        return (0, "/usr/bin/python3.13\n") if "dangling" in command else (127, "sh: /opt/py3: not found\n")

    with serving(answer) as (port, server):
        target = host(tmp_path, port)
        finding = found(replace(target, ssh=replace(target.ssh, python="/opt/py3")))
    assert "ansible_python_interpreter names /opt/py3, which is not there" in finding.reason
    assert "ansible_python_interpreter=/usr/bin/python3.13" in finding.next_step
    assert any(command.startswith("sh -c '/opt/py3 -c ") for command, _ in server.commands)


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize(
    ("python", "status"),
    [
        ("", 0),
        (sys.executable, 0),
        ("/nonexistent/python3", 127),
        ("/usr/lib/python3", 126),
        ("sh -c 'kill -ILL $$' -", 132),
    ],
)
def test_how_python_ended_is_an_exit_status_also_for_a_signal(shell: str, python: str, status: int) -> None:
    command = interpreter.ended(Host("gw1", ssh=SshSettings(python=python)), diagnosis._VERSION)
    done = subprocess.run([shell, "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == status
    if status == 0:
        assert tuple(map(int, done.stdout.split())) >= (3, 8)
