"""A prompt that the engine would cut in silence, at the real HAProxy: refused, or let through where nobody measures."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.core.gateway.model import Limits, Measuring
from tests.ansible.gateway import measuring
from tests.unit.core.gateway.running_gateway import CHAT, Running, key, needs_haproxy, running, token, until

pytestmark = needs_haproxy
CONTEXT, BEYOND = 256, 30
LONG = "too long for it " * 200


@contextlib.contextmanager
def gateway(folder: Path, place: Path, **more: Any) -> Iterator[Running]:
    """A gateway that asks at a socket; the key that it knows is number 1."""
    asking = Measuring(str(measuring.FILES / "measure.lua"), str(place), BEYOND)
    with running(folder, key("north", 1), measuring=asking, **more) as found:
        yield found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    # The path of a socket has 107 bytes at most.
    return tmp_path


def chat(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "tiny", "messages": [{"role": "user", "content": text}], **more}


def measured(door: Running) -> list[str]:
    return re.findall(r"measured=(\S+)", door.log.read_text())


def test_a_prompt_that_is_too_long_is_refused_in_openais_shape(folder: Path) -> None:
    with measuring.serving(folder, CONTEXT) as place, gateway(folder, place) as door:
        answer = door.ask(body=chat(LONG), sent=1)
        error = answer.document["error"]
        assert (answer.status, error["code"], error["type"], error["param"]) == (
            400, "context_length_exceeded", "invalid_request_error", "messages",
        )  # fmt: skip
        assert re.match(r"The prompt is too long: this model's maximum context length is 256 tokens, and the messages "
                        r"take \d+ tokens", error["message"])  # fmt: skip
        assert answer.headers["content-type"] == "application/json"
        for path, body in (
            ("/v1/completions", {"model": "tiny", "prompt": LONG}),
            ("/v1/responses", {"model": "tiny", "input": LONG}),
        ):
            assert door.ask(path, body, 1).document["error"]["code"] == "context_length_exceeded", path
        assert door.engine.seen.bodies == []
        until(lambda: measured(door)[-3:] == ["long"] * 3, "the log says so")


def test_what_fits_goes_on_as_it_is_and_streams(folder: Path) -> None:
    with measuring.serving(folder, CONTEXT) as place, gateway(folder, place) as door:
        body = chat("short enough " * 20, stream=True, pieces=3, gap=0.3)
        with contextlib.closing(door.connection()) as client:
            client.request("POST", CHAT, json.dumps(body), {"Authorization": f"Bearer {token(1)}"})
            answer = client.getresponse()
            began = time.monotonic()
            first = answer.read1(100)
            assert first.startswith(b"data: 0") and time.monotonic() - began < 0.3
            rest = answer.read()
        assert rest.count(b"data: ") == 2 and door.engine.seen.bodies == [body]
        until(lambda: measured(door)[-1:] == ["fits"], "the log says so")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"model": "tiny", "messages": []}),  # small enough for any context
        (CHAT, chat(LONG) | {"model": "another"}),
        ("/v1/embeddings", {"model": "tiny", "input": LONG}),
        (CHAT, ["no", "object", LONG]),
    ],
)
def test_what_cannot_be_known_is_the_engines(folder: Path, path: str, body: Any) -> None:
    with measuring.serving(folder, CONTEXT) as place, gateway(folder, place) as door:
        if isinstance(body, list):
            door.engine.seen.hung = False
            body = {"list": body}
        assert door.ask(path, body, 1).status == 200
        assert len(door.engine.seen.bodies) == 1


def test_a_prompt_passes_where_nothing_measures(folder: Path) -> None:
    with gateway(folder, folder / "nobody.sock") as door:
        began = time.monotonic()
        assert door.ask(body=chat(LONG), sent=1).status == 200
        assert time.monotonic() - began < 1
        until(lambda: measured(door)[-1:] == ["unanswered"], "the log says so")


def test_a_process_that_hangs_holds_one_request_for_two_seconds_and_no_other(folder: Path) -> None:
    place = folder / "hung.sock"
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(place))
        hung.listen(8)
        with gateway(folder, place) as door:
            for longest in (4.0, 0.5):
                began = time.monotonic()
                assert door.ask(body=chat(LONG), sent=1).status == 200
                assert time.monotonic() - began < longest
            until(lambda: measured(door)[-2:] == ["unanswered", "unasked"], "the log says so")


@pytest.mark.parametrize("said", [b"", b"\n", b"nonsense", b"LONG {}\n", b"x" * 100_000 + b"\n", b"\x00\xff\n"])
def test_nonsense_from_the_process_lets_a_prompt_pass(folder: Path, said: bytes) -> None:
    place = folder / "odd.sock"
    with socket.socket(socket.AF_UNIX) as odd:
        odd.bind(str(place))
        odd.listen(8)

        def answer() -> None:
            client, _ = odd.accept()
            with client:
                client.recv(100)
                client.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        with gateway(folder, place) as door:
            assert door.ask(body=chat(LONG), sent=1).status == 200
        thread.join()


def test_a_refused_prompt_counts_for_nobody_and_takes_no_place(folder: Path) -> None:
    limited = Limits(queue=1)
    with measuring.serving(folder, CONTEXT) as place, gateway(folder, place, limits=limited) as door:
        door.keys(key("north", 1, per_minute=2))
        assert [door.ask(body=chat(LONG), sent=1).status for _ in range(4)] == [400] * 4
        assert [door.ask(body=chat("a word " * 8), sent=1).status for _ in range(3)] == [200, 200, 429]


def test_the_largest_request_is_measured_too(folder: Path) -> None:
    with measuring.serving(folder, CONTEXT) as place, gateway(folder, place) as door:
        largest = chat("a" * (Limits().body_bytes - 200))
        began = time.monotonic()
        assert door.ask(body=largest, sent=1).document["error"]["code"] == "context_length_exceeded"
        assert time.monotonic() - began < 2
        assert door.ask(body=chat("a" * Limits().body_bytes), sent=1).status == 413


def test_many_at_once_are_each_measured(folder: Path) -> None:
    found: list[int] = []
    with measuring.serving(folder, CONTEXT) as place, gateway(folder, place, streams=2) as door:

        def ask(number: int) -> None:
            with contextlib.suppress(http.client.HTTPException):
                found.append(door.ask(body=chat(LONG if number % 2 else "a few words " * 6), sent=1).status)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(found) == [200] * 6 + [400] * 6
        assert len(door.engine.seen.bodies) == 6


def test_an_error_in_what_asks_lets_a_prompt_pass(folder: Path) -> None:
    """As where Lua has no memory left."""
    program = folder / "broken.lua"
    program.write_text('core.register_action("measure", { "http-req" }, function() error("no memory") end, 1)\n')
    asking = Measuring(str(program), str(folder / "none.sock"), BEYOND)
    with running(folder, key("north", 1), measuring=asking) as door:
        assert door.ask(body=chat(LONG), sent=1).status == 200
