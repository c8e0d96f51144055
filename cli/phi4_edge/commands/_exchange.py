"""One chat completion over a connection that is open: sent, read to its end or to its deadline, and timed."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from phi4_edge.core import serving
from phi4_edge.errors import HostFailedError
from phi4_edge.rollout import verify
from phi4_edge.rollout.completion import Completion, complaint, read
from phi4_edge.rollout.verify import Answer
from phi4_edge.rollout.verify_prompts import Prompt

MOST_BYTES = 4 * 1024 * 1024  # of one answer; the longest honest one is a tenth of it
_PIECE = 64 * 1024
_PATH = "/v1/chat/completions"


class Deadlines:
    """Ends exchanges from outside: each at its own deadline, all of them on Ctrl-C.

    A timeout of the socket is not enough: an engine that sends one byte now and then would never run into it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self.stopped = False

    @contextlib.contextmanager
    def limit(self, connection: http.client.HTTPConnection, seconds: float) -> Iterator[threading.Event]:
        """Within the block the connection breaks after `seconds`; the event then says that it was us."""
        passed = threading.Event()
        wire = connection.sock
        with self._lock:
            self._open.add(wire)

        def cut() -> None:
            passed.set()
            _break(wire)

        timer = threading.Timer(seconds, cut)
        timer.daemon = True
        timer.start()
        try:
            if self.stopped:
                _break(wire)
            yield passed
        finally:
            timer.cancel()
            with self._lock:
                self._open.discard(wire)

    def stop(self) -> None:
        """Every exchange breaks now, and none begins."""
        self.stopped = True
        with self._lock:
            for wire in self._open:
                _break(wire)


def _break(wire: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it has ended already
        wire.shutdown(socket.SHUT_RDWR)


def open_up(connection: http.client.HTTPConnection, wanted: str, seconds: float, deadlines: Deadlines) -> str:
    """The connection is open and has carried an answer; returns the model's name as the engine lists it.

    Without a `wanted` model it is the first one of the list.
    Measured times then hold no start of ssh. Raises HostFailedError when what listens is not the engine, OSError or
    HTTPException without any.
    """
    connection.connect()
    with deadlines.limit(connection, seconds) as passed:
        try:
            connection.request("GET", serving.MODELS)
            response = connection.getresponse()
            body = response.read(MOST_BYTES)
        except (OSError, http.client.HTTPException) as error:
            if passed.is_set():
                raise HostFailedError(f"no list of models within {seconds:g} s") from error
            raise
    names = serving.listed(body)
    if response.status != http.HTTPStatus.OK or not names:
        raise HostFailedError(f"found HTTP {response.status} without a list of models at {serving.MODELS}")
    model = serving.choose_model(names, wanted) if wanted else names[0]
    if model is None:
        raise HostFailedError(f"found the models {', '.join(names)[:200]}, needed {wanted}")
    return model


def ask(
    connection: http.client.HTTPConnection,
    prompt: Prompt,
    model: str,
    stream: bool,
    seconds: float,
    deadlines: Deadlines,
) -> Answer:
    """The answer to one prompt, whatever became of it. The connection is closed when more cannot be said over it."""
    late = f"no complete answer within {seconds:g} s"
    if connection.sock is None:  # the engine closes after every answer
        connection.connect()
    start = time.monotonic()
    with deadlines.limit(connection, seconds) as passed:
        try:
            said, first = _exchange(connection, prompt.request(model, stream), stream)
            took = time.monotonic() - start
        except (OSError, http.client.HTTPException, HostFailedError) as error:
            connection.close()
            why = late if passed.is_set() else _reason(error)
            return verify.unanswered(prompt, stream, why, time.monotonic() - start)
    if passed.is_set():
        connection.close()
        return verify.unanswered(prompt, stream, late, took)
    return verify.answer(prompt, stream, said, took, first and first - start)


def _reason(error: Exception) -> str:
    if isinstance(error, http.client.IncompleteRead):
        return "the answer ended in the middle"
    return str(error) or type(error).__name__


def _exchange(
    connection: http.client.HTTPConnection, body: dict[str, Any], stream: bool
) -> tuple[Completion, float | None]:
    """What was said, and when its first piece came. Raises HostFailedError for an answer that is no completion."""
    headers = {"Content-Type": "application/json", "Accept": "text/event-stream" if stream else "application/json"}
    connection.request("POST", _PATH, json.dumps(body).encode(), headers)
    response = connection.getresponse()
    if response.status == http.HTTPStatus.OK and stream:
        return _stream(response)
    data = response.read(MOST_BYTES)
    found = read(data)
    if response.status != http.HTTPStatus.OK:
        reason = complaint(found or {}) or "without a reason"
        raise HostFailedError(f"the engine answered HTTP {response.status}: {reason}")
    if len(data) == MOST_BYTES:
        raise HostFailedError(f"the answer is longer than {MOST_BYTES} bytes")
    if found is None or not (found.get("choices") or complaint(found)):
        raise HostFailedError(f"found {_kind(response)} in the answer, needed a chat completion")
    said = Completion(done=True)
    said.take(found, "message")
    return said, None


def _stream(response: http.client.HTTPResponse) -> tuple[Completion, float | None]:
    said, first = Completion(), None
    events = 0
    for line in _lines(response):
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        events += 1
        if data == b"[DONE]":
            said.done = True
            response.read(_PIECE)  # the end of the body, so that the connection can be used again
            break
        if (event := read(data)) is not None and said.take(event, "delta") and first is None:
            first = time.monotonic()
    if not events:
        raise HostFailedError(f"found {_kind(response)} in the answer, needed a stream of events")
    return said, first


def _lines(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Lines as they come. Raises HostFailedError for more than any answer holds."""
    rest, total = b"", 0
    while piece := response.read1(_PIECE):
        total += len(piece)
        if total > MOST_BYTES:
            raise HostFailedError(f"the answer is longer than {MOST_BYTES} bytes")
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
    yield rest


def _kind(response: http.client.HTTPResponse) -> str:
    return (response.headers.get_content_type() or "nothing")[:60]
