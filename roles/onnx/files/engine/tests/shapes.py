"""What tests ask of the fake worker, and how they look at what comes back."""

from __future__ import annotations

import json
from typing import Any

from client import Answer, Engine, Stream

TOOL = {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": {"type": "object"}}}


def script(*say: str, **fields: Any) -> str:
    """A user message that tells the fake what to answer."""
    return json.dumps({"say": list(say), **fields})


def shown(answer: Answer) -> Any:
    """The messages that reached the model: the fake answers plain text with them."""
    return json.loads(answer.json()["choices"][0]["message"]["content"])


def given(engine: Engine, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The object of an answer that is none of an error."""
    answer = engine.post(path, body)
    assert answer.status == 200, answer.body
    found = answer.json()
    assert isinstance(found, dict)
    return found


def streamed(engine: Engine, path: str, body: dict[str, Any]) -> list[Any]:
    """The events of a whole stream."""
    stream = Stream(engine.port, {**body, "stream": True}, path)
    try:
        assert stream.response.status == 200
        return list(stream.events())
    finally:
        stream.close()


def error(answer: Answer) -> dict[str, Any]:
    """The error object, which must have OpenAI's four keys and no others."""
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert list(body) == ["error"]
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert isinstance(body["error"], dict)
    return body["error"]


def events(engine: Engine, content: str, **fields: Any) -> list[Any]:
    """The events of a streamed answer, read to the end."""
    stream = engine.stream(content, **fields)
    try:
        assert stream.response.status == 200
        assert stream.response.getheader("content-type", "").startswith("text/event-stream")
        return list(stream.events())
    finally:
        stream.close()
