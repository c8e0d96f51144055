"""One chat with the service of a host over an open connection: health or models, then an answer as it comes."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

from phi4_edge.core.engines import serving
from phi4_edge.core.engines.table import ENGINES
from phi4_edge.errors import HostFailedError
from phi4_edge.inference import reading
from phi4_edge.inference.completion import complaint, read


def health(connection: http.client.HTTPConnection, engine: str) -> serving.Said:
    """What the engine says of itself; `loading` while it answers without its model.

    Raises HostFailedError when another one listens there, OSError without any.
    """
    connection.request("GET", ENGINES[engine].serving.health)
    response = connection.getresponse()
    said = serving.understood(engine, response.status, reading.body(response, reading.MOST_LIST))
    if said is None:
        raise HostFailedError(f"found HTTP {response.status} without a health report on the port; needed {engine}")
    place = ENGINES[engine].serving.loaded
    return said if not place or said.status != "healthy" or _loaded(connection, place) else serving.Said("loading")


def _loaded(connection: http.client.HTTPConnection, place: str) -> bool:
    connection.request("GET", place)
    response = connection.getresponse()
    found = serving.holds_model(reading.body(response, reading.MOST_LIST))
    if response.status != http.HTTPStatus.OK or found is None:
        raise HostFailedError(f"found HTTP {response.status} without a list of loaded models on the port")
    return found


def model(connection: http.client.HTTPConnection, wanted: str, strictly: bool) -> str:
    """The model to ask, as the engine lists it: the wanted one, else unless `strictly` the first.

    Every engine lists its models alike. Raises HostFailedError when what listens there is none, OSError without any.
    """
    connection.request("GET", serving.MODELS)
    response = connection.getresponse()
    names = serving.listed(reading.body(response, reading.MOST_LIST))
    if response.status != http.HTTPStatus.OK or not names:
        raise HostFailedError(f"found HTTP {response.status} without a list of models on the port; needed an engine")
    found = serving.choose_model(names, wanted) or ("" if strictly else names[0])
    if not found:
        raise HostFailedError(f"found the models {', '.join(names[:20])[:300]}, needed {wanted}")
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
    if response.status != http.HTTPStatus.OK:
        found = read(reading.body(response, reading.MOST_ERROR)) or {}
        raise HostFailedError(f"the engine answered HTTP {response.status}: {complaint(found) or 'without a reason'}")
    yield from _pieces(response, max_tokens)


def _pieces(response: http.client.HTTPResponse, max_tokens: int | None) -> Iterator[str]:
    """The text of each server-sent event until [DONE]."""
    length = 0
    for data in reading.events(response, max_tokens):
        if data == reading.DONE:
            return
        event = read(data) or {}
        if "error" in event:
            why = complaint(event) or "an error without a message"
            raise HostFailedError(f"the engine answered HTTP {response.status}: {why}")
        choices = event.get("choices")
        first = choices[0] if isinstance(choices, list) and choices else {}
        delta = first.get("delta") if isinstance(first, dict) else None
        text = delta.get("content") if isinstance(delta, dict) else None
        if isinstance(text, str):
            length += len(text)
            reading.check_text(length)
            yield text
    raise HostFailedError("the answer ended in the middle; see journalctl -u phi4-edge on the host")
