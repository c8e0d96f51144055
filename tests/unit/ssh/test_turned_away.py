"""A host that ends connections before any login: sshd's penalties, MaxStartups, hosts.deny, fail2ban."""

from __future__ import annotations

import contextlib
import shlex
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from phi4_edge.core.remedies import CLOSED, CROWD, PENALTY, SILENT
from phi4_edge.ssh import busy, session
from phi4_edge.ssh.errand import Errand
from phi4_edge.ssh.target import Target
from phi4_edge.ssh.visit import Purpose, visit
from phi4_edge.ssh.wire import Budget, Wire
from tests.unit.ssh.test_check import found, host, serving

ABORT = struct.pack("ii", 1, 0)  # close with a reset


@contextlib.contextmanager
def answering(words: bytes, reset: bool = False, read: bool = False, tried: list[int] | None = None) -> Iterator[int]:
    """A server that says this to whoever connects and hangs up."""

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, there = listener.accept()
                with peer:
                    if tried is not None:
                        tried.append(there[1])
                    if read:
                        peer.recv(100)
                    peer.sendall(words)
                    if reset:
                        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long before the next attempt."""
    monkeypatch.setattr(busy, "_PAUSES", (0.01,) * len(busy._PAUSES))


SHAPES = {
    "penalty of OpenSSH 9.8": (b"Not allowed at this time\r\n", False, "for now: Not allowed at this time", PENALTY),
    "MaxStartups before it": (b"Exceeded MaxStartups\r\n", False, "for now: Exceeded MaxStartups", CROWD),
    "penalty, in color": (b"\x1b[31mNot allowed at this time\r\n", False, "for now: Not allowed at this time", PENALTY),
    "hosts.deny": (b"", False, "ends connections from here before any greeting", SILENT),
    "MaxStartups of old": (b"", True, "ends connections from here before any greeting", SILENT),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_host_that_turns_us_away_is_not_called_unreachable(tmp_path: Path, name: str) -> None:
    words, reset, said, step = SHAPES[name]
    with answering(words, reset) as port:
        finding = found(host(tmp_path, port))
    assert (finding.kind, finding.exit_code) == ("turned_away", 5)
    assert f"found that 127.0.0.1:{port} " in finding.reason
    assert said in finding.reason
    assert finding.reason.endswith(", needed it let in")
    assert finding.next_step == step


@pytest.mark.parametrize("name", SHAPES)
def test_who_is_busy_with_others_is_asked_again_and_who_punishes_is_not(tmp_path: Path, name: str) -> None:
    words, reset, _, step = SHAPES[name]
    tried: list[int] = []
    with answering(words, reset, tried=tried) as port:
        found(host(tmp_path, port))
    assert len(tried) == (1 if step == PENALTY else 1 + len(busy._PAUSES))


def test_who_was_turned_away_at_first_gets_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the connections of a fleet meet sshd's MaxStartups."""
    real = session.dial
    tried: list[int] = []
    with serving() as (port, _), answering(b"Exceeded MaxStartups\r\n") as full:

        def dial(target: Target, budget: Budget) -> Wire:
            tried.append(target.port)
            return real(replace(target, port=full) if len(tried) < 3 else target, budget)

        monkeypatch.setattr(session, "dial", dial)
        assert found(host(tmp_path, port)).kind == "ok"
    assert len(tried) == 3


DROPPED = (
    "kex_exchange_identification: Connection closed by remote host\nConnection closed by UNKNOWN port 65535",
    "Connection reset by 172.20.0.2 port 22\nkex_exchange_identification: Connection closed by remote host",
    "kex_exchange_identification: read: Connection reset by peer",
    "Exceeded MaxStartups\nkex_exchange_identification: banner line contains invalid characters",
)
OTHER = (
    "Host key verification failed.",
    "gateway@10.0.0.1: Permission denied (publickey).",
    "ssh: connect to host 10.0.0.1 port 22: Connection refused",
    "client_loop: send disconnect: Connection reset by peer",
)


@pytest.mark.parametrize("words", [*DROPPED, *OTHER])
def test_openssh_is_tried_again_where_a_jump_host_was_busy(tmp_path: Path, words: str) -> None:
    """A program in ssh's place, which is turned away twice."""
    count = tmp_path / "count"
    program = tmp_path / "ssh"
    program.write_text(
        f'#!/bin/sh\ncase " $* " in *" -G "*) exec ssh "$@" ;; esac\n'
        f"echo >>{count}\n[ $(wc -l <{count}) -gt 2 ] || {{ echo {shlex.quote(words)} >&2; exit 255; }}\n"
        'for last; do :; done\nexec sh -c "$last"\n'
    )
    program.chmod(0o755)
    indirect = host(tmp_path, 22)
    ssh = replace(indirect.ssh, executable=str(program), common_args="-o ProxyCommand=x")
    errand = Errand("echo here", b"", 60.0, 4096, lambda said: "here" in said)
    purpose = Purpose(work=lambda guest: guest.do(errand), become=False)
    (done,) = visit([replace(indirect, ssh=ssh)], purpose)
    tries = count.read_text().count("\n")
    assert (done.refusal.kind, tries) == (("ok", 3) if words in DROPPED else ("unreachable", 1)), done


@pytest.mark.parametrize(
    ("words", "read"),
    [(b"HTTP/1.0 400 Bad Request\r\n\r\n", True), (b"SSH-2.0-OpenSSH_9.2\r\n", False), (b"220 mail ESMTP\r\n", False)],
)
def test_another_server_is_told_as_before(tmp_path: Path, words: bytes, read: bool) -> None:
    with answering(words, read=read) as port:
        finding = found(host(tmp_path, port))
    assert finding.kind == "unreachable"
    assert "no SSH server" in finding.reason


def test_a_refused_connection_may_be_fail2ban(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    finding = found(host(tmp_path, port))
    assert finding.kind == "unreachable"
    assert "Connection refused" in finding.reason
    assert finding.next_step == f"check that it is on, and that ansible_host and ansible_port are right; {CLOSED}"
