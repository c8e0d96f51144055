"""Preflight against a real SSH server in this process: real key exchange, real keys, scripted commands."""

from __future__ import annotations

import contextlib
import shlex
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paramiko
import pytest
from paramiko.common import AUTH_FAILED, AUTH_SUCCESSFUL, OPEN_SUCCEEDED

from phi4_edge import ssh as ssh_room
from phi4_edge.inventory import Host, SshSettings

HOST_KEY = paramiko.ECDSAKey.generate()
OTHER_KEY = paramiko.ECDSAKey.generate()
USER_KEY = paramiko.ECDSAKey.generate()
USER_PUBLIC = USER_KEY.get_base64()

Answer = Callable[[str, str], tuple[int, str]]


def healthy(command: str, stdin: str) -> tuple[int, str]:
    """A host with Python 3.13 and sudo without a password."""
    return (0, "3 13\n") if "version_info" in command else (0, "")


@dataclass
class Server(paramiko.ServerInterface):
    """Accepts one key and one password; answers commands from a function."""

    answer: Answer
    commands: list[tuple[str, str]] = field(default_factory=list)

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return AUTH_SUCCESSFUL if key.get_base64() == USER_PUBLIC else AUTH_FAILED

    def check_auth_password(self, username: str, password: str) -> int:
        return AUTH_SUCCESSFUL if password == "right" else AUTH_FAILED

    def get_allowed_auths(self, username: str) -> str:
        return "publickey,password"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=self._run, args=(channel, command.decode()), daemon=True).start()
        return True

    def _run(self, channel: paramiko.Channel, command: str) -> None:
        stdin = b""
        while chunk := channel.recv(4096):
            stdin += chunk
        self.commands.append((command, stdin.decode("utf-8", "replace")))
        status, text = self.answer(command, stdin.decode("utf-8", "replace"))
        # The client may hang up once it has read more than it takes: of the channel alone (OSError), or of everything.
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            channel.sendall(text.encode())
            channel.send_exit_status(status)
            channel.close()


@contextlib.contextmanager
def serving(
    answer: Answer = healthy, made: type[Server] | None = None, **settings: Any
) -> Iterator[tuple[int, Server]]:
    server = (made or Server)(answer, **settings)
    transports: list[paramiko.Transport] = []

    def accept(listener: socket.socket) -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(peer)
            transports.append(transport)
            transport.add_server_key(HOST_KEY)
            # A client that refuses our key may be gone, with a reset, before the handshake ends.
            with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
                transport.start_server(server=server)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, args=(listener,), daemon=True)
        thread.start()
        yield listener.getsockname()[1], server
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)
    for transport in transports:
        transport.close()


@pytest.fixture(autouse=True)
def nobody_s_agent_and_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def key_file(folder: Path, key: paramiko.ECDSAKey = USER_KEY, mode: int = 0o600, password: str | None = None) -> str:
    path = folder / "key"
    key.write_private_key_file(str(path), password=password)
    path.chmod(mode)
    return str(path)


def host(folder: Path, port: int, known: str | None = None, private_key: str | None = None, **changes: object) -> Host:
    path = folder / "known"
    path.write_text(f"[127.0.0.1]:{port} {HOST_KEY.get_name()} {HOST_KEY.get_base64()}\n" if known is None else known)
    args = f"-o UserKnownHostsFile={path} -o GlobalKnownHostsFile=none"
    ssh = SshSettings(private_key_file=private_key or key_file(folder), common_args=args)
    settings: dict[str, object] = {"user": "edge", "ssh": ssh, **changes}
    return Host("gw1", "127.0.0.1", port, **settings)  # type: ignore[arg-type]


def found(target: Host, **wishes: str) -> ssh_room.Refusal:
    return ssh_room.check([target], **wishes)[0]  # type: ignore[arg-type]


def test_a_host_that_is_all_right(tmp_path: Path) -> None:
    with serving() as (port, server):
        finding = found(host(tmp_path, port))
    assert (finding.kind, finding.ok, finding.exit_code) == ("ok", True, 0)
    assert any("sudo -n true" in command for command, _ in server.commands)


def test_an_unknown_key(tmp_path: Path) -> None:
    with serving() as (port, server):
        finding = found(host(tmp_path, port, known=""))
    assert (finding.kind, finding.exit_code) == ("host_key_unknown", 5)
    assert "ssh-keygen -lf /etc/ssh/ssh_host_ecdsa_key.pub" in finding.next_step
    command = shlex.split(finding.next_step.partition(" adds the key to ")[2].partition(": ")[2])
    known = tmp_path / "known"
    assert command == [
        *("ssh", "-o", "StrictHostKeyChecking=ask", "-o", f"UserKnownHostsFile={known}"),
        *("-p", str(port), "edge@127.0.0.1", "exit"),
    ]
    assert server.commands == []


def test_an_unknown_key_where_nothing_could_hold_it(tmp_path: Path) -> None:
    with serving() as (port, _):
        target = host(tmp_path, port)
        ssh = SshSettings(target.ssh.private_key_file, "-o UserKnownHostsFile=/dev/null -o GlobalKnownHostsFile=none")
        finding = found(Host("gw1", "127.0.0.1", port, "edge", ssh=ssh))
    assert finding.kind == "host_key_unknown"
    assert ">>" not in finding.next_step
    assert "UserKnownHostsFile=FILE in ansible_ssh_common_args" in finding.next_step


def test_a_changed_key_stops_before_anything_is_offered(tmp_path: Path) -> None:
    with serving() as (port, server):
        known = f"[127.0.0.1]:{port} {OTHER_KEY.get_name()} {OTHER_KEY.get_base64()}\n"
        finding = found(host(tmp_path, port, known=known))
    assert (finding.kind, finding.exit_code) == ("host_key_changed", 5)
    assert "line 1" in finding.reason
    assert "ssh-keygen -f" in finding.next_step
    assert server.commands == []


def test_a_new_key_is_accepted_where_ssh_would_accept_it(tmp_path: Path) -> None:
    with serving() as (port, _):
        target = host(tmp_path, port, known="")
        ssh = SshSettings(target.ssh.private_key_file, target.ssh.common_args, "-o StrictHostKeyChecking=accept-new")
        assert found(Host("gw1", "127.0.0.1", port, "edge", ssh=ssh)).kind == "ok"
    assert (tmp_path / "known").read_text() == ""


def test_a_refused_key(tmp_path: Path) -> None:
    with serving() as (port, _):
        finding = found(host(tmp_path, port, private_key=key_file(tmp_path, OTHER_KEY)))
    assert (finding.kind, finding.exit_code) == ("auth_refused", 5)
    assert "accepted none of" in finding.reason
    assert "user edge" in finding.reason


@pytest.mark.parametrize(
    ("mode", "password", "said"), [(0o644, None, "chmod 600"), (0o600, "secret", "ssh-add"), (None, None, "not exist")]
)
def test_a_key_that_cannot_be_used_says_why(tmp_path: Path, mode: int | None, password: str | None, said: str) -> None:
    path = str(tmp_path / "nowhere") if mode is None else key_file(tmp_path, mode=mode, password=password)
    with serving() as (port, _):
        finding = found(host(tmp_path, port, private_key=path))
    assert finding.kind == "auth_refused"
    assert said in finding.reason


@pytest.mark.parametrize(("password", "kind"), [("right", "ok"), ("wrong", "auth_refused")])
def test_a_password_of_the_operator(tmp_path: Path, password: str, kind: str) -> None:
    with serving() as (port, _):
        finding = found(host(tmp_path, port, private_key=str(tmp_path / "nowhere")), password=password)
    assert finding.kind == kind
    assert password not in finding.reason.replace("password", "")


def sudo_with(password: str) -> Answer:
    def answer(command: str, stdin: str) -> tuple[int, str]:
        if "sudo" not in command:
            return healthy(command, stdin)
        return (0, "") if stdin == password + "\n" else (1, "sudo: a password is required\n\x1b[31m")

    return answer


@pytest.mark.parametrize(("password", "kind"), [("right", "ok"), ("wrong", "no_sudo"), (None, "no_sudo")])
def test_sudo_with_a_password(tmp_path: Path, password: str | None, kind: str) -> None:
    with serving(sudo_with("right")) as (port, server):
        wishes = {"become_password": password} if password else {}
        finding = found(host(tmp_path, port), **wishes)
    assert finding.kind == kind
    assert finding.exit_code == (0 if kind == "ok" else 3)
    assert "\x1b" not in finding.message
    assert not [command for command, _ in server.commands if password and password in command]


def test_a_host_that_lets_us_in_and_not_work_there_says_which_distribution_it_is(tmp_path: Path) -> None:
    release = 'NAME="Rocky Linux"\nID="rocky"\nID_LIKE="rhel centos \x1b[31m"\n'

    def answer(command: str, stdin: str) -> tuple[int, str]:
        return (0, release) if "os-release" in command else sudo_with("right")(command, stdin)

    with serving(answer) as (port, _):
        finding = found(host(tmp_path, port))
    assert (finding.kind, finding.user) == ("no_sudo", host(tmp_path, port).user)
    assert finding.system.split()[:3] == ["rocky", "rhel", "centos"]
    assert finding.system.isprintable()


@pytest.mark.parametrize(
    "changes", [{"become": False}, {"user": "root"}, {"become_method": "doas"}, {"become_user": "svc"}]
)
def test_sudo_is_not_tried_where_it_is_not_wanted(tmp_path: Path, changes: dict[str, Any]) -> None:
    with serving(sudo_with("right")) as (port, server):
        assert found(host(tmp_path, port, **changes)).kind == "ok"
    assert not any("sudo" in command for command, _ in server.commands)


def test_nothing_there_and_something_that_is_no_ssh(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert found(host(tmp_path, port)).kind == "unreachable"

    def hang_up(listener: socket.socket) -> None:
        peer, _ = listener.accept()
        peer.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
        peer.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=hang_up, args=(listener,))
        thread.start()
        finding = found(host(tmp_path, listener.getsockname()[1]))
        thread.join()
    assert (finding.kind, finding.exit_code) == ("unreachable", 5)
    assert "no SSH server" in finding.reason


@pytest.mark.parametrize(
    "target",
    [
        Host("a", connection="local"),
        Host("a", ssh=SshSettings(common_args="-J bastion")),
        Host("a", ssh=SshSettings(common_args="-o 'unbalanced")),
    ],
)
def test_what_only_ansible_can_tell_is_skipped(target: Host) -> None:
    finding = found(target)
    assert (finding.kind, finding.ok, finding.exit_code) == ("skipped", True, 0)
    assert finding.reason


def test_many_hosts_keep_their_order(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with serving() as (port, _):
        good = host(tmp_path, port)
        bad = Host("bad", "127.0.0.1", 1, "edge", ssh=good.ssh)
        kinds = [finding.kind for finding in ssh_room.check([good, bad, good])]
    assert kinds == ["ok", "unreachable", "ok"]
    assert ssh_room.check([]) == ()
    assert capfd.readouterr() == ("", "")
