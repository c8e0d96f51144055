"""Web pages of other origins that may use the engine from a browser: those of PHI4_CORS_ORIGINS, by default none."""

from __future__ import annotations

from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_MINUTES_KEPT = 10
_ALLOWED = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST",
    "Access-Control-Allow-Headers": "authorization, content-type, x-request-id",
    "Access-Control-Max-Age": str(60 * _MINUTES_KEPT),
}
_SEEN = "retry-after, x-request-id"


class CrossOrigin:
    """ASGI: what a browser asks before it lets a page use the engine is answered, and answers say whose they are.

    Whoever else asks is refused by the gatekeeper in front.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        self._app = app
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The request goes on, or gets the answer to its preflight."""
        headers = Headers(scope=scope)
        origin = headers.get("origin", "")
        if origin not in self._origins:
            await self._app(scope, receive, send)
            return

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                found = MutableHeaders(scope=message)
                found["Access-Control-Allow-Origin"] = origin
                found["Access-Control-Expose-Headers"] = _SEEN
                found.add_vary_header("Origin")
            await send(message)

        if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await Response(status_code=204, headers=_ALLOWED)(scope, receive, tell)
            return
        await self._app(scope, receive, tell)
