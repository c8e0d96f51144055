"""A login that is refused, or runs no commands, is told in the host's own words."""

from __future__ import annotations

import time
from pathlib import Path

import paramiko
import pytest
from paramiko.common import AUTH_FAILED, cMSG_USERAUTH_BANNER

from phi4_edge.core.inventory import Host
from phi4_edge.ssh import check as preflight
from phi4_edge.ssh import login
from tests.unit.ssh.test_check import Server, found, host, serving

# What sshd, PAM, shells and cloud images answer to a command, with its exit status and what must be in the next step.
NO_COMMANDS = {
    "nologin": (1, "This account is currently not available.\n", "usermod -s /bin/sh edge"),
    "expired": (
        1,
        "WARNING: Your password has expired.\nPassword change required but no TTY available.\n",
        "change its password: ssh edge@127.0.0.1",
    ),
    "must change": (
        1,
        "You are required to change your password immediately (administrator enforced).\n",
        "change its",
    ),
    "cloud image": (
        142,
        'Please login as the user "debian" rather than the user "root".\n\n',
        "the user that it names",
    ),
    "menu": (0, "\n*** Plant menu ***\n1) status  2) leave\n", "whose login runs commands"),
    "sftp only": (1, "This service allows sftp connections only.\n", "ForceCommand"),
    "git shell": (128, "fatal: Interactive git shell is not enabled.\n", "whose login runs commands"),
    "false": (1, "", "whose login runs commands"),
}


@pytest.mark.parametrize("name", NO_COMMANDS)
def test_a_login_that_runs_no_commands(tmp_path: Path, name: str) -> None:
    status, text, step = NO_COMMANDS[name]
    with serving(lambda command, stdin: (status, text)) as (port, _):
        finding = found(host(tmp_path, port))
    assert (finding.kind, finding.exit_code) == ("no_shell", 3)
    words = next((line for line in text.splitlines() if line), "it says nothing and ends")
    assert f"the login of edge runs no commands: {words}, needed a shell" in finding.reason
    assert step in finding.next_step
    assert "python" not in finding.message.lower()


def test_a_login_that_repeats_the_command_runs_none(tmp_path: Path) -> None:
    with serving(lambda command, stdin: (1, f"unknown choice: {command}\n")) as (port, _):
        assert found(host(tmp_path, port)).kind == "no_shell"


def test_what_the_login_says_is_shown_without_what_a_terminal_obeys(tmp_path: Path) -> None:
    with serving(lambda command, stdin: (1, "\x1b[2J\x1b[31mno\x07pe " + "x" * 1000)) as (port, _):
        reason = found(host(tmp_path, port)).reason
    assert "no?pe" in reason and "\x1b" not in reason and len(reason) < 350


def test_noise_before_the_answer_of_a_shell_is_no_refusal(tmp_path: Path) -> None:
    def answer(command: str, stdin: str) -> tuple[int, str]:
        said = command.removeprefix("echo ") if command.startswith("echo ") else "python3: not found"
        return 127, f"Welcome to plant 7\n{said}\n"

    with serving(answer) as (port, _):
        assert found(host(tmp_path, port)).kind == "no_python"


class Closed(Server):
    """Takes the key or not, says a word, and ends the connection, as sshd does where PAM refuses the account."""

    transport: paramiko.Transport
    words = ""

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        if self.words:
            message = paramiko.Message()
            message.add_byte(cMSG_USERAUTH_BANNER)
            message.add_string(self.words)
            message.add_string("")
            self.transport._send_message(message)
        time.sleep(0.05)
        self.transport.close()
        return AUTH_FAILED


ENDED = {
    "System is booting up. Unprivileged users are not permitted to log in yet.\r\n": "wait until it is up",
    "The system is going down for maintenance at 12:00.\n": "wait until it is up",
    "Come back later\n": "wait until it is up",
    "Your account has expired; please contact your system administrator.\n": "see that edge may log in there",
}


@pytest.mark.parametrize("words", ENDED)
def test_a_login_that_is_ended_with_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    finding = _ended(tmp_path, monkeypatch, words)
    assert f"ended the login of edge: {words.strip()}, needed" in finding.reason
    assert ENDED[words] in finding.next_step


def test_a_login_that_is_ended_without_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "accepted none of: ecdsa" in _ended(tmp_path, monkeypatch, "").reason


def _ended(folder: Path, monkeypatch: pytest.MonkeyPatch, words: str) -> preflight.Refusal:
    begun = paramiko.Transport.start_server

    def start(transport: paramiko.Transport, *args: object, server: Server, **kwargs: object) -> None:
        closed = Closed(server.answer)
        closed.transport, closed.words = transport, words
        begun(transport, *args, server=closed, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(paramiko.Transport, "start_server", start)
    with serving() as (port, _):
        finding = found(host(folder, port))
    assert (finding.kind, finding.exit_code) == ("auth_refused", 5)
    return finding


@pytest.mark.parametrize(
    "connection",
    ["paramiko", "paramiko_ssh", "ansible.builtin.paramiko_ssh", "ansible.netcommon.libssh", "ansible.builtin.winrm"],
)
def test_connections_that_would_ask_where_nobody_answers(connection: str) -> None:
    finding = found(Host("gw1", "192.0.2.1", connection=connection))
    assert (finding.kind, finding.exit_code) == ("asks", 3)
    assert f"found ansible_connection={connection}" in finding.reason
    assert "needed ssh" in finding.reason


@pytest.mark.parametrize(
    "connection", ["local", "community.docker.docker", "containers.podman.podman", "plant.paramiko_x"]
)
def test_other_connections_are_left_to_ansible(connection: str) -> None:
    assert found(Host("gw1", connection=connection)).kind == "skipped"


def test_the_first_line_with_a_word() -> None:
    assert login.first_line("\n****\n  hello \nworld") == "hello"
    assert login.first_line("---\n") == ""
