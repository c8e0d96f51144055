"""Rates of an engine from the times of its answers: a stand-in that takes its time, and answers that cannot be."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from phi4_edge.errors import HostFailedError
from phi4_edge.inference import load
from phi4_edge.inference.load import Load
from phi4_edge.inference.verdict import Answer
from phi4_edge.inventory import Host
from phi4_edge.ssh import tunnel
from phi4_edge.ssh.tunnel import Connection
from tests.unit.inference.standin_openai import MODEL, Handler, Server, delta, serving, usage

pytestmark = pytest.mark.usefixtures("believed")
LOAD = Load(words=20, tokens=8, rounds=2, seconds=5)


def paced(first: float, each: float, tokens: int = 8, known: float = 0.0) -> Callable[[Handler, dict[str, Any]], None]:
    """Answers after `first` seconds, a token each `each`; a prompt that it has answered before after `known`."""
    seen: set[str] = set()

    def behave(handler: Handler, body: dict[str, Any]) -> None:
        text = body["messages"][0]["content"]
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        time.sleep(known if text in seen else first)
        seen.add(text)
        for number in range(tokens):
            time.sleep(each if number else 0)
            event(handler, delta(content="x"))
        event(handler, delta("length"))
        event(handler, usage(len(text.split()), tokens))
        handler.chunk(b"data: [DONE]\n\n")
        handler.wfile.write(b"0\r\n\r\n")

    return behave


def event(handler: Handler, data: object) -> None:
    handler.chunk(f"data: {json.dumps(data)}\n\n".encode())


def opened(server: Server) -> Callable[[], contextlib.AbstractContextManager[Connection]]:
    @contextlib.contextmanager
    def connect() -> Iterator[Connection]:
        host = Host("gw1", "127.0.0.1", connection="local")
        with contextlib.closing(
            tunnel.http_connection(host, "127.0.0.1", server.server_address[1], pytest.fail)
        ) as made:
            yield made

    return connect


def test_rates_are_those_of_the_engine() -> None:
    with serving(paced(0.2, 0.02)) as server, opened(server)() as connection:
        found = load.cold(connection, MODEL, LOAD)
        prompts = [body["messages"][0]["content"] for body in server.asked]
    # A machine that is busy makes them slower, and nothing makes them faster.
    assert 10 < found.decode <= 50.5
    assert 0.2 <= found.first < 1
    assert found.prefill == pytest.approx(len(prompts[0].split()) / found.first, rel=0.5)
    assert found.prompt_tokens == len(prompts[0].split())
    # No prompt is the begin of another one.
    assert len({prompt.split()[0] for prompt in prompts}) == 2


def test_a_prompt_that_is_known_is_asked_again() -> None:
    with serving(paced(0.5, 0.001, known=0.01)) as server, opened(server)() as connection:
        assert load.warm(connection, MODEL, LOAD) < 0.4
        assert len(server.asked) == 1 + LOAD.rounds
        assert len({body["messages"][0]["content"] for body in server.asked}) == 1


def test_streams_are_asked_together_and_counted_together() -> None:
    with serving(paced(0.1, 0.05)) as server:
        found = load.together(opened(server), MODEL, LOAD, 3)
        assert len(server.asked) == 3
    assert found.decode > 21  # one alone would make 20


def at_once(handler: Handler, body: dict[str, Any]) -> None:
    """Takes 0.1 s to read and 0.02 s for a token, and sends all of them together, as a fast engine does."""
    tokens = min(8, body["max_tokens"])
    handler.send_response(200)
    handler.send_header("Content-Type", "text/event-stream")
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    time.sleep(0.1 + 0.02 * tokens)
    said = [delta(content="x" * tokens), delta("length"), usage(20, tokens)]
    handler.chunk("".join(f"data: {json.dumps(one)}\n\n" for one in said).encode() + b"data: [DONE]\n\n")
    handler.wfile.write(b"0\r\n\r\n")


@pytest.mark.parametrize("streams", [1, 3])
def test_an_answer_that_comes_at_once_is_held_against_one_of_one_token(streams: int) -> None:
    with serving(at_once) as server, opened(server)() as connection:
        found = load.cold(connection, MODEL, LOAD) if streams == 1 else load.together(opened(server), MODEL, LOAD, 3)
    assert 20 * streams < found.decode < 120 * streams
    assert 0.12 <= found.first < 0.2 and found.prefill and found.prefill < 170 * streams


def test_of_streams_that_fail_the_reason_is_told() -> None:
    def bad(handler: Handler, _: dict[str, Any]) -> None:
        handler.json({"error": {"message": "too many requests"}}, 503)

    with serving(bad) as server, pytest.raises(HostFailedError, match=r"0 of 2 streams were answered: .*too many"):
        load.together(opened(server), MODEL, LOAD, 2)


@pytest.mark.parametrize(("context", "per_word", "words"), [(4096, 1.0, 3702), (4096, 2.0, 1851), (100, 1.0, 25)])
def test_a_full_context_is_filled_and_not_exceeded(context: int, per_word: float, words: int) -> None:
    with serving(paced(0, 0)) as server, opened(server)() as connection:
        load.full(connection, MODEL, LOAD, context, per_word)
        text = server.asked[0]["messages"][0]["content"]
    asked = len(text.split()) - len(load._ASK.split()) - 1
    assert asked == words
    assert asked * per_word + LOAD.tokens < context


@pytest.mark.parametrize(("context", "per_word"), [(1 << 60, 1.0), (4096, 0.001), (1 << 60, 1e-9)])
def test_what_a_host_says_of_its_context_makes_no_prompt_longer_than_any_context(
    context: int, per_word: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(load, "prompt", lambda words, _tokens: asked.append(words))
    monkeypatch.setattr(load, "asked", lambda *_: None)
    connection: Any = None
    load.full(connection, MODEL, LOAD, context, per_word)
    assert 0 < asked[0] <= min(context, 131_072)


def answered(seconds: float, first: float | None, made: int | None, read: int | None = 10) -> Answer:
    return Answer("b", "b", True, True, "", read, made, "usage", seconds, first)


def test_an_engine_without_usage_has_no_rate_of_reading() -> None:
    found = load.rates([[answered(1.0, 0.5, 6, None)]])
    assert (found.decode, found.prefill, found.prompt_tokens) == (10.0, None, None)


@pytest.mark.parametrize("group", [[answered(1.0, 0.5, 1)], [answered(1.0, 0.5, None)], [answered(0.5, 0.5, 40)]])
def test_too_few_tokens_make_no_rate(group: list[Answer]) -> None:
    with pytest.raises(HostFailedError, match="needed more to tell a speed from"):
        load.rates([group])
