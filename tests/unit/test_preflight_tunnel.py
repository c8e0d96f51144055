"""HTTP over the pipes of a process that stands where ssh would."""

from __future__ import annotations

import http.server
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from phi4_edge.errors import UnreachableError
from phi4_edge.inventory import Host
from phi4_edge.preflight import tunnel

HOST = Host("gw1", "192.0.2.1")


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        for number in range(3):
            self.wfile.write(f"piece {number}\n".encode())
            self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def port() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def fake_ssh(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """Stands for ssh on the PATH: forwards like -W, without any connection or authentication."""
    path = folder / "ssh"
    path.write_text(f"#!{sys.executable}\n{body}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


FORWARD = """
import socket, sys, threading, os
host, port = sys.argv[sys.argv.index("-W") + 1].rsplit(":", 1)
peer = socket.create_connection((host, int(port)))
def up():
    while data := os.read(0, 65536):
        peer.sendall(data)
threading.Thread(target=up, daemon=True).start()
while data := peer.recv(65536):
    os.write(1, data)
"""


def test_an_answer_is_read_piece_by_piece_and_the_process_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: int
) -> None:
    fake_ssh(tmp_path, monkeypatch, FORWARD)
    connection = tunnel.http_connection(HOST, "127.0.0.1", port)
    for _ in range(2):  # the server ends each connection: the second request makes a new one
        connection.request("GET", "/")
        response = connection.getresponse()
        assert [line.decode() for line in response] == ["piece 0\n", "piece 1\n", "piece 2\n"]
    stream = connection._stream  # type: ignore[attr-defined]
    connection.close()
    assert stream._process.returncode is not None
    stream.close()


FAILURES = {
    "refused": (
        "import sys; sys.exit('channel 0: open failed: Connection refused\\r\\nstdio forwarding failed')",
        "nothing that listens on 127.0.0.1:1 of host gw1.*journalctl",
    ),
    "no key": ("import sys; sys.exit('edge@192.0.2.1: Permission denied (publickey).')", r"Permission denied"),
    "an escape": ("import sys; sys.exit('\\x1b[31mred')", r"\?\[31mred"),
    "no HTTP": ("print('SSH-2.0-other', flush=True)", "no answer from host gw1"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_why_there_is_no_answer_is_said_in_ssh_s_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    body, said = FAILURES[name]
    fake_ssh(tmp_path, monkeypatch, body)
    connection = tunnel.http_connection(HOST, "127.0.0.1", 1)
    with pytest.raises(UnreachableError, match=said) as error:
        connection.request("GET", "/")
        connection.getresponse()
    connection.close()
    assert "needed" in str(error.value)
    assert "\x1b" not in str(error.value)


def test_silence_ends_and_so_does_a_process_that_ignores_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(600)"
    fake_ssh(tmp_path, monkeypatch, body)
    connection = tunnel.http_connection(HOST, "127.0.0.1", 1, timeout=2.0)
    connection.request("GET", "/")
    with pytest.raises(UnreachableError, match=r"in 2\.0 s"):
        connection.getresponse()
    stream = connection._stream  # type: ignore[attr-defined]
    connection.close()
    assert stream._process.returncode is not None


def test_without_ssh_the_message_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnreachableError, match="found no ssh to run"):
        tunnel.http_connection(HOST, "127.0.0.1", 1).request("GET", "/")


def test_a_local_host_is_reached_directly(port: int) -> None:
    connection = tunnel.http_connection(Host("here", connection="local"), "0.0.0.0", port)
    connection.request("GET", "/")
    assert connection.getresponse().read().startswith(b"piece 0")
    connection.close()
