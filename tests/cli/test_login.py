"""How the command line says to log in: what each command makes of it, and what it never shows."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from phi4_edge import inventory
from phi4_edge.core.inventory import Host, Login
from phi4_edge.operations import doctor, fleet, look
from phi4_edge.operations.options import Reach
from phi4_edge.ssh.finding import Refusal
from phi4_edge.ssh.visit import Purpose, Visit
from tests.cli.conftest import Invoke
from tests.unit.runner.test_prompts import ASKING

pytestmark = pytest.mark.slow

COMMANDS = (["plan"], ["detect"], ["status"], ["doctor"], ["verify"], ["provision", "--yes"], ["remove", "--yes"])
OPTIONS = ["-u", "typed", "--private-key", "keys/k", "--jump", "me@hop:2222"]


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[Host, ...], dict[str, Any]]]:
    """The hosts and passwords of each look; it finds nobody."""
    calls: list[tuple[tuple[Host, ...], dict[str, Any]]] = []

    def visit(hosts: tuple[Host, ...], purpose: Purpose[Any], *_: Any) -> list[Visit[Any]]:
        calls.append((hosts, vars(purpose)))
        return [Visit(Refusal(host.name, "unreachable", "found nobody, needed a host", "wait")) for host in hosts]

    for module in (look, doctor):
        monkeypatch.setattr(module, "visit", visit)
    return calls


@pytest.fixture
def hosts(tmp_path: Path) -> Path:
    path = tmp_path / "hosts.ini"
    path.write_text("gw1\ngw2 ansible_user=own ansible_ssh_private_key_file=/own\n")
    return path


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_the_inventory_counts_more_than_the_command_line(
    invoke: Invoke, checked: list[tuple[tuple[Host, ...], dict[str, Any]]], hosts: Path, command: list[str]
) -> None:
    result = invoke(*command, hosts, *OPTIONS)
    assert result.exit_code in {3, 5}, result.output
    (one, other), _ = checked[0]
    assert (one.user, one.ssh.private_key_file, one.ssh.jump) == ("typed", str(Path.cwd() / "keys/k"), "me@hop:2222")
    assert (other.user, other.ssh.private_key_file, other.ssh.jump) == ("own", "/own", "me@hop:2222")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("a b", "needed USER@HOST:PORT"),
        ("x' -o ProxyCommand=id", "needed USER@HOST:PORT"),
        ("-oProxyCommand=id", "needed USER@HOST:PORT"),
        ("hop$(id)", "needed USER@HOST:PORT"),
        ("", "needed USER@HOST:PORT"),
    ],
)
def test_what_is_no_jump_host_is_a_usage_error(invoke: Invoke, hosts: Path, value: str, said: str) -> None:
    result = invoke("plan", hosts, "--jump", value)
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    assert said in " ".join(result.output.split())


@pytest.mark.parametrize("value", ["hop", "me@hop", "hop:22", "me@[2001:db8::1]:22", "a,b@c:22", "ssh://me@hop:22"])
def test_what_ssh_takes_as_a_jump_host(
    invoke: Invoke, checked: list[tuple[tuple[Host, ...], dict[str, Any]]], hosts: Path, value: str
) -> None:
    assert invoke("plan", hosts, "--jump", value).exit_code == 5
    assert checked[0][0][0].ssh.jump == value


@pytest.mark.parametrize(
    ("options", "typed", "passwords"),
    [
        (["-k"], "c4nary\n", ("c4nary", "")),
        (["-k", "-K"], "c4nary\nother\n", ("c4nary", "other")),
        (["-k", "-K"], "c4nary\n\n", ("c4nary", "c4nary")),
        (["-K"], "other\n", ("", "other")),
        ([], "", ("", "")),
    ],
)
def test_passwords_reach_the_preflight_and_nobody_sees_them(
    invoke: Invoke,
    checked: list[tuple[tuple[Host, ...], dict[str, Any]]],
    hosts: Path,
    options: list[str],
    typed: str,
    passwords: tuple[str | None, str | None],
) -> None:
    result = invoke("plan", hosts, *options, input=typed)
    assert (checked[0][1]["password"], checked[0][1]["become_password"]) == passwords
    assert "c4nary" not in result.output


def test_ansible_gets_the_same_as_the_preflight(hosts: Path) -> None:
    login = Login("typed", "/keys/k", "hop")
    reach = Reach(None, 5, None, lambda text: None, login=login, login_password=lambda: "c4nary")
    opened = fleet.Fleet.open((str(hosts),), reach)
    run = opened.access.run("detect", ["gw1"])
    assert run.argv[run.argv.index("--user") :][:4] == ("--user", "typed", "--private-key", "/keys/k")
    assert run.env["ANSIBLE_SSH_ARGS"].startswith("-o ProxyJump=hop ")
    assert run.argv[run.argv.index("--connection-password-file") + 1] == "{private}/connection_password"
    assert run.files["connection_password"] == "c4nary"
    assert "c4nary" not in " ".join(run.argv) + str(run.env) + repr(run) + repr(opened)
    assert replace(opened.hosts[0], user="").ssh.password == ""
    assert inventory.load((str(hosts),))[0].user == ""


def test_a_password_is_asked_for_on_the_terminal() -> None:
    child, terminal = pty.fork()
    if child == 0:
        program = "from phi4_edge.main import main; main()"
        os.execv(sys.executable, [sys.executable, "-c", program, "plan", "192.0.2.1,", "--ask-pass"])
    said, until = b"", time.monotonic() + 100
    while b"of the hosts" not in said and time.monotonic() < until:
        said += os.read(terminal, 4096)
    time.sleep(0.2)  # it reads the answer by now
    os.write(terminal, b"\x03")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 130
    assert b"ssh password of the hosts" in said
    os.close(terminal)


def test_a_setting_of_ansible_that_is_invalid_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "ansible.cfg").write_text("[defaults]\ntimeout = soon\n")
    command = [sys.executable, "-m", "phi4_edge", "plan", "192.0.2.1,"]
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert "DEFAULT_TIMEOUT" in done.stderr and "soon" in done.stderr


ASKS = """
from ansible.plugins.connection.local import Connection as Local
from ansible.utils.display import Display

DOCUMENTATION = "{name: asks, short_description: asks, description: asks, author: nobody, options: {}}"


class Connection(Local):
    transport = "asks"

    def _connect(self):
        {ask}
        return super()._connect()
"""


@pytest.mark.parametrize("way", ["asks_input", "asks_getpass", "asks_display", "asks_terminal"])
def test_a_connection_plugin_that_asks_ends_with_the_host_and_its_reason(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    (tmp_path / "asks.py").write_text(ASKS.replace("{ask}", ASKING[way]))
    (tmp_path / "hosts.ini").write_text("gw1 ansible_connection=asks\n")
    monkeypatch.setenv("ANSIBLE_CONNECTION_PLUGINS", str(tmp_path))
    start = time.monotonic()
    result = invoke("plan", tmp_path / "hosts.ini")
    assert time.monotonic() - start < 240
    assert result.exit_code in {3, 5}
    assert "gw1" in result.output
    assert "a run has no terminal to answer on" in " ".join(result.output.split())


@pytest.mark.parametrize("option", ["-J", "--ask-vault-pass", "--ask-vault-password"])
@pytest.mark.parametrize(("typed", "user"), [("c4nary\n", "sealed"), ("wrong\n", "")])
def test_the_password_of_the_vault_is_asked_for_as_ansible_does(
    invoke: Invoke,
    checked: list[tuple[tuple[Host, ...], dict[str, Any]]],
    tmp_path: Path,
    option: str,
    typed: str,
    user: str,
) -> None:
    (tmp_path / "password").write_text("c4nary\n")
    (tmp_path / "hosts.yml").write_text("all: {hosts: {gw1: {ansible_host: 192.0.2.1, ansible_user: sealed}}}\n")
    program = str(Path(sys.executable).parent / "ansible-vault")
    seal = [program, "encrypt", "--vault-password-file", str(tmp_path / "password"), str(tmp_path / "hosts.yml")]
    subprocess.run(seal, check=True, capture_output=True)
    result = invoke("plan", tmp_path / "hosts.yml", option, input=typed)
    assert "c4nary" not in result.output and "Traceback" not in result.output
    if user:
        assert checked[0][0][0].user == user
    else:
        assert result.exit_code == 1 and "ecrypt" in result.output and not checked
