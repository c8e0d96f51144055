"""One chat completion over a connection that is open: sent, read to its end or to its bounds, and timed."""

from __future__ import annotations

import contextlib
import http.client
import json
import time

from phi4_edge.core.engines import serving
from phi4_edge.errors import HostFailedError
from phi4_edge.inference import reading
from phi4_edge.inference import verdict as verify
from phi4_edge.inference.completion import Completion, complaint, read
from phi4_edge.inference.prompts import Prompt
from phi4_edge.inference.verdict import Answer
from phi4_edge.ssh.tunnel import Connection
from phi4_edge.ssh.wire import OverBudget

END_SECONDS = 2.0  # for the end of a body behind the last event: then the connection is made anew
_PATH = "/v1/chat/completions"


def open_up(connection: Connection, wanted: str, seconds: float) -> str:
    """The connection is open and has carried an answer; returns the model's name as the engine lists it.

    Without a `wanted` model it is the first one of the list.
    Measured times then hold no start of ssh. Raises HostFailedError when what listens is not the engine, OSError or
    HTTPException without any.
    """
    connection.connect()
    connection.allow(seconds, reading.MOST_HEAD + reading.MOST_LIST)
    try:
        connection.request("GET", serving.MODELS)
        response = connection.getresponse()
        names = serving.listed(reading.body(response, reading.MOST_LIST))
    except OverBudget as error:
        raise HostFailedError(f"no list of models: {error}") from error
    if response.status != http.HTTPStatus.OK or not names:
        raise HostFailedError(f"found HTTP {response.status} without a list of models at {serving.MODELS}")
    model = serving.choose_model(names, wanted) if wanted else names[0]
    if model is None:
        raise HostFailedError(f"found the models {', '.join(names[:20])[:200]}, needed {wanted}")
    return model


def ask(connection: Connection, prompt: Prompt, model: str, stream: bool, seconds: float) -> Answer:
    """The answer to one prompt, whatever became of it. The connection is closed when more cannot be said over it."""
    if connection.sock is None:  # the engine closes after every answer
        connection.connect()
    start = time.monotonic()
    budget = connection.allow(seconds, reading.wire_bytes(prompt.max_tokens))
    try:
        said, first, took = _exchange(connection, prompt, model, stream)
    except (OSError, http.client.HTTPException, HostFailedError) as error:
        connection.close()
        late = budget.over and not budget.remaining
        why = f"no complete answer within {seconds:g} s" if late else _reason(error)
        return verify.unanswered(prompt, stream, why, time.monotonic() - start)
    return verify.answer(prompt, stream, said, took - start, first and first - start)


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
    headers = {"Content-Type": "application/json", "Accept": "text/event-stream" if stream else "application/json"}
    connection.request("POST", _PATH, json.dumps(prompt.request(model, stream)).encode(), headers)
    response = connection.getresponse()
    if response.status != http.HTTPStatus.OK:
        reason = complaint(read(reading.body(response, reading.MOST_ERROR)) or {}) or "without a reason"
        raise HostFailedError(f"the engine answered HTTP {response.status}: {reason}")
    if stream:
        said, first = _stream(response, prompt.max_tokens)
        took = time.monotonic()
        _finish(connection, response)
        return said, first, took
    found = read(reading.body(response, reading.MOST_BODY))
    if found is None or not (found.get("choices") or complaint(found)):
        raise HostFailedError(f"found {_kind(response)} in the answer, needed a chat completion")
    said = Completion(done=True)
    said.take(found, "message")
    return said, None, time.monotonic()


def _stream(response: http.client.HTTPResponse, most_tokens: int) -> tuple[Completion, float | None]:
    said, first, events = Completion(), None, 0
    for data in reading.events(response, most_tokens):
        events += 1
        if data == reading.DONE:
            said.done = True
            break
        if (event := read(data)) is not None and said.take(event, "delta") and first is None:
            first = time.monotonic()
        reading.check_text(said.length)
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


def _kind(response: http.client.HTTPResponse) -> str:
    return (response.headers.get_content_type() or "nothing")[:60]
