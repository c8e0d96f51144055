"""Work at hosts that let us in: commands as root over one session, and what is told where there is no answer."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path
from typing import Any, cast

import pytest

from phi4_edge.core.inventory import Host
from phi4_edge.ssh import tunnel
from phi4_edge.ssh.errand import Errand, Said
from phi4_edge.ssh.guest import Guest
from phi4_edge.ssh.kept import Sessions
from phi4_edge.ssh.visit import Purpose, Visit, visit
from tests.unit.ssh.shell_sshd import ShellServer
from tests.unit.ssh.shell_sshd import sudo as sudo_there
from tests.unit.ssh.test_check import healthy, host, serving

# Says whether it is run through the stand-in, what it reads, and something on the other stream.
LINE = "echo READ:$(cat); echo aside >&2; exit 3"


def errand(line: str = LINE, seconds: float = 10.0, most: int = 4096) -> Errand:
    return Errand(line, b"the script", seconds, most, lambda output: "READ:" in output)


def went(target: Host, what: Errand, **wishes: Any) -> Visit[Said]:
    """What became of the one host."""

    def work(guest: Guest) -> Said:
        return guest.do(what)

    return visit([target], Purpose(work=work, **wishes))[0]


def shell(folder: Path, rule: str = "nopasswd") -> Any:
    return serving(healthy, ShellServer, environ=sudo_there(folder, rule))


def test_a_command_as_root_is_one_exec_and_its_streams_are_told_apart(tmp_path: Path) -> None:
    with shell(tmp_path) as (port, server):
        found = went(host(tmp_path, port), errand())
        assert found.refusal.kind == "ok"
        assert found.result == Said(3, "READ:the script\n", "aside\n")
        assert len(cast(ShellServer, server).ran) == 1
    assert (tmp_path / "sudo.log").read_text().startswith("/bin/sh -c ")


@pytest.mark.parametrize(
    ("name", "become", "through"), [("edge", False, False), ("root", None, False), ("x", None, True)]
)
def test_sudo_is_taken_where_root_is_to_be_become(
    tmp_path: Path, name: str, become: bool | None, through: bool
) -> None:
    with shell(tmp_path) as (port, _):
        assert went(host(tmp_path, port, user=name, become=become), errand()).refusal.kind == "ok"
    assert (tmp_path / "sudo.log").exists() is through


def test_a_password_is_sent_once_and_is_in_no_argument(tmp_path: Path) -> None:
    with shell(tmp_path, "pass word'") as (port, server):
        found = went(host(tmp_path, port), errand(), become_password="pass word'")
        assert found.result is not None
        assert "READ:the script\n" in found.result.output
        assert found.result.errors == "aside\n"
        assert not any("pass word" in command for command in cast(ShellServer, server).ran)
    assert (tmp_path / "sudo.log.tries").read_text() == "pass word'\n"


def test_a_password_that_nobody_asks_for_reaches_no_script(tmp_path: Path) -> None:
    with shell(tmp_path) as (port, _):
        found = went(host(tmp_path, port, become_password="unasked"), errand())
    assert found.result is not None
    assert "READ:the script\n" in found.result.output
    assert "unasked" not in found.result.output


def test_a_wrong_password_is_tried_once(tmp_path: Path) -> None:
    with shell(tmp_path, "right") as (port, _):
        refusal = went(host(tmp_path, port), errand(), become_password="wrong").refusal
    assert (refusal.kind, refusal.exit_code) == ("no_sudo", 3)
    assert "with the given password (sudo: 1 incorrect password attempt)" in refusal.reason
    assert (tmp_path / "sudo.log.tries").read_text() == "wrong\n"


@pytest.mark.parametrize(("rule", "words"), [("x", "a password is required"), ("tty", "must have a tty")])
def test_sudo_that_says_no_is_told_from_the_same_answer(tmp_path: Path, rule: str, words: str) -> None:
    with shell(tmp_path, rule) as (port, server):
        refusal = went(host(tmp_path, port), errand()).refusal
        assert refusal.kind == "no_sudo"
        assert words in refusal.reason
        asked = [command for command in cast(ShellServer, server).ran if "sudo" in command]
        assert len(asked) == 1


def test_a_host_whose_python_is_missing_is_told_so(tmp_path: Path) -> None:
    with shell(tmp_path) as (port, _):
        target = host(tmp_path, port)
        missing = Host(**{**vars(target), "ssh": type(target.ssh)(**{**vars(target.ssh), "python": "/no/python"})})
        refusal = went(missing, errand("echo nothing")).refusal
    assert refusal.kind == "no_python"
    assert "/no/python" in refusal.reason


@pytest.mark.parametrize(
    ("line", "kind", "words"),
    [
        ("yes", "no_answer", "more than 4096 bytes"),
        ("yes >&2", "no_answer", "within 1 s"),
        ("sleep 60", "no_answer", "within 1 s"),
        ("while :; do echo; sleep 0.1; done", "no_answer", "within 1 s"),
        ("echo something else", "no_answer", "no answer"),
    ],
)
def test_whatever_a_host_says_instead_it_is_one_refusal_in_time(
    tmp_path: Path, line: str, kind: str, words: str
) -> None:
    begun = time.monotonic()
    with shell(tmp_path) as (port, _):
        python = {"python": sys.executable}
        target = host(tmp_path, port)
        target = Host(**{**vars(target), "ssh": type(target.ssh)(**{**vars(target.ssh), **python})})
        refusal = went(target, errand(line, seconds=1.0)).refusal
    assert (refusal.kind, refusal.exit_code) == (kind, 3)
    assert words in refusal.reason
    assert time.monotonic() - begun < 20


def test_where_only_openssh_gets_in_it_does_the_same(tmp_path: Path) -> None:
    """Through a proxy command, which paramiko knows nothing of."""
    relay = tmp_path / "relay.py"
    relay.write_text(
        "import socket, sys, threading, os\n"
        "peer = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
        "def out():\n"
        "    while data := peer.recv(65536): os.write(1, data)\n"
        "    os._exit(0)\n"
        "threading.Thread(target=out, daemon=True).start()\n"
        "while data := os.read(0, 65536): peer.sendall(data)\n"
    )
    with shell(tmp_path, "secret") as (port, server):
        target = host(tmp_path, port)
        args = f"{target.ssh.common_args} -F none -o 'ProxyCommand={sys.executable} {relay} %h %p'"
        behind = Host(**{**vars(target), "ssh": type(target.ssh)(**{**vars(target.ssh), "common_args": args})})
        found = went(behind, errand(), become_password="secret")
        assert found.result is not None, found.refusal
        assert "READ:the script\n" in found.result.output
        assert went(behind, errand(), through=False).refusal.kind == "skipped"
        lost = Host(**{**vars(behind), "port": _closed_port()})
        refusal = went(lost, errand()).refusal
        assert (refusal.kind, refusal.exit_code) == ("unreachable", 5)
        assert refusal.reason.startswith("Failed to connect to the host via ssh: ")
        assert refusal.next_step
        assert len(cast(ShellServer, server).ran) == 1


def test_what_only_ansible_obeys_is_left_to_it(tmp_path: Path) -> None:
    with shell(tmp_path) as (port, server):
        target = host(tmp_path, port, only_ansible="ansible_shell_type")
        found = visit([target], Purpose(work=lambda guest: guest.do(errand()), become=False))[0]
        assert (found.refusal.kind, found.result) == ("ok", None)
        assert not any("READ" in command for command in cast(ShellServer, server).ran)


def test_a_session_is_kept_and_used_again(tmp_path: Path) -> None:
    """A port behind the host is reached over it, and it is gone with the end of the block."""
    with shell(tmp_path) as (port, server), socket.create_server(("127.0.0.1", 0)) as behind, Sessions() as kept:
        target = host(tmp_path, port)
        assert went(target, errand(), keep=kept).refusal.kind == "ok"
        session = kept.get("gw1")
        assert session is not None
        warned: list[str] = []
        way = tunnel.http_connection(target, "127.0.0.1", behind.getsockname()[1], warned.append, kept)
        if os.geteuid():
            pytest.skip("only root sees whose a socket is")
        with pytest.raises(Exception, match=r"is held by .*; nothing was sent there"):
            way.connect()
        assert len(cast(ShellServer, server).ran) == 2
        kept.close()
        assert kept.get("gw1") is None
        assert not session.is_active()


def test_a_session_that_has_ended_is_none(tmp_path: Path) -> None:
    with Sessions() as kept:
        with shell(tmp_path) as (port, _):
            target = host(tmp_path, port)
            went(target, errand(), keep=kept)
        for _attempt in range(100):
            if kept.get("gw1") is None:
                break
            time.sleep(0.05)
        assert kept.get("gw1") is None


def _closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
