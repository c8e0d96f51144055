"""HTTP below the routes: reading bodies within limits, noticing clients that leave, sending streams."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from phi4_engine.answers import WAITING
from phi4_engine.errors import ApiError, not_serving
from phi4_engine.runs import Run

MAX_BODY = 1024 * 1024
"""Bytes. 131,072 tokens of context are about half of this as text."""
BODY_SECONDS = 30.0
COMMENT_SECONDS = 10.0
"""Between two signs of life of a stream that waits for its turn or has its prompt read. Proxies wait for 60 or 30."""
BODIES = 32 * 1024 * 1024
"""Bytes of all bodies that are arriving at a time: each connection could bring one, and memory belongs to the model."""

Body = TypeVar("Body", bound=BaseModel)
Result = TypeVar("Result")


class ClientGoneError(Exception):
    """The client closed the connection; nobody will read an answer."""


class Bodies:
    """How many bytes of bodies are held at the moment, over all connections."""

    def __init__(self, limit: int = BODIES) -> None:
        self._limit = limit
        self._held = 0

    def take(self, count: int) -> None:
        """Bytes more; raises ApiError 503 where that would be too many."""
        if self._held + count > self._limit:
            raise not_serving("too many requests are arriving: try again", code="too_many_requests", retry_after=5)
        self._held += count

    def give_back(self, count: int) -> None:
        """They are read, or thrown away."""
        self._held -= count


async def read_body(request: Request, kind: type[Body], bodies: Bodies) -> Body:
    """The checked body; raises ApiError 400, 408, 413, 415 or 503 with what is wrong and where."""
    _require_json(request.headers.get("content-type"))
    raw = await _read(request, bodies)
    try:
        document = json.loads(raw, parse_constant=_no_constant)
        json.dumps(document, ensure_ascii=False).encode()  # a lone surrogate is no text and could not be sent back
    except UnicodeError as error:
        raise ApiError(400, "the body is not valid UTF-8 text", code="invalid_json") from error
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"the body is not valid JSON: {error}", code="invalid_json") from error
    if not isinstance(document, dict):
        raise ApiError(400, "the body must be a JSON object", code="invalid_json")
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise invalid(error) from error


def _require_json(kind: str | None) -> None:
    """Raises ApiError 415 for a body that says it is something else; saying nothing is what simple clients do."""
    if kind is not None and kind.partition(";")[0].strip().lower() != "application/json":
        raise ApiError(
            415,
            f"found Content-Type {kind[:100]!r}, needed application/json",
            code="unsupported_media_type",
            headers={"Connection": "close"},
        )


def invalid(error: ValidationError) -> ApiError:
    """The first mistake, with its place in the body."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = _place(first["loc"])
    return ApiError(400, f"{place or 'the body'}: {first['msg']}", param=place or None, code="invalid_value")


async def unless_gone(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of `work`, which is cancelled when the client leaves first (ClientGoneError)."""
    task = asyncio.create_task(work)
    watcher = asyncio.create_task(_gone(request.receive))
    try:
        await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientGoneError
    finally:
        await _cancelled(task)
        await _cancelled(watcher)


async def kept_alive(events: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """The events, with a comment whenever none came for a while: neither client nor proxy takes it for dead."""
    coming: asyncio.Future[bytes] | None = None
    try:
        while True:
            coming = coming or asyncio.ensure_future(anext(events))
            if not (await asyncio.wait({coming}, timeout=COMMENT_SECONDS))[0]:
                yield WAITING
                continue
            try:
                event = coming.result()
            except StopAsyncIteration:
                return
            coming = None
            yield event
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)


class EventStream(Response):
    """Sends a run's events as they come and closes the run when they end, fail, or the client leaves."""

    media_type = "text/event-stream"

    def __init__(self, run: Run, events: AsyncIterator[bytes]) -> None:
        super().__init__(status_code=200, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._run = run
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The response is sent, or the client is gone; the run is closed either way."""
        sending = asyncio.create_task(self._send(send))
        watcher = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait({sending, watcher}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            await _cancelled(sending)
            await _cancelled(watcher)
            self._run.close()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with contextlib.aclosing(kept_alive(self._events)) as events:
            async for event in events:
                await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _read(request: Request, bodies: Bodies) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared[:12]) > MAX_BODY:
        raise _too_large()
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                if len(body) + len(chunk) > MAX_BODY:
                    raise _too_large()
                bodies.take(len(chunk))
                body += chunk
    except TimeoutError as error:
        raise ApiError(408, f"the body did not arrive within {BODY_SECONDS:.0f} s", code="request_timeout") from error
    except ClientDisconnect as error:
        raise ClientGoneError from error
    finally:
        bodies.give_back(len(body))
    return bytes(body)


def _too_large() -> ApiError:
    return ApiError(
        413, f"the body is larger than {MAX_BODY} bytes", code="request_too_large", headers={"Connection": "close"}
    )


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _place(location: tuple[int | str, ...]) -> str:
    """`messages[0].role` from ("messages", 0, "role"); names that pydantic gives to union members are left out."""
    place = ""
    for part in location:
        if isinstance(part, int):
            place += f"[{part}]"
        elif part.isidentifier() and part not in ("str", "list"):
            place += f".{part}" if place else part
    return place[:200]


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


async def _cancelled(task: asyncio.Task[Any]) -> None:
    if not task.done():
        task.cancel()
    await asyncio.gather(task, return_exceptions=True)
