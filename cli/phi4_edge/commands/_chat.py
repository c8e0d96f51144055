"""One chat with the service of a host over an open connection: health or models, then an answer as it comes."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

from phi4_edge.core import serving
from phi4_edge.errors import HostFailedError

# A line of the event stream holds one token; an error body is short. More than this is not from our engine.
MAX_LINE = 64 * 1024


def health(connection: http.client.HTTPConnection, engine: str) -> serving.Said:
    """What the engine says of itself. Raises HostFailedError when another one listens there, OSError without any."""
    connection.request("GET", serving.ENGINES[engine].health)
    response = connection.getresponse()
    said = serving.understood(engine, response.status, response.read(MAX_LINE))
    response.read()
    if said is None:
        raise HostFailedError(f"found HTTP {response.status} without a health report on the port; needed {engine}")
    return said


def model(connection: http.client.HTTPConnection, wanted: str, strictly: bool) -> str:
    """The model to ask, as the engine lists it: the wanted one, else unless `strictly` the first.

    Every engine lists its models alike. Raises HostFailedError when what listens there is none, OSError without any.
    """
    connection.request("GET", serving.MODELS)
    response = connection.getresponse()
    names = serving.listed(response.read(MAX_LINE))
    response.read()
    if response.status != http.HTTPStatus.OK or not names:
        raise HostFailedError(f"found HTTP {response.status} without a list of models on the port; needed an engine")
    found = serving.choose_model(names, wanted) or ("" if strictly else names[0])
    if not found:
        raise HostFailedError(f"found the models {', '.join(names)[:300]}, needed {wanted}")
    return found


def ask(
    connection: http.client.HTTPConnection, model: str, question: str, max_tokens: int | None, temperature: float | None
) -> Iterator[str]:
    """The answer, piece by piece as the model makes it. Raises HostFailedError with the engine's own message."""
    wish: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": question}], "stream": True}
    if max_tokens is not None:
        wish["max_tokens"] = max_tokens
    if temperature is not None:
        wish["temperature"] = temperature
    connection.request("POST", "/v1/chat/completions", json.dumps(wish).encode(), {"Content-Type": "application/json"})
    response = connection.getresponse()
    if response.status != 200:
        raise HostFailedError(_complaint(_object(response.read(MAX_LINE)), response.status))
    yield from _pieces(response)


def _pieces(response: http.client.HTTPResponse) -> Iterator[str]:
    """The text of each server-sent event until [DONE]."""
    while line := response.readline(MAX_LINE):
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            return
        event = _object(data)
        if "error" in event:
            raise HostFailedError(_complaint(event, response.status))
        choices = event.get("choices")
        first = choices[0] if isinstance(choices, list) and choices else {}
        delta = first.get("delta") if isinstance(first, dict) else None
        text = delta.get("content") if isinstance(delta, dict) else None
        if isinstance(text, str):
            yield text
    raise HostFailedError("the answer ended in the middle; see journalctl -u phi4-edge on the host")


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _complaint(body: dict[str, Any], status: int) -> str:
    error = body.get("error")
    message = error.get("message") if isinstance(error, dict) else None
    return f"the engine answered HTTP {status}: {message or 'without a reason'}"
