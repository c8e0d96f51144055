"""Many clients, slow clients and broken ones, against the real HAProxy with our configuration."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from phi4_edge.core.gateway.model import Limits
from tests.unit.core.gateway.running_gateway import (
    CHAT,
    Answer,
    Running,
    key,
    needs_haproxy,
    running,
    token,
    until,
    version,
)

# Seconds of many clients: `make tables` runs them.
pytestmark = [needs_haproxy, pytest.mark.full]


def together(gateway: Running, clients: int, seconds: float) -> list[Answer]:
    """What so many clients get who ask at the same moment."""
    start = threading.Barrier(clients)

    def client(number: int) -> Answer:
        start.wait()
        return gateway.ask(body={"seconds": seconds, "of": number}, sent=1)

    with ThreadPoolExecutor(clients) as pool:
        return [*pool.map(client, range(clients))]


def raw(gateway: Running, *lines: str) -> socket.socket:
    """A connection on which these lines were sent."""
    found = socket.create_connection(("127.0.0.1", gateway.gateway.port), timeout=20)
    found.sendall("".join(f"{line}\r\n" for line in lines).encode())
    return found


def received(client: socket.socket) -> bytes:
    """What comes until the other side closes."""
    with client.makefile("rb") as answer:
        return answer.read()


def head(body: int) -> tuple[str, ...]:
    """The head of a request for an answer."""
    return (f"POST {CHAT} HTTP/1.1", "Host: gw1", f"Authorization: Bearer {token(1)}", f"Content-Length: {body}", "")


def test_64_clients_are_all_served_where_the_queue_holds_them(tmp_path: Path) -> None:
    with running(tmp_path, key("north", 1), streams=4, limits=Limits(queue=128)) as gateway:
        found = together(gateway, 64, 0.05)
        assert Counter(answer.status for answer in found) == {200: 64}
        assert [answer.document["of"] for answer in found] == [*range(64)]
        assert gateway.engine.seen.most == 4


def test_of_64_clients_those_beyond_the_queue_are_told_to_come_back(tmp_path: Path) -> None:
    with running(tmp_path, key("north", 1), streams=4, limits=Limits(queue=8)) as gateway:
        found = together(gateway, 64, 0.5)
        served, refused = ([one for one in found if one.status == status] for status in (200, 429))
        assert len(served) + len(refused) == 64
        assert len(served) >= 8
        assert gateway.engine.seen.most == 4
        assert len(gateway.engine.seen.paths) == len(served)
        assert {(one.headers["retry-after"], one.document["error"]["code"]) for one in refused} == {
            ("10", "queue_full")
        }


def test_who_waits_too_long_is_told_so(tmp_path: Path) -> None:
    with running(tmp_path, key("north", 1), limits=Limits(queue_seconds=1)) as gateway, ThreadPoolExecutor(1) as pool:
        first = pool.submit(gateway.ask, body={"seconds": 3}, sent=1)
        until(lambda: gateway.engine.seen.running == 1, "nothing runs")
        found = gateway.ask(body={}, sent=1)
        assert (found.status, found.document["error"]["code"]) == (503, "engine_busy")
        assert found.headers["retry-after"] == "10"
        assert first.result().status == 200


def test_a_long_answer_outlasts_the_patience_with_idle_clients(tmp_path: Path) -> None:
    with running(tmp_path, key("north", 1), limits=Limits(idle_seconds=1, request_seconds=1)) as gateway:
        assert gateway.ask(body={"seconds": 2.5}, sent=1).status == 200
        found = gateway.ask(body={"stream": True, "pieces": 2, "gap": 2}, sent=1)
        assert (found.status, found.text.count("data: ")) == (200, 2)


def test_an_engine_that_says_nothing_is_given_up_in_the_end(tmp_path: Path) -> None:
    with running(tmp_path, key("north", 1), answer_seconds=1) as gateway:
        found = gateway.ask(body={"seconds": 2}, sent=1)
        assert (found.status, found.document["error"]["code"]) == (504, "engine_timeout")


def test_what_is_no_http_at_all_gets_nowhere(tmp_path: Path) -> None:
    with running(tmp_path, key("north", 1), limits=Limits(request_seconds=1)) as gateway:
        for line in ("\0 nonsense", "GET", "POST /v1/models HTTP/1.1\r\nNo Header: x", "PRI * HTTP/2.0"):
            with contextlib.closing(raw(gateway, line, "")) as client:
                found = received(client)
                assert found == b"" or b" 400 " in found.splitlines()[0], (line, found)
        assert gateway.engine.seen.paths == []


def test_a_request_that_does_not_become_whole_is_refused_in_openai_s_shape(impatient: Running) -> None:
    with contextlib.closing(raw(impatient, *head(4000))) as client:
        client.sendall(b"x")
        found = received(client).decode()
    assert found.startswith("HTTP/1.1 408 ")
    assert json.loads(found.partition("\r\n\r\n")[2])["error"]["code"] == "request_timeout"


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A gateway that gives up on clients after a second or two."""
    folder = tmp_path_factory.mktemp("impatient")
    limits = Limits(request_seconds=3, idle_seconds=1, connections=40, connections_per_client=20)
    with running(folder, key("north", 1), limits=limits) as gateway:
        yield gateway


@pytest.mark.parametrize(
    "lines", [(), ("GET /v1/models HTTP/1.1",), head(4000)], ids=["nothing", "half-head", "no-body"]
)
def test_half_open_connections_keep_nobody_out_and_end(impatient: Running, lines: tuple[str, ...]) -> None:
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(contextlib.closing(raw(impatient, *lines))) for _ in range(10)]
        assert impatient.ask(body={}, sent=1).status == 200
        assert select.select(silent, [], [], 0)[0] == [], "some had to go for that"
        began = time.monotonic()
        for one in silent:
            answer = one.recv(4096)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 408 "), answer
        assert time.monotonic() - began < 5


def test_one_address_has_no_more_than_its_connections(impatient: Running) -> None:
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(contextlib.closing(raw(impatient))) for _ in range(20)]
        with pytest.raises(OSError), contextlib.closing(impatient.connection()) as client:
            client.request("GET", "/health")
            client.getresponse()
        for one in held:
            one.close()
    impatient.wait()


def test_a_reader_who_stops_loses_the_answer_and_frees_the_engine(impatient: Running) -> None:
    body = json.dumps({"stream": True, "pieces": 2000, "gap": 0, "size": 60_000})
    before = impatient.engine.seen.broken
    with contextlib.closing(raw(impatient, *head(len(body)))) as client:
        client.sendall(body.encode())
        until(lambda: impatient.engine.seen.broken == before + 1, "the engine goes on for a reader who has stopped")
    assert impatient.ask(body={}, sent=1).status == 200


def test_who_leaves_gives_up_the_answer(tmp_path: Path) -> None:
    endless = json.dumps({"stream": True, "pieces": 100_000, "gap": 0.02})
    with running(tmp_path, key("north", 1)) as gateway:
        with contextlib.closing(raw(gateway, *head(len(endless)))) as client:
            client.sendall(endless.encode())
            until(lambda: gateway.engine.seen.running == 1, "nothing runs")
        until(lambda: gateway.engine.seen.broken == 1, "the engine goes on for a reader who has left")
        assert gateway.ask(body={}, sent=1).status == 200


@pytest.mark.skipif(version() < (2, 4), reason="HAProxy notices it from 2.4 on")
def test_who_leaves_gives_up_the_place_in_the_queue(tmp_path: Path) -> None:
    with running(tmp_path, key("north", 1)) as gateway, ThreadPoolExecutor(1) as pool:
        first = pool.submit(gateway.ask, body={"stream": True, "pieces": 1, "gap": 0, "held": True}, sent=1)
        until(lambda: gateway.engine.seen.running == 1, "nothing runs")
        with contextlib.closing(raw(gateway, *head(2))) as client:
            client.sendall(b"{}")
        until(lambda: "end=CQ" in gateway.log.read_text(), "the queue keeps the place of somebody who has left")
        gateway.engine.seen.release.set()
        assert first.result().status == 200
        assert len(gateway.engine.seen.bodies) == 1


def test_no_request_fails_while_keys_change(tmp_path: Path) -> None:
    with (
        running(tmp_path, key("north", 1), streams=4, limits=Limits(queue=64)) as gateway,
        ThreadPoolExecutor(4) as pool,
    ):
        done = threading.Event()

        def client(_: int) -> Counter[int]:
            found: Counter[int] = Counter()
            while not done.is_set():
                found[gateway.ask(body={"seconds": 0.01}, sent=1).status] += 1
            return found

        clients = [pool.submit(client, number) for number in range(4)]
        try:
            for number in range(2, 7):
                gateway.keys(key("north", 1), key("south", number))
                time.sleep(0.2)
        finally:
            done.set()
        total = sum((one.result() for one in clients), Counter())
    assert set(total) == {200}, total
    assert total[200] > 50
