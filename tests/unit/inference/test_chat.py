"""A question of `ask` to an engine that does something odd: what is shown of it, and how it ends."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from phi4_edge.errors import HostFailedError
from phi4_edge.inference import client
from phi4_edge.inventory import Host
from phi4_edge.ssh import tunnel
from tests.unit.inference.standin_openai import MODEL, Handler, delta, serving, usage

pytestmark = pytest.mark.usefixtures("believed")

NAMED = f"{MODEL}:latest"
Behaviour = Callable[[Handler, dict[str, Any]], None]


@contextlib.contextmanager
def asked(behave: Behaviour, models: tuple[str, ...] = (MODEL,)) -> Iterator[tunnel.Connection]:
    """A connection to an engine with this behaviour, not open yet."""
    with serving(behave, models) as server:
        way = tunnel.http_connection(
            Host("gw1", connection="local"), "127.0.0.1", server.server_address[1], pytest.fail
        )
        with contextlib.closing(way) as connection:
            yield connection


def answer(behave: Behaviour, max_tokens: int | None = 20, temperature: float | None = None) -> list[str]:
    with asked(behave) as connection:
        name = client.model(connection, MODEL, strictly=True)
        return list(client.chat(connection, name, "1 + 1?", max_tokens, temperature, 5))


@pytest.mark.parametrize(
    ("tokens", "temperature", "more"),
    [(None, None, {}), (7, 0.0, {"max_tokens": 7, "temperature": 0.0}), (7, None, {"max_tokens": 7})],
)
def test_only_what_was_chosen_is_asked_for(tokens: int | None, temperature: float | None, more: dict[str, Any]) -> None:
    def behave(handler: Handler, body: dict[str, Any]) -> None:
        messages = [{"role": "user", "content": "1 + 1?"}]
        assert body == {"model": MODEL, "messages": messages, "stream": True, **more}
        handler.events(delta(role="assistant"), delta(content="tw"), delta(content="o"), delta("stop"), usage(9, 2))

    assert "".join(answer(behave, tokens, temperature)) == "two"


def test_reasoning_and_calls_are_no_part_of_what_is_shown() -> None:
    call = {"index": 0, "function": {"name": "area", "arguments": "{}"}}
    parts = [delta(reasoning_content="well, "), delta(content="two"), delta(tool_calls=[call]), delta(content=".")]
    assert "".join(answer(lambda handler, _: handler.events(*parts))) == "two."


@pytest.mark.parametrize(
    ("behave", "shown", "error"),
    [
        (lambda h, _: h.events(delta(content="half"), delta("stop"), done=False), "half", "ended in the middle"),
        (lambda h, _: h.events(delta(content="x"), {"error": {"message": "worker died"}}), "x", "200: worker died"),
        (lambda h, _: h.events({"object": "error", "message": "too long"}), "", "HTTP 200: too long"),
        (lambda h, _: h.json({"error": {"message": "out of memory"}}, 500), "", "HTTP 500: out of memory"),
        (lambda h, _: h.body(b"<html>", "text/html", 502), "", "HTTP 502: without a reason"),
        (lambda h, _: h.body(b"<html>", "text/html"), "", "ended in the middle; see journalctl"),
    ],
)
def test_what_came_stands_and_the_rest_is_an_error(behave: Behaviour, shown: str, error: str) -> None:
    came = []
    with asked(behave) as connection, pytest.raises(HostFailedError, match=error):
        for piece in client.chat(connection, MODEL, "1 + 1?", 20, None, 5):
            came.append(piece)
    assert "".join(came) == shown


def test_an_engine_that_closes_after_every_answer_is_reached_anew() -> None:
    def behave(handler: Handler, _: dict[str, Any]) -> None:
        handler.protocol_version = "HTTP/1.0"  # no answer leaves the connection open
        handler.close_connection = True
        handler.events(delta(content="two"))

    with asked(behave) as connection:
        for _ in range(3):
            assert "".join(client.chat(connection, MODEL, "1 + 1?", 20, None, 5)) == "two"
            assert connection.sock is None


@pytest.mark.parametrize(
    ("wanted", "strictly", "found"),
    [
        (MODEL, True, f"{MODEL}:latest"),
        (MODEL, False, f"{MODEL}:latest"),
        ("other", False, "first"),
        ("", False, "first"),
    ],
)
def test_the_wanted_model_else_the_first_is_asked(wanted: str, strictly: bool, found: str) -> None:
    with asked(lambda *_: None, ("first", NAMED)) as connection:
        assert client.model(connection, wanted, strictly) == found


def test_a_list_of_models_has_a_deadline_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "LIST_SECONDS", 0.0)
    with asked(lambda *_: None) as connection, pytest.raises((HostFailedError, http.client.HTTPException)) as caught:
        client.model(connection, MODEL, strictly=True)
    assert str(caught.value) == "no list of models: no end within 0 s"
