"""The server of ranges, over real sockets."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from phi4_edge.artifacts.serve import ranges
from phi4_edge.artifacts.serve.bucket import Bucket
from phi4_edge.artifacts.serve.ranges import Grant, RangeServer

DATA = random.Random(10).randbytes(300_000)
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "weights").write_bytes(DATA)
    return tmp_path / "weights"


@pytest.fixture
def server() -> Iterator[RangeServer]:
    with RangeServer() as made:
        yield made


class Clients:
    """Connections to the server at one port, all closed at the end of a test."""

    def __init__(self, port: int, stack: contextlib.ExitStack) -> None:
        self.port, self._stack = port, stack

    def http(self) -> http.client.HTTPConnection:
        return self._stack.enter_context(
            contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=5))
        )

    def raw(self) -> socket.socket:
        return self._stack.enter_context(socket.create_connection(("127.0.0.1", self.port), 5))


@pytest.fixture
def clients(server: RangeServer) -> Iterator[Clients]:
    with contextlib.ExitStack() as stack:
        yield Clients(server.listen_on("127.0.0.1"), stack)


def get(
    client: http.client.HTTPConnection, grant: Grant, span: str, sha: str = SHA, token: str = ""
) -> tuple[int, bytes]:
    client.request("GET", f"/{sha}", headers={"Range": f"bytes={span}", "phi4-token": token or grant.token})
    answer = client.getresponse()
    return answer.status, answer.read()


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_ranges_over_one_connection_are_the_file(server: RangeServer, clients: Clients, file: Path) -> None:
    with server.granted({SHA: (file, len(DATA))}, 0) as grant:
        client = clients.http()
        spans = [(0, 99_999), (100_000, 299_998), (299_999, 299_999)]
        assert b"".join(get(client, grant, f"{first}-{last}")[1] for first, last in spans) == DATA
        assert grant.sent == len(DATA)


def test_it_serves_on_a_unix_socket(server: RangeServer, file: Path, tmp_path: Path) -> None:
    server.listen_at(tmp_path / "socket")
    client = http.client.HTTPConnection("localhost", timeout=5)
    with server.granted({SHA: (file, len(DATA))}, 0) as grant, contextlib.closing(client):
        client.sock = socket.socket(socket.AF_UNIX)
        client.sock.connect(str(tmp_path / "socket"))
        assert get(client, grant, "1-3") == (206, DATA[1:4])


def test_a_token_of_another_grant_opens_nothing(server: RangeServer, clients: Clients, file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(b"x")
    with server.granted({SHA: (file, len(DATA))}, 0) as mine, server.granted({"b" * 64: (other, 1)}, 0) as theirs:
        assert len(mine.token) == 64
        assert mine.token != theirs.token
        assert get(clients.http(), theirs, "0-1") == (404, b"")
        assert get(clients.http(), mine, "0-0", sha="b" * 64) == (404, b"")
        assert get(clients.http(), mine, "0-1", token="0" * 64)[0] == 403
        assert get(clients.http(), mine, "0-1", token="x")[0] == 403
        assert mine.sent == theirs.sent == 0


def test_a_connection_is_for_one_token(server: RangeServer, clients: Clients, file: Path) -> None:
    files = {SHA: (file, len(DATA))}
    with server.granted(files, 0) as first, server.granted(files, 0) as second:
        client = clients.http()
        assert get(client, first, "0-1")[0] == 206
        assert get(client, second, "0-1")[0] == 429


def test_what_lies_beyond_the_file_is_refused(server: RangeServer, clients: Clients, file: Path) -> None:
    with server.granted({SHA: (file, len(DATA))}, 0) as grant:
        assert get(clients.http(), grant, f"0-{len(DATA)}")[0] == 416
        assert get(clients.http(), grant, f"{10**14}-{10**14 + 5}")[0] == 416
        assert grant.sent == 0


def test_after_the_grant_nothing_is_served_any_more(server: RangeServer, clients: Clients, file: Path) -> None:
    client = clients.http()
    with server.granted({SHA: (file, len(DATA))}, 0) as grant:
        assert get(client, grant, "0-1")[0] == 206
    with pytest.raises((OSError, http.client.HTTPException)):
        client.sock.settimeout(5)
        client.auto_open = 0
        get(client, grant, "0-1")
    assert get(clients.http(), grant, "0-1")[0] == 403


def test_more_connections_than_a_host_needs_are_refused(server: RangeServer, clients: Clients, file: Path) -> None:
    with server.granted({SHA: (file, len(DATA))}, 0) as grant:
        many = [clients.http() for _ in range(ranges.MOST_OF_A_GRANT)]
        assert {get(client, grant, "0-1")[0] for client in many} == {206}
        assert get(clients.http(), grant, "0-1")[0] == 429
        many[0].close()
        wait_until(lambda: len(grant.connections) < ranges.MOST_OF_A_GRANT)
        assert get(clients.http(), grant, "0-1")[0] == 206


def test_who_says_nothing_or_nonsense_is_let_go(
    server: RangeServer, clients: Clients, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "IDLE_SECONDS", 0.2)
    monkeypatch.setattr(ranges, "HEAD_SECONDS", 0.3)
    silent = clients.raw()
    assert silent.recv(1) == b""
    noise = clients.raw()
    noise.sendall(b"A" * 10_000)
    assert noise.recv(100).startswith(b"HTTP/1.1 431 ")
    slow, began = clients.raw(), time.monotonic()
    with pytest.raises(OSError, match=r"reset|Broken pipe|closed"):
        while time.monotonic() - began < 5:
            slow.sendall(b"G")
            time.sleep(0.05)
    assert time.monotonic() - began < 3


def test_a_full_house_takes_nobody_in(
    server: RangeServer, clients: Clients, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "MOST_CONNECTIONS", 2)
    held = [clients.raw() for _ in range(2)]
    wait_until(lambda: len(server._open) == 2)
    assert clients.raw().recv(1) == b""
    held[0].close()
    wait_until(lambda: len(server._open) < 2)
    with server.granted({SHA: (file, len(DATA))}, 0) as grant:
        assert get(clients.http(), grant, "0-1")[0] == 206


def test_closing_ends_connections_and_threads() -> None:
    before = threading.active_count()
    with contextlib.ExitStack() as stack:
        with RangeServer() as server:
            clients = Clients(server.listen_on("127.0.0.1"), stack)
            held = clients.raw()
            wait_until(lambda: len(server._open) == 1)
        assert held.recv(1) == b""
        wait_until(lambda: threading.active_count() <= before)
        with pytest.raises(ConnectionRefusedError):
            clients.raw()


def test_a_host_gets_no_more_than_its_bandwidth(server: RangeServer, clients: Clients, file: Path) -> None:
    with server.granted({SHA: (file, len(DATA))}, 600_000) as grant:
        began = time.monotonic()
        spans = ("0-99999", "100000-199999", "200000-299999")
        took = [threading.Thread(target=get, args=(clients.http(), grant, span)) for span in spans]
        for thread in took:
            thread.start()
        for thread in took:
            thread.join()
        assert time.monotonic() - began >= 0.3  # 300,000 bytes, of which the last chunk is not waited for
        assert grant.sent == len(DATA)


def test_a_bucket_waits_for_what_was_taken_before() -> None:
    now, slept = 0.0, list[float]()
    bucket = Bucket(1000, lambda: now, slept.append)
    bucket.take(500)
    bucket.take(250)
    now = 10.0
    bucket.take(1)
    assert slept == [0.5]
    assert Bucket(0).chunk > Bucket(1000).chunk > 0
