"""Each request has an id, and each response is counted: what operators see of HTTP."""

from __future__ import annotations

import re
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from phi4_engine.metrics import Metrics

HEADER = "x-request-id"
STATE = "request_id"
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
"""What a client's own id may be; it goes into the log, where nothing may look like another line."""


class Observed:
    """ASGI: the id of a request is its client's, or made here; its response has it, and so has its line in the log."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The response has its id and is counted."""
        given = Headers(scope=scope).get(HEADER, "")
        found = given if _ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})[STATE] = found

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = found
                self._metrics.answered(message["status"])
            await send(message)

        await self._app(scope, receive, tell)
