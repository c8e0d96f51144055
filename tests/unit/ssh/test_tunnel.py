"""HTTP over the pipes of a process that stands where ssh would, and the real relay behind it."""

from __future__ import annotations

import http.server
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from phi4_edge.core.facts import listener
from phi4_edge.errors import HostFailedError, UnreachableError
from phi4_edge.inventory import Host, SshSettings
from phi4_edge.ssh import relay, tunnel

HOST = Host("gw1", "192.0.2.1", ssh=SshSettings(python=sys.executable))


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
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def fake_ssh(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """Stands for ssh on the PATH: runs what it is given, without any connection or authentication."""
    path = folder / "ssh"
    path.write_text(f"#!{sys.executable}\n{body}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


# Its last argument is a command for a login shell, as with the real one.
RUN = "import os, sys; os.execvp('sh', ['sh', '-c', sys.argv[-1]])"


@pytest.fixture
def believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The servers of these tests belong to no unit of this machine."""
    monkeypatch.setattr(listener, "judge", lambda _: listener.Judgement("ours"))


def connect(host: Host, port: int, heard: list[str] | None = None) -> tunnel.Connection:
    return tunnel.http_connection(host, "127.0.0.1", port, (heard if heard is not None else []).append)


def test_an_answer_is_read_piece_by_piece_and_the_process_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: int, believed: None
) -> None:
    fake_ssh(tmp_path, monkeypatch, RUN)
    connection = connect(HOST, port)
    for _ in range(2):  # the server ends each connection: the second request makes a new one
        connection.request("GET", "/")
        response = connection.getresponse()
        assert [line.decode() for line in response] == ["piece 0\n", "piece 1\n", "piece 2\n"]
    stream = connection._stream
    connection.close()
    assert stream is not None
    assert stream._process.returncode is not None
    stream.close()


FAILURES = {
    "refused": (
        RUN,
        "nothing that listens on 127.0.0.1:1 of host gw1.*refused.*journalctl",
    ),
    "no key": ("import sys; sys.exit('edge@192.0.2.1: Permission denied (publickey).')", r"Permission denied"),
    "an escape": ("import sys; sys.exit('\\x1b[31mred')", r"\(red\)"),
    "no HTTP": ("print('SSH-2.0-other', flush=True)", "no answer from host gw1"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_why_there_is_no_answer_is_said_in_ssh_s_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    body, said = FAILURES[name]
    fake_ssh(tmp_path, monkeypatch, body)
    connection = connect(HOST, 1)
    with pytest.raises(UnreachableError, match=said) as error:
        connection.request("GET", "/")
        connection.getresponse()
    connection.close()
    assert "needed" in str(error.value)
    assert "\x1b" not in str(error.value)


def test_silence_ends_and_so_does_a_process_that_ignores_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = tmp_path / "processes"
    body = f"""
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
proxy = subprocess.Popen(["sleep", "600"])  # as ssh starts one for a jump host
with open({str(said)!r}, "w") as stream:
    stream.write(f"{{os.getpid()}} {{proxy.pid}}")
time.sleep(600)"""
    fake_ssh(tmp_path, monkeypatch, body)
    monkeypatch.setattr(tunnel, "OPEN_SECONDS", 2.0)
    connection = connect(HOST, 1)
    with pytest.raises(UnreachableError, match=r"no end within 2 s when connecting to port 1 of host gw1"):
        connection.request("GET", "/")
    connection.close()
    for process in said.read_text().split():
        gone = time.monotonic() + 10  # a busy machine takes its time to carry a SIGKILL out
        while alive(int(process)) and time.monotonic() < gone:
            time.sleep(0.02)
        assert not alive(int(process))


def alive(process: int) -> bool:
    """Whether it runs: one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(
    os.geteuid() != 0 and relay.unit_users() is None,
    reason="needs root, or systemd: whose a port is shows to others in the control groups of its units alone",
)
def test_a_stranger_is_told_nothing_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    fake_ssh(tmp_path, monkeypatch, RUN)
    for host in (HOST, Host("gw1", connection="local")):
        connection = connect(host, port)
        with pytest.raises(HostFailedError, match=rf"port {port} of host gw1 is held by .*uid {os.getuid()}\b"):
            connection.request("GET", "/")
        assert connection.sock is None
        connection.close()


def test_where_nobody_can_tell_the_operator_is_warned(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setattr(listener, "judge", lambda _: listener.Judgement("unknown", "/proc is hidden"))
    heard: list[str] = []
    connection = connect(Host("here", connection="local"), port, heard)
    connection.request("GET", "/")
    assert connection.getresponse().read().startswith(b"piece 0")
    connection.close()
    assert heard == [f"it is unknown who listens on port {port} (/proc is hidden); it may be another program"]


def test_without_ssh_the_message_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnreachableError, match="found no ssh to run"):
        connect(HOST, 1).request("GET", "/")


def test_a_local_host_is_reached_directly(port: int, believed: None) -> None:
    connection = tunnel.http_connection(Host("here", connection="local"), "0.0.0.0", port, pytest.fail)
    connection.request("GET", "/")
    assert connection.getresponse().read().startswith(b"piece 0")
    connection.close()
