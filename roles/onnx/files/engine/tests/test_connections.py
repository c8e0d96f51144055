"""Who may be connected, how many, and for how long: idle, slow and half-open clients keep nobody out."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import socket
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from client import Engine, everything, python
from conftest import HERE, StartEngine
from shapes import error, script

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
# Whoever looks at the health waits longer, and the idle connections stay longer.
PROBE_SECONDS = 8.0


@contextlib.contextmanager
def crowd(engine: Engine, count: int, data: bytes = b"") -> Iterator[list[socket.socket]]:
    """So many connections of one client that sent `data` and nothing more."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(engine.raw(data)) for _ in range(count)]


def health_seconds(engine: Engine) -> float:
    """How long a look at the health takes on a new connection."""
    started = time.monotonic()
    assert engine.get("/health").json()["status"] == "healthy"
    return time.monotonic() - started


@pytest.mark.parametrize("data", [b"", b"GET / HTTP/1.1\r\nHost: loc"], ids=["silent", "half a header"])
def test_idle_connections_keep_nobody_out(start: StartEngine, data: bytes) -> None:
    engine = start(PHI4_CONNECTIONS="256")
    engine.wait_for(200)
    with crowd(engine, 700, data) as idle:
        assert health_seconds(engine) < PROBE_SECONDS
        assert engine.chat("hi").status == 200
        assert engine.files() < 256 + 32 + 64
        told = everything(idle[0])
        assert told.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 5\r\n" in told
        assert json.loads(told.partition(b"\r\n\r\n")[2])["error"]["code"] == "too_many_connections"
        assert not select.select([idle[-1]], [], [], 0)[0], "the newest is still there"
    assert engine.log.count("\n") <= 20


def test_a_kept_alive_connection_that_waits_gives_way(start: StartEngine) -> None:
    engine = start(PHI4_CONNECTIONS="8")
    engine.wait_for(200)
    with engine.raw(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n") as first:
        found = b""
        while not found.endswith(b"}"):
            found += first.recv(65536)
        with crowd(engine, 8):
            assert everything(first) == b"", "ended without an answer that nobody asked for"


def test_beyond_busy_connections_health_answers_and_the_rest_is_sent_away(start: StartEngine) -> None:
    engine = start(PHI4_CONNECTIONS="8", PHI4_QUEUE="32")
    engine.wait_for(200)
    body = json.dumps({"messages": [{"role": "user", "content": script("x", step=0.05)}], "stream": True}).encode()
    with crowd(engine, 8, HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body):
        time.sleep(0.5)
        refused = engine.chat("hi")
        assert (refused.status, error(refused)["code"]) == (503, "too_many_connections")
        assert (refused.headers["retry-after"], refused.headers["connection"]) == ("5", "close")
        assert health_seconds(engine) < PROBE_SECONDS
        with crowd(engine, 100):
            assert health_seconds(engine) < PROBE_SECONDS
    deadline = time.monotonic() + 20
    while engine.chat("hi").status != 200:
        assert time.monotonic() < deadline


def test_an_answer_is_never_cut_for_a_newcomer(start: StartEngine) -> None:
    engine = start(PHI4_CONNECTIONS="8")
    engine.wait_for(200)
    stream = engine.stream(script("x", step=0.01), max_tokens=100)
    with crowd(engine, 60):
        assert len(stream.text()) == 100
    stream.close()


def test_late_headers_and_late_bodies_end(start: StartEngine) -> None:
    engine = start(FAKE_HEADER="1", FAKE_BODY="1")
    engine.wait_for(200)
    started = time.monotonic()
    with (
        engine.raw() as silent,
        engine.raw(b"GET / HTTP/1.1\r\nHost") as half,
        engine.raw(HEAD + b"Content-Length: 9\r\n\r\n{") as body,
        engine.raw(HEALTH[:-2].replace(b"close", b"keep-alive")) as drip,
    ):
        for _ in range(6):
            time.sleep(0.3)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                drip.sendall(b"X-A: b\r\n")
        assert everything(silent) == b""
        assert everything(half).startswith(b"HTTP/1.1 408 ")
        assert everything(drip).startswith(b"HTTP/1.1 408 ")
        assert body.recv(65536).startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - started < 10


def test_half_headers_of_many_connections_are_gone_after_a_quarter_of_a_minute(start: StartEngine) -> None:
    engine = start(PHI4_CONNECTIONS="600")
    engine.wait_for(200)
    files = engine.files()
    started = time.monotonic()
    with crowd(engine, 500, b"GET / HTTP/1.1\r\nHost: loc") as channels:
        while engine.files() - files < 490:  # a look at the health may have been among those before
            assert time.monotonic() - started < 9, "all are there at once"
        for channel in channels:
            assert everything(channel).startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - started < 15
    assert engine.log.count("\n") <= 20


def test_those_who_leave_at_their_deadline_are_no_errors(start: StartEngine) -> None:
    engine = start(PHI4_CONNECTIONS="600", FAKE_HEADER="1")
    engine.wait_for(200)
    for pause in (0, 0.01, 0.02, 0.03):
        with crowd(engine, 500, b"GET / HTTP/1.1\r\nHost: loc") as channels:
            time.sleep(0.5)
            # All deadlines pass meanwhile, and the refusals are written one after the other while those clients leave.
            os.kill(engine.process.pid, signal.SIGSTOP)
            time.sleep(1)
            os.kill(engine.process.pid, signal.SIGCONT)
            time.sleep(pause)
            for channel in reversed(channels):
                channel.close()
    assert engine.chat("hi").status == 200
    assert engine.log.count("\n") <= 20


def test_who_reads_nothing_of_an_answer_is_ended_and_holds_up_nobody(start: StartEngine) -> None:
    engine = start(PHI4_CONTEXT_LENGTH="100000", PHI4_PARALLEL="2", FAKE_WRITE="1")
    engine.wait_for(200)
    told = {"messages": [{"role": "user", "content": script("x")}], "logprobs": True, "top_logprobs": 20}
    body = json.dumps({**told, "stream": True}).encode()
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", engine.port))
        slow.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert engine.chat("hi").status == 200
        engine.wait_for_log("not finished")
        assert engine.chat("hi").status == 200


def test_a_request_that_was_answered_and_never_ends_is_ended(start: StartEngine) -> None:
    engine = start()
    engine.wait_for(200)
    with engine.raw(HEAD.replace(b"chat/completions", b"nope") + b"Content-Length: 500\r\n\r\n") as channel:
        found, started = b"", time.monotonic()
        while time.monotonic() - started < 12:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                channel.sendall(b" ")
            if select.select([channel], [], [], 0.3)[0]:
                piece = b""
                with contextlib.suppress(ConnectionResetError):
                    piece = channel.recv(65536)
                if not piece:
                    break
                found += piece
        else:
            raise AssertionError("it went on for ever")
    assert found.startswith(b"HTTP/1.1 404 ")


def test_many_bodies_at_once_do_not_take_the_memory_of_the_model(start: StartEngine) -> None:
    engine = start(FAKE_BODY="5")
    engine.wait_for(200)
    before = engine.memory()
    size = 1000 * 1000
    piece = HEAD + b"Content-Length: %d\r\n\r\n" % (size + 1) + b" " * size
    with crowd(engine, 60, piece) as channels:
        sent_away = select.select(channels, [], [], 4)[0]
        assert sent_away, "32 MiB are the limit"
        assert b"HTTP/1.1 503 " in sent_away[0].recv(65536)
        assert engine.memory() - before < 64 * 2**20
        assert engine.get("/health").status == 200
    assert engine.chat("hi").status == 200


def test_without_files_nothing_hangs_and_the_manager_hears_of_it(tmp_path: Path) -> None:
    """The limit on files is below that on connections: that is what an operator's own drop-in can make of it."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(20)
        environ = {"PHI4_MODEL_DIR": "/nonexistent", "PHI4_CONTEXT_LENGTH": "400", "NOTIFY_SOCKET": str(path),
                   "WATCHDOG_USEC": "400000"}  # fmt: skip
        engine = Engine(
            python(HERE / "fake_main.py"),
            environ,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (210, 210)),
        )
        try:
            engine.wait_for(200)
            assert "210 open files allow 18 connections, not 256" in engine.log
            os.sched_yield()
            resource.prlimit(engine.process.pid, resource.RLIMIT_NOFILE, (engine.files() + 10, 210))
            with crowd(engine, 60):
                for _ in range(20):
                    assert manager.recv(4096)
                assert engine.log.count("\n") <= 20
            assert engine.chat("hi").status == 200
        finally:
            engine.close()


def test_small_answers_on_a_kept_connection_are_sent_at_once(engine: Engine) -> None:
    """Were they held back for the acknowledgement of the one before (Nagle's algorithm), each would take 40 ms."""
    medians = []
    for _ in range(10):
        seconds = []
        with engine.raw() as channel:
            channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(20):
                started = time.monotonic()
                channel.sendall(HEAD + b"Content-Length: 2\r\n\r\n{}")
                found = b""
                while not found.endswith(b"}}"):  # header and body are written one after the other
                    found += channel.recv(65536)
                assert found.startswith(b"HTTP/1.1 400 ")
                seconds.append(time.monotonic() - started)
        medians.append(statistics.median(seconds))
        if medians[-1] <= 0.005:
            return
    # A busy machine makes some late, that algorithm all but the first of every twenty.
    raise AssertionError(medians)


def test_clients_that_leave_in_the_middle_of_a_body_are_no_errors(start: StartEngine) -> None:
    engine = start()
    engine.wait_for(200)
    before = engine.log.count("\n")
    for _ in range(50):
        engine.raw(HEAD + b'Content-Length: 500\r\n\r\n{"messages":').close()
    assert engine.chat("hi").status == 200
    engine.wait_for_log("chatcmpl-")
    assert "Traceback" not in engine.log
    assert engine.log.count("\n") - before <= 51


@pytest.mark.parametrize("wait", [0.0, 0.2])
def test_what_is_pipelined_is_answered_in_order(start: StartEngine, wait: float) -> None:
    engine = start()
    engine.wait_for(200)
    first = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with engine.raw(first * 20) as channel:
        time.sleep(wait)
        channel.sendall(HEALTH)
        found = everything(channel)
    assert found.count(b"HTTP/1.1 200 ") == 21
    assert found.rindex(b'"healthy"') > found.rindex(b'"object"')
