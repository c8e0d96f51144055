"""A host that ends connections before any login: sshd's penalties, MaxStartups, hosts.deny, fail2ban."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from phi4_edge.core.remedies import CLOSED, CROWD, PENALTY, SILENT
from tests.unit.ssh.test_check import found, host

ABORT = struct.pack("ii", 1, 0)  # close with a reset


@contextlib.contextmanager
def answering(words: bytes, reset: bool = False, read: bool = False) -> Iterator[int]:
    """A server that says this to whoever connects and hangs up."""

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            peer, _ = listener.accept()
            with peer:
                if read:
                    peer.recv(100)
                peer.sendall(words)
                if reset:
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield listener.getsockname()[1]
        thread.join(5)


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
