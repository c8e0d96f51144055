"""The one client of the engines' API: how an engine is, what it serves, and a chat completion, read within bounds.

All over a connection to the engine of one host, which is opened where it is not open: some engines close it after
every answer. Every exchange has a deadline and a bound in bytes of its own.
"""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from phi4_edge.core.engines import serving
from phi4_edge.core.engines.table import ENGINES
from phi4_edge.errors import HostFailedError
from phi4_edge.inference import reading, verdict
from phi4_edge.inference.completion import Completion, complaint, read
from phi4_edge.inference.prompts import Prompt
from phi4_edge.inference.verdict import Answer
from phi4_edge.ssh.tunnel import Connection
from phi4_edge.ssh.wire import Budget, OverBudget

LIST_SECONDS = 30.0  # for the list of models: one small answer
END_SECONDS = 2.0  # for the end of a body behind the last event: then the connection is made anew
_CHAT = "/v1/chat/completions"


def health(connection: Connection, engine: str, seconds: float) -> serving.Said:
    """What the engine says of itself; `loading` while it answers without its model.

    Raises HostFailedError when another one listens there, OSError or HTTPException without any.
    """
    _open(connection, seconds, 2 * (reading.MOST_HEAD + reading.MOST_LIST))
    status, found = _get(connection, ENGINES[engine].serving.health)
    said = serving.understood(engine, status, found)
    if said is None:
        raise HostFailedError(f"found HTTP {status} without a health report on the port; needed {engine}")
    place = ENGINES[engine].serving.loaded
    return said if not place or said.status != "healthy" or _loaded(connection, place) else serving.Said("loading")


def _loaded(connection: Connection, place: str) -> bool:
    status, body = _get(connection, place)
    found = serving.holds_model(body)
    if status != http.HTTPStatus.OK or found is None:
        raise HostFailedError(f"found HTTP {status} without a list of loaded models on the port")
    return found


def model(connection: Connection, wanted: str, strictly: bool) -> str:
    """The model to ask, as the engine lists it: the wanted one, else unless `strictly` the first.

    Every engine lists its models alike. Raises HostFailedError when what listens is none, or has another model, OSError
    or HTTPException when nothing does.
    """
    _open(connection, LIST_SECONDS, reading.MOST_HEAD + reading.MOST_LIST)
    try:
        status, found = _get(connection, serving.MODELS)
    except OverBudget as error:
        raise HostFailedError(f"no list of models: {error}") from error
    if status == http.HTTPStatus.UNAUTHORIZED:
        raise HostFailedError("the key was refused (HTTP 401): show which there are with phi4-edge key list")
    if status == http.HTTPStatus.FORBIDDEN:
        said = complaint(read(found) or {}) or "without a reason"
        how = " Give it with --client-certificate." if b"client_certificate" in found else ""
        raise HostFailedError(f"the gateway answered HTTP 403: {said}{how}")
    names = serving.listed(found)
    if status != http.HTTPStatus.OK or not names:
        raise HostFailedError(f"found HTTP {status} without a list of models on the port; needed an engine")
    chosen = serving.choose_model(names, wanted) or ("" if strictly else names[0])
    if not chosen:
        raise HostFailedError(f"found the models {', '.join(names[:20])[:300]}, needed {wanted}")
    return chosen


def chat(
    connection: Connection,
    model: str,
    question: str,
    max_tokens: int | None,
    temperature: float | None,
    seconds: float,
) -> Iterator[str]:
    """The answer to a question, piece by piece as the model makes it.

    Raises HostFailedError with the engine's own message, OSError or HTTPException when nothing answers or it takes too
    long; what came before stands.
    """
    wish: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": question}], "stream": True}
    if max_tokens is not None:
        wish["max_tokens"] = max_tokens
    if temperature is not None:
        wish["temperature"] = temperature
    _open(connection, seconds, reading.wire_bytes(max_tokens))
    return _pieces(connection, wish, max_tokens)


def _pieces(connection: Connection, wish: Mapping[str, Any], max_tokens: int | None) -> Iterator[str]:
    response, said = _post(connection, wish), Completion()
    for held in _events(response, max_tokens, said):
        if said.error:
            raise HostFailedError(f"the engine answered HTTP {response.status}: {said.error}")
        if held:
            yield said.latest
    if not said.done:
        raise HostFailedError("the answer ended in the middle; see journalctl -u phi4-edge on the host")


def ask(connection: Connection, prompt: Prompt, model: str, stream: bool, seconds: float) -> Answer:
    """The measured answer to one prompt, whatever became of it: the times hold no start of ssh.

    The connection is closed when more cannot be said over it. Raises OSError or HostFailedError when it was not open
    and cannot be opened.
    """
    budget = _open(connection, seconds, reading.wire_bytes(prompt.max_tokens))
    start = connection.now()
    try:
        said, first, took = _exchange(connection, prompt, model, stream)
    except (OSError, http.client.HTTPException, HostFailedError) as error:
        connection.close()
        late = budget.over and not budget.remaining
        why = f"no complete answer within {seconds:g} s" if late else _reason(error)
        return verdict.unanswered(prompt, stream, why, connection.now() - start)
    return verdict.answer(prompt, stream, said, took - start, first and first - start)


def _reason(error: Exception) -> str:
    if isinstance(error, http.client.IncompleteRead):
        return "the answer ended in the middle"
    if isinstance(error, OverBudget):
        return f"the answer has {error}"
    return str(error) or type(error).__name__


def _exchange(
    connection: Connection, prompt: Prompt, model: str, stream: bool
) -> tuple[Completion, float | None, float]:
    """What was said, when its first piece came, and when its last. Raises HostFailedError for what is no completion."""
    response = _post(connection, prompt.request(model, stream))
    if stream:
        said, first = _timed(response, prompt.max_tokens, connection.now)
        took = connection.now()
        _finish(connection, response)
        return said, first, took
    found = read(reading.body(response, reading.MOST_BODY))
    if found is None or not (found.get("choices") or complaint(found)):
        raise HostFailedError(f"found {_kind(response)} in the answer, needed a chat completion")
    said = Completion(done=True)
    said.take(found, "message")
    return said, None, connection.now()


def _timed(
    response: http.client.HTTPResponse, most_tokens: int, now: Callable[[], float]
) -> tuple[Completion, float | None]:
    said, first, events = Completion(), None, 0
    for held in _events(response, most_tokens, said):
        events += 1
        if held and first is None:
            first = now()
    if not events:
        raise HostFailedError(f"found {_kind(response)} in the answer, needed a stream of events")
    return said, first


def _finish(connection: Connection, response: http.client.HTTPResponse) -> None:
    """The connection can be used again, or is closed: the answer is complete, so nothing of this is a fault of it."""
    with contextlib.suppress(OSError, http.client.HTTPException, HostFailedError):
        connection.allow(END_SECONDS, reading.MOST_ERROR)
        reading.body(response, reading.MOST_LINE)
    if not response.isclosed():
        connection.close()


def _open(connection: Connection, seconds: float, most_bytes: int) -> Budget:
    """The connection is open, and what follows has this budget."""
    if connection.sock is None:
        connection.connect()
    return connection.allow(seconds, most_bytes)


def _get(connection: Connection, path: str) -> tuple[int, bytes]:
    """Status and body of a small answer."""
    connection.request("GET", path)
    response = connection.getresponse()
    return response.status, reading.body(response, reading.MOST_LIST)


def _post(connection: Connection, wish: Mapping[str, Any]) -> http.client.HTTPResponse:
    """The answer to a request for a completion, still to be read. Raises HostFailedError with the engine's words."""
    accept = "text/event-stream" if wish["stream"] else "application/json"
    headers = {"Content-Type": "application/json", "Accept": accept}
    connection.request("POST", _CHAT, json.dumps(wish).encode(), headers)
    response = connection.getresponse()
    if response.status != http.HTTPStatus.OK:
        reason = complaint(read(reading.body(response, reading.MOST_ERROR)) or {}) or "without a reason"
        raise HostFailedError(f"the engine answered HTTP {response.status}: {reason}")
    return response


def _events(response: http.client.HTTPResponse, most_tokens: int | None, said: Completion) -> Iterator[bool]:
    """Adds each event to `said`, until [DONE] or the end; yields whether it held text or a part of a call."""
    for data in reading.events(response, most_tokens):
        said.done = data == reading.DONE
        held = not said.done and said.take(read(data) or {}, "delta")
        reading.check_text(said.length)
        yield held
        if said.done:
            return


def _kind(response: http.client.HTTPResponse) -> str:
    return (response.headers.get_content_type() or "nothing")[:60]
