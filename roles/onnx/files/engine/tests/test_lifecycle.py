"""Load, queue, cancel, stop, die: the life of the two processes, with the fake worker."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice
from pathlib import Path

import pytest
from client import DEADLINE, Engine, free_port, python
from conftest import HERE, StartEngine
from shapes import error, script

from phi4_engine import supervisor

SLOW = script("x", step=0.05)
"""20 seconds, were it to run to the end of the context of 400."""


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Requests in the background."""
    with ThreadPoolExecutor(16) as executor:
        yield executor


def test_while_loading_health_says_so_and_models_answers(start: StartEngine) -> None:
    engine = start(FAKE_LOAD="2")
    assert engine.wait_for(503).json()["status"] == "loading"
    assert engine.get("/v1/models").status == 200
    refused = engine.chat("hi")
    assert (refused.status, error(refused)["code"]) == (503, "model_loading")
    assert int(refused.headers["retry-after"]) > 0
    assert engine.wait_for(200).json()["status"] == "healthy"
    assert engine.chat("hi").status == 200


@pytest.mark.parametrize(
    ("own", "wanted"),
    [
        ("", "glibc.malloc.hugetlb=1"),
        ("glibc.malloc.arena_max=2", "glibc.malloc.arena_max=2:glibc.malloc.hugetlb=1"),
        ("glibc.malloc.hugetlb=0", "glibc.malloc.hugetlb=0"),
    ],
)
def test_the_model_process_asks_for_huge_pages_unless_the_operator_does_not(
    start: StartEngine, own: str, wanted: str
) -> None:
    assert supervisor.surroundings({"GLIBC_TUNABLES": own, "A": "b"})["GLIBC_TUNABLES"] == wanted
    engine = start(GLIBC_TUNABLES=own)
    engine.wait_for(200)
    # glibc cuts the variable at its colons as it reads it.
    environ = Path(f"/proc/{engine.worker_pid()}/environ").read_bytes().split(b"\0")
    assert {one.encode() for one in f"GLIBC_TUNABLES={wanted}".split(":")} <= set(environ)


def test_health_answers_during_prefill(start: StartEngine) -> None:
    engine = start()
    engine.wait_for(200)
    stream = engine.stream(script("x", prefill=1.5, prompt_tokens=300))
    assert engine.get("/health").json()["status"] == "healthy"
    assert next(stream.events())["choices"][0]["delta"]["role"] == "assistant"
    stream.close()


def test_a_full_queue_sends_away_with_retry_after(start: StartEngine, pool: ThreadPoolExecutor) -> None:
    engine = start(PHI4_QUEUE="2")
    engine.wait_for(200)
    first = engine.stream(SLOW)
    next(first.events())
    asked = [pool.submit(engine.chat, "hi") for _ in range(5)]
    refused = [one.result() for one in islice(as_completed(asked), 3)]
    assert [answer.status for answer in refused] == [429, 429, 429]
    assert error(refused[0])["type"] == "rate_limit_error"
    assert 1 <= int(refused[0].headers["retry-after"]) <= 120
    first.close()
    assert sorted(one.result().status for one in asked) == [200, 200, 429, 429, 429]


def test_parallel_answers_advance_together(start: StartEngine) -> None:
    engine = start(PHI4_PARALLEL="2")
    engine.wait_for(200)
    streams = [engine.stream(SLOW) for _ in range(2)]
    for stream in streams:
        texts = (event["choices"][0]["delta"].get("content") for event in stream.events())
        assert "x" in (next(texts), next(texts)), "both stream although neither is complete"
    for stream in streams:
        stream.close()


def test_a_streaming_client_that_leaves_stops_the_generation(start: StartEngine) -> None:
    engine = start(PHI4_QUEUE="0")
    engine.wait_for(200)
    stream = engine.stream(SLOW)
    next(stream.events())
    assert engine.chat("hi").status == 429
    stream.close()
    engine.wait_for_log("not finished")
    assert engine.chat("hi").status == 200, "the slot is free again"


def test_a_waiting_client_that_leaves_stops_the_generation(start: StartEngine) -> None:
    engine = start(PHI4_QUEUE="0")
    engine.wait_for(200)
    occupy(engine).close()
    engine.wait_for_log("not finished")
    assert engine.chat("hi").status == 200, "the slot is free again"


def occupy(engine: Engine) -> socket.socket:
    """A connection whose plain, unanswered request holds the only slot."""
    body = json.dumps({"messages": [{"role": "user", "content": SLOW}]}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    while True:
        channel = socket.create_connection(("127.0.0.1", engine.port), timeout=DEADLINE)
        channel.sendall(head.encode() + body)
        while not select.select([channel], [], [], 0)[0]:
            if engine.chat("hi", max_tokens=1).status == 429:
                return channel
        channel.close()  # answered already: the look at the slot was in the way


def test_a_killed_worker_fails_its_answers_and_ends_the_service(start: StartEngine) -> None:
    engine = start()
    engine.wait_for(200)
    stream = engine.stream(SLOW)
    found = stream.events()
    next(found)
    os.kill(engine.worker_pid(), signal.SIGKILL)
    last = list(found)[-1]
    stream.close()
    assert last["error"]["code"] == "engine_failed"
    assert engine.wait() == 1
    assert "the model process ended while serving: SIGKILL, most likely out of memory" in engine.log


def test_a_crashing_model_is_a_503_and_the_end_of_the_service(start: StartEngine) -> None:
    engine = start()
    engine.wait_for(200)
    answer = engine.chat(script(do="die"))
    assert (answer.status, error(answer)["code"]) == (503, "engine_failed")
    assert engine.wait() == 1
    assert "SIGABRT" in engine.log


def test_a_hanging_model_is_killed(start: StartEngine) -> None:
    engine = start(FAKE_STALL="1")
    engine.wait_for(200)
    answer = engine.chat(script(do="hang"))
    assert (answer.status, error(answer)["code"]) == (503, "engine_failed")
    assert engine.wait() == 1
    # 20 times the slowest piece so far, where a busy machine made one slow.
    assert re.search(r"said nothing for \d+ s and was killed", engine.log)


def test_a_stopped_model_process_is_told_and_no_sign_of_life_goes_to_systemd(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(DEADLINE)
        environ = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "200000", "FAKE_STALL": "6"}
        settings = {"PHI4_MODEL_DIR": "/nonexistent", "PHI4_CONTEXT_LENGTH": "400", "PHI4_PORT": str(free_port())}
        engine = Engine(python(HERE / "fake_main.py"), environ | settings)
        try:
            engine.wait_for(200)
            os.kill(engine.worker_pid(), signal.SIGSTOP)
            assert engine.wait_for(503).json()["status"] == "stalled"
            refused = engine.chat("hi")
            assert (refused.status, error(refused)["code"]) == (503, "engine_stalled")
            manager.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while manager.recv(4096):
                    continue
            assert engine.wait() == 1
            with pytest.raises(BlockingIOError):  # 3 s at 10 pings a second
                while not manager.recv(4096).startswith(b"WATCHDOG"):
                    continue
            assert re.search(r"said nothing for \d+ s and was killed", engine.log)
        finally:
            engine.close()


def test_a_model_process_that_goes_on_in_time_is_healthy_again(start: StartEngine) -> None:
    engine = start(FAKE_STALL="10")
    engine.wait_for(200)
    worker = engine.worker_pid()
    os.kill(worker, signal.SIGSTOP)
    engine.wait_for(503)
    os.kill(worker, signal.SIGCONT)
    engine.wait_for(200)
    assert engine.chat("hi").status == 200


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("fail", "the model cannot be loaded: Protobuf parsing failed. model.onnx"),
        ("die", "the model process ended while loading the model: SIGABRT"),
    ],
)
def test_a_model_that_does_not_load_ends_the_service_with_one_line(start: StartEngine, how: str, told: str) -> None:
    engine = start(FAKE_LOAD=how)
    assert engine.wait() == 1
    assert told in engine.log
    assert "Traceback" not in engine.log


def test_sigterm_lets_an_answer_finish(start: StartEngine) -> None:
    engine = start()
    engine.wait_for(200)
    stream = engine.stream(SLOW, max_tokens=20)
    found = stream.events()
    next(found)
    assert engine.terminate() == 0
    assert list(found)[-1] == "[DONE]"
    stream.close()


def test_sigterm_cuts_an_answer_that_takes_too_long(start: StartEngine) -> None:
    engine = start(FAKE_DRAIN="1")
    engine.wait_for(200)
    stream = engine.stream(script("x", step=0.1))
    found = stream.events()
    next(found)
    assert engine.terminate() == 0
    last = list(found)[-1]
    stream.close()
    assert engine.log.count("Traceback") == 0
    assert last["error"]["message"] == "the service is stopping"


@pytest.mark.parametrize("load", ["0", "hang"])
def test_sigterm_ends_an_idle_or_loading_service(start: StartEngine, load: str) -> None:
    engine = start(FAKE_LOAD=load)
    engine.wait_for(200 if load == "0" else 503)
    worker = engine.worker_pid()
    assert engine.terminate() == 0
    assert not Path(f"/proc/{worker}").exists()


def test_a_port_that_is_taken_is_told(start: StartEngine) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        engine = start(PHI4_PORT=str(port))
        assert engine.wait() == 1
    assert f"cannot listen on 127.0.0.1 port {port} (Address already in use)" in engine.log


def test_systemd_hears_ready_after_loading_then_watchdog_then_stopping(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(DEADLINE)
        environ = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "100000", "FAKE_LOAD": "0.5"}
        settings = {"PHI4_MODEL_DIR": "/nonexistent", "PHI4_CONTEXT_LENGTH": "400", "PHI4_PORT": str(free_port())}
        engine = Engine(python(HERE / "fake_main.py"), environ | settings)
        try:
            heard = {manager.recv(4096).decode() for _ in range(3)}
            assert any(text.startswith("READY=1\nSTATUS=serving phi-4-mini-instruct") for text in heard)
            assert "WATCHDOG=1" in heard
            engine.process.send_signal(signal.SIGTERM)
            while manager.recv(4096) != b"STOPPING=1":
                continue
            assert engine.wait() == 0
        finally:
            engine.close()
