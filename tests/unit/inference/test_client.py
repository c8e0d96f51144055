"""One exchange with an engine that does something odd: what is reported of it, and that it ends."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from phi4_edge.errors import HostFailedError
from phi4_edge.inference import client, completion
from phi4_edge.inference.prompts import Prompt, Tool
from phi4_edge.inference.verdict import Answer
from phi4_edge.inventory import Host
from phi4_edge.ssh import tunnel
from phi4_edge.ssh.wire import Open
from tests.unit.inference.standin_openai import MODEL, Handler, Server, delta, message, serving, usage

pytestmark = pytest.mark.usefixtures("believed")

AREA = Tool(
    "area",
    "Area of a circle",
    {"type": "object", "properties": {"radius": {"type": "number"}}, "required": ["radius"]},
)
PLAIN = Prompt("p", "math", "1 + 1?", "Be brief.", 20, 0.3)
TOOLS = Prompt("t", "tools", "Area?", "", 20, 0.0, (AREA,))


def reach(server: Server) -> tunnel.Connection:
    host = Host("gw1", connection="local")
    return tunnel.http_connection(host, "127.0.0.1", server.server_address[1], pytest.fail)


def run(
    behave: Callable[[Handler, dict[str, Any]], None], prompt: Prompt = PLAIN, stream: bool = True, seconds: float = 5
) -> Answer:
    with serving(behave) as server, contextlib.closing(reach(server)) as connection:
        assert client.model(connection, MODEL, strictly=True) == MODEL
        return client.ask(connection, prompt, MODEL, stream, seconds)


def call(arguments: object = '{"radius": 5}', name: object = "area", **extra: object) -> dict[str, Any]:
    return {"id": "1", "type": "function", "function": {"name": name, "arguments": arguments}, **extra}


def test_a_stream_is_measured_and_counted_by_its_usage() -> None:
    def behave(handler: Handler, body: dict[str, Any]) -> None:
        assert body["stream_options"] == {"include_usage": True}
        assert body["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1 + 1?"}]
        assert (body["model"], body["max_tokens"], body["temperature"]) == (MODEL, 20, 0.3)
        handler.events(delta(role="assistant"), delta(content="tw"), delta(content="o"), delta("stop"), usage(9, 40))

    got = run(behave)
    assert (got.answered, got.text, got.finish_reason, got.error) == (True, "two", "stop", "")
    assert (got.prompt_tokens, got.completion_tokens, got.tokens_from) == (9, 40, "usage")
    assert got.seconds is not None
    assert got.first_token_seconds is not None
    assert got.first_token_seconds <= got.seconds
    assert got.tokens_per_second is not None
    assert got.tool_call is None


@pytest.mark.parametrize("count", [10**400, 1 << 61, -1, True, 9.5, "9"])
def test_a_count_that_cannot_be_is_none(count: object) -> None:
    assert completion._tokens(count, None) is None
    assert completion._tokens(9, None) == 9


def test_without_usage_the_events_are_counted_and_marked() -> None:
    got = run(lambda handler, _: handler.events(*[delta(content="x")] * 7, delta("length")))
    assert (got.completion_tokens, got.tokens_from, got.prompt_tokens) == (7, "events", None)
    assert got.finish_reason == "length"


def test_a_plain_answer_without_usage_has_no_count() -> None:
    got = run(lambda handler, _: handler.json(message(count=None, content="two")), stream=False)
    assert (got.answered, got.completion_tokens, got.tokens_from, got.tokens_per_second) == (True, None, None, None)


PAGE = b"<html><script>alert(1)</script></html>"


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("behave", "error"),
    [
        (lambda h, _: h.body(PAGE, "text/html"), "found text/html in the answer"),
        (lambda h, _: h.body(PAGE, "text/html", 502), "the engine answered HTTP 502: without a reason"),
        (
            lambda h, _: h.json({"error": {"message": "out of memory"}}, 500),
            "the engine answered HTTP 500: out of memory",
        ),
        (lambda h, _: h.json({"error": "no tools"}, 400), "the engine answered HTTP 400: no tools"),
        (
            lambda h, _: h.json({"object": "error", "message": "too \x1b[31mlong"}, 400),
            "the engine answered HTTP 400: too ",
        ),
        (lambda h, _: h.json({"error": {"message": 7}}, 404), "the engine answered HTTP 404: 7"),
        (lambda h, _: h.body(b"", "application/json"), "found application/json in the answer"),
        (lambda h, _: h.json(["no", "object"]), "found application/json in the answer"),
    ],
)
def test_what_is_no_completion_is_named(
    behave: Callable[[Handler, dict[str, Any]], None], error: str, stream: bool
) -> None:
    got = run(behave, stream=stream)
    assert not got.answered
    assert error in got.error
    assert "\x1b" not in got.error
    assert got.seconds is not None


@pytest.mark.parametrize(
    ("behave", "error"),
    [
        (lambda h, _: h.events(delta(content="half"), done=False), "ended in the middle"),
        (lambda h, _: h.events(delta(content="x"), {"error": {"message": "worker died"}}), "worker died"),
        (lambda h, _: h.events(delta(role="assistant"), delta("stop")), "not one token"),
        (lambda h, _: h.events("not json", '{"choices": 7}', '{"choices": [null]}'), "not one token"),
    ],
)
def test_a_stream_that_is_cut_or_complains_is_no_answer(
    behave: Callable[[Handler, dict[str, Any]], None], error: str
) -> None:
    got = run(behave)
    assert not got.answered
    assert error in got.error


def test_a_token_without_text_is_an_answer() -> None:
    assert run(lambda handler, _: handler.events(delta("stop"), usage(4, 1))).answered


def test_an_engine_that_never_answers_runs_into_the_deadline() -> None:
    release = threading.Event()
    got = run(lambda *_: release.wait(20) and None, seconds=0.3)
    release.set()
    assert (got.answered, got.error) == (False, "no complete answer within 0.3 s")


def test_an_engine_that_drips_runs_into_the_deadline_too() -> None:
    def behave(handler: Handler, _: dict[str, Any]) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(1000):
                handler.chunk(b"data: ")  # never a whole line
                time.sleep(0.02)

    start = time.monotonic()
    got = run(behave, seconds=0.4)
    assert got.error == "no complete answer within 0.4 s"
    assert time.monotonic() - start < 10  # also on a busy machine


def test_an_answer_with_more_pieces_than_tokens_is_cut() -> None:
    def behave(handler: Handler, body: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            handler.events(*[delta(content="x" * 500)] * 100)

    assert run(behave).error.startswith("the answer has more than 36 pieces, needed at most 20 tokens")


def test_stopping_ends_what_is_under_way() -> None:
    under_way, release = Open(), threading.Event()
    with serving(lambda *_: release.wait(20) and None) as server:
        connection = reach(server)
        with contextlib.closing(connection), under_way.using(connection):
            client.model(connection, MODEL, strictly=True)
            stopper = threading.Timer(0.2, under_way.cut)
            stopper.start()
            start = time.monotonic()
            got = client.ask(connection, PLAIN, MODEL, True, 20)
            stopper.join()
        release.set()
    assert not got.answered
    assert time.monotonic() - start < 10  # also on a busy machine


@pytest.mark.parametrize(
    ("said", "state", "detail"),
    [
        ([call()], "well formed", ""),
        ([call("[5]")], "malformed", "arguments: found array, needed object"),
        ([call('{"radius": "5"}')], "malformed", "arguments.radius: found string, needed number"),
        ([call("{}")], "malformed", "arguments: radius is missing"),
        ([call("{radius: 5}")], "malformed", "the arguments are not JSON"),
        ([call('{"radius": NaN}')], "malformed", "the arguments are not JSON"),
        ([call({"radius": 5})], "malformed", "the arguments are a JSON dict, needed text"),
        ([call([5])], "malformed", "the arguments are a JSON list, needed text"),
        ([call(name="volume")], "malformed", "the name is 'volume', needed area"),
        ([call(name=None)], "malformed", "the name is ''"),
        ([call(), call("{}")], "malformed", "radius is missing"),
        ([{"function": "area"}], "malformed", "the name is ''"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_a_tool_call_is_judged_the_same_streamed_and_plain(
    said: list[dict[str, Any]], state: str, detail: str, stream: bool
) -> None:
    def behave(handler: Handler, body: dict[str, Any]) -> None:
        assert body["tools"] == [AREA.to_dict()]
        assert body["tool_choice"] == "auto"
        if body["stream"]:
            parts = [delta(tool_calls=[{**one, "index": index}]) for index, one in enumerate(said)]
            handler.events(*parts, delta("tool_calls"), usage(1, 9))
        else:
            handler.json(message("tool_calls", content=None, tool_calls=said))

    got = run(behave, TOOLS, stream)
    assert got.answered, got.error
    assert got.tool_call is not None
    assert got.tool_call.state == state
    assert detail in got.tool_call.detail


def test_a_streamed_call_is_put_together_from_its_pieces() -> None:
    pieces = [
        {"index": 0, "id": "1", "type": "function", "function": {"name": "area", "arguments": ""}},
        *({"index": 0, "function": {"arguments": part}} for part in ('{"rad', 'ius": ', "5}")),
    ]
    got = run(lambda h, _: h.events(*(delta(tool_calls=[piece]) for piece in pieces), delta("tool_calls")), TOOLS)
    assert got.tool_call is not None
    assert (got.tool_call.state, got.tool_call.name, got.tool_call.arguments) == (
        "well formed",
        "area",
        '{"radius": 5}',
    )


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ('<|tool_call|>[{"name": "area", "arguments": {"radius": 5}}]<|/tool_call|>', "in the text"),
        ('functools[{"name": "area", "arguments": {"radius": 5}}]', "in the text"),
        ('[{"name": "area", "arguments": {"radius": 5}}]', "in the text"),
        ('{"name": "area", "parameters": {}}', "in the text"),
        ("The area is 78.5.", "none"),
        ("[1, 2]", "none"),
    ],
)
def test_a_call_that_stands_in_the_text_is_no_call(text: str, state: str) -> None:
    got = run(lambda handler, _: handler.json(message(content=text)), TOOLS, stream=False)
    assert got.tool_call is not None
    assert got.tool_call.state == state


@pytest.mark.parametrize(
    ("models", "message"),
    [((), "without a list of models"), (("other",), r"found the models other, needed phi-4-mini-instruct")],
)
def test_another_model_is_not_asked(models: tuple[str, ...], message: str) -> None:
    with (
        serving(lambda *_: None, models) as server,
        contextlib.closing(reach(server)) as connection,
        pytest.raises(HostFailedError, match=message),
    ):
        client.model(connection, MODEL, strictly=True)


def test_ollamas_tag_is_the_same_model() -> None:
    named = f"{MODEL}:latest"
    with serving(lambda *_: None, (named,)) as server, contextlib.closing(reach(server)) as connection:
        assert client.model(connection, MODEL, strictly=True) == named
