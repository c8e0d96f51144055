"""The bodies of the answers: OpenAI's chat completion, its stream, and the /reasoning answer."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Collection
from typing import Any

from phi4_engine import chat
from phi4_engine.errors import ApiError
from phi4_engine.runs import Run

WAITING = b": waiting\n\n"
"""A comment, which every reader of server-sent events skips."""


class Envelope:
    """What every chunk of one answer has in common. `tools`: the names of the functions that may be called.

    Of several calls `single` gives the first alone: a client that asked for this runs no other.
    """

    def __init__(
        self, answer_id: str, model: str, fingerprint: str, tools: Collection[str] = (), *, single: bool = False
    ) -> None:
        self._tools = tools
        self._most = 1 if single else None
        self._common = {"id": answer_id, "created": int(time.time()), "model": model, "system_fingerprint": fingerprint}

    def whole(self, text: str, run: Run) -> dict[str, Any]:
        """A chat.completion."""
        calls = self.calls(run)
        message: dict[str, Any] = {
            "role": "assistant",
            "content": None if calls and not text else text + _unparsed(run, calls),
            "refusal": None,
            "annotations": [],
        }
        if calls:
            message["tool_calls"] = calls
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _reason(run, calls)}
        return {**self._common, "object": "chat.completion", "choices": [choice], "usage": run.usage()}

    def calls(self, run: Run) -> list[dict[str, Any]]:
        """The tool calls of a finished run."""
        return chat.tool_calls(run.finished.tool_text if run.finished else None, self._tools)[: self._most]

    def chunk(self, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        """A chat.completion.chunk."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return {**self._common, "object": "chat.completion.chunk", "choices": [choice]}

    def usage_chunk(self, run: Run) -> dict[str, Any]:
        """The last chunk of a stream that asked for usage: no choices."""
        return {**self._common, "object": "chat.completion.chunk", "choices": [], "usage": run.usage()}


async def collect(run: Run) -> str:
    """The whole text of a run, which is finished after this."""
    await run.start()
    return "".join([text async for text in run.texts()])


async def sse(run: Run, envelope: Envelope, *, include_usage: bool) -> AsyncIterator[bytes]:
    """Server-sent events: a comment at once, then role, text, the finish, usage if asked for, [DONE].

    The comment is the first byte for a client and its proxies, however long the queue and the prompt are. A failure
    after it is an event with an error object and no [DONE]: the answer was not completed.
    """
    yield WAITING
    try:
        await run.start()
        yield _event(envelope.chunk({"role": "assistant", "content": "", "refusal": None}))
        async for text in run.texts():
            yield _event(envelope.chunk({"content": text}))
        calls = envelope.calls(run)
        if rest := _unparsed(run, calls):
            yield _event(envelope.chunk({"content": rest}))
        if calls:
            yield _event(envelope.chunk({"tool_calls": [{"index": at, **call} for at, call in enumerate(calls)]}))
        yield _event(envelope.chunk({}, _reason(run, calls)))
        if include_usage:
            yield _event(envelope.usage_chunk(run))
        yield b"data: [DONE]\n\n"
    except ApiError as error:
        yield _event(error.body())


def _unparsed(run: Run, calls: list[dict[str, Any]]) -> str:
    """What is no call of an offered function is given as text: better than an empty answer."""
    text = run.finished.tool_text if run.finished else None
    return text if text and not calls else ""


def _reason(run: Run, calls: list[dict[str, Any]]) -> str:
    reason = run.finished.reason if run.finished else "stop"
    return "tool_calls" if calls and reason == "stop" else reason


def _event(body: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"
