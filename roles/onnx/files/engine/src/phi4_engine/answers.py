"""The bodies of the answers: OpenAI's chat completion and its stream. What all kinds of answers share is here too."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from phi4_engine import chat
from phi4_engine.errors import ApiError
from phi4_engine.forms import Wish
from phi4_engine.runs import Run
from phi4_engine.wire import Finished, Text, TokenLogprob

WAITING = b": waiting\n\n"
"""A comment, which every reader of server-sent events skips."""


@dataclass
class Content:
    """What an answer says, and the logprobs of its tokens where they were asked for."""

    text: str = ""
    logprobs: list[TokenLogprob] = field(default_factory=list)


class Envelope(Protocol):
    """How the answers to one request are put into bodies."""

    def whole(self, contents: list[Content], run: Run) -> dict[str, Any]:
        """The body of all answers."""

    end: bytes
    """The last bytes of a stream that did not fail."""

    def beginning(self) -> list[dict[str, Any]]:
        """Chunks before the request has its turn."""

    def opening(self, index: int) -> list[dict[str, Any]]:
        """Chunks before anything that this answer says."""

    def more(self, piece: Text) -> list[dict[str, Any]]:
        """Chunks with a piece of an answer."""

    def closing(self, finished: Finished) -> list[dict[str, Any]]:
        """Chunks at the end of an answer."""

    def ending(self, run: Run, *, usage: bool) -> list[dict[str, Any]]:
        """Chunks at the end of all answers. `usage`: whether the request asked for it."""

    def failing(self, error: ApiError) -> dict[str, Any]:
        """The chunk of a failure, which ends the stream."""


class Chunks:
    """What the streams of both kinds of completions have in common."""

    end = b"data: [DONE]\n\n"

    def beginning(self) -> list[dict[str, Any]]:
        """Nothing."""
        return []

    def failing(self, error: ApiError) -> dict[str, Any]:
        """OpenAI's error object."""
        return error.body()


class ChatEnvelope(Chunks):
    """Of a chat completion."""

    def __init__(self, answer_id: str, model: str, fingerprint: str, wish: Wish) -> None:
        self._wish = wish
        self._common = {"id": answer_id, "created": int(time.time()), "model": model, "system_fingerprint": fingerprint}

    def whole(self, contents: list[Content], run: Run) -> dict[str, Any]:
        """A chat.completion."""
        choices = [
            self._choice(content, run.finished[index], told=run.tells_logprobs)
            for index, content in enumerate(contents)
        ]
        return {**self._common, "object": "chat.completion", "choices": choices, "usage": run.usage()}

    def _choice(self, content: Content, finished: Finished, *, told: bool) -> dict[str, Any]:
        calls, text = chat.permitted_calls(self._wish, finished.tool_text), content.text
        message: dict[str, Any] = {
            "role": "assistant",
            "content": None if calls and not text else text + _unparsed(finished, calls),
            "refusal": None,
            "annotations": [],
        }
        if calls:
            message["tool_calls"] = calls
        return {
            "index": finished.index,
            "message": message,
            "logprobs": _told(content.logprobs) if told else None,
            "finish_reason": _reason(finished, calls),
        }

    def opening(self, index: int) -> list[dict[str, Any]]:
        """The role."""
        return [self._chunk(index, {"role": "assistant", "content": "", "refusal": None})]

    def more(self, piece: Text) -> list[dict[str, Any]]:
        """Text, and the logprobs of the tokens that it completes."""
        return [self._chunk(piece.index, {"content": piece.text}, logprobs=piece.logprobs)]

    def closing(self, finished: Finished) -> list[dict[str, Any]]:
        """Tool calls, whole, and the reason why the answer ends."""
        calls, index, found = chat.permitted_calls(self._wish, finished.tool_text), finished.index, []
        if rest := _unparsed(finished, calls):
            found.append(self._chunk(index, {"content": rest}))
        if calls:
            numbered = [{"index": at, **call} for at, call in enumerate(calls)]
            found.append(self._chunk(index, {"tool_calls": numbered}))
        return [*found, self._chunk(index, {}, _reason(finished, calls))]

    def ending(self, run: Run, *, usage: bool) -> list[dict[str, Any]]:
        """The usage, without choices."""
        told = {"object": "chat.completion.chunk", "choices": [], "usage": run.usage()}
        return [{**self._common, **told}] if usage else []

    def _chunk(
        self, index: int, delta: dict[str, Any], reason: str | None = None, logprobs: list[TokenLogprob] | None = None
    ) -> dict[str, Any]:
        told = _told(logprobs) if logprobs else None
        choice = {"index": index, "delta": delta, "logprobs": told, "finish_reason": reason}
        return {**self._common, "object": "chat.completion.chunk", "choices": [choice]}


async def collect(run: Run) -> list[Content]:
    """The whole answers of a run, which is finished after this."""
    await run.start()
    found = [Content() for _ in range(run.width)]
    async for piece in run.pieces():
        if isinstance(piece, Text):
            found[piece.index].text += piece.text
            found[piece.index].logprobs += piece.logprobs
    return found


async def sse(run: Run, envelope: Envelope, *, include_usage: bool) -> AsyncIterator[bytes]:
    """Server-sent events: a comment at once, then what the envelope makes of the answers, usage if asked for.

    The comment is the first byte for a client and its proxies, however long the queue and the prompt are. A failure
    after it is an event with an error object and no end: the answer was not completed.
    """
    yield WAITING
    try:
        for chunk in envelope.beginning():
            yield _event(chunk)
        await run.start()
        for index in range(run.width):
            for chunk in envelope.opening(index):
                yield _event(chunk)
        async for piece in run.pieces():
            for chunk in envelope.more(piece) if isinstance(piece, Text) else envelope.closing(piece):
                yield _event(chunk)
        for chunk in envelope.ending(run, usage=include_usage):
            yield _event(chunk)
        if envelope.end:
            yield envelope.end
    except ApiError as error:
        yield _event(envelope.failing(error))


def _told(logprobs: list[TokenLogprob]) -> dict[str, Any]:
    return {"content": logprobs, "refusal": None}


def _unparsed(finished: Finished, calls: list[dict[str, Any]]) -> str:
    """What is no call of an offered function is given as text: better than an empty answer."""
    return finished.tool_text if finished.tool_text and not calls else ""


def _reason(finished: Finished, calls: list[dict[str, Any]]) -> str:
    return "tool_calls" if calls and finished.reason == "stop" else finished.reason


def _event(body: dict[str, Any]) -> bytes:
    """One event; its type stands before it where it has one."""
    name = f"event: {body['type']}\n".encode() if "type" in body else b""
    return name + b"data: " + json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"
