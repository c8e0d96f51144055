"""One connection: HTTP within bounds, and a deadline for everything that the client has to do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from phi4_engine.errors import ApiError
from phi4_engine.hosts import RESERVED
from phi4_engine.limits import Limits
from phi4_engine.refusal import response, too_many

HEADER_SECONDS = 10.0
"""For a whole header, from the start of the connection or from the first byte after an answer."""
BODY_SECONDS = 33.0
"""For a whole body. The application says 408 a little before, at `transport.BODY_SECONDS`."""
IDLE_SECONDS = 30
"""Between an answer and the next request of a connection that is kept alive."""
REST_SECONDS = 5.0
"""For the rest of a request that was answered before it was complete, and for a client to read its refusal."""
WRITE_SECONDS = 60.0
"""For a client that reads nothing of its answer."""
HEADER_BYTES = 16 * 1024
HEADER_COUNT = 100


class Parser(h11.Connection):
    """h11's, with a bound on the number of headers, and without requests of which others may see another end."""

    failure: h11.RemoteProtocolError | None = None

    def next_event(self) -> Any:
        """The next event; what was wrong with the last one is kept in `failure`."""
        try:
            event = super().next_event()
            if isinstance(event, h11.Request):
                _check(event)
                event = _in_origin_form(event)
        except h11.RemoteProtocolError as error:
            self.failure = error
            raise
        return event


def _check(request: h11.Request) -> None:
    """Raises what h11 lets pass: it measures a header only while that is not complete."""
    names = [name for name, _ in request.headers]
    if request.http_version not in (b"1.0", b"1.1"):
        raise h11.RemoteProtocolError(f"HTTP/{request.http_version.decode()[:8]}", error_status_hint=505)
    if len(names) > HEADER_COUNT:
        raise h11.RemoteProtocolError(f"more than {HEADER_COUNT} headers", error_status_hint=431)
    if len(request.target) + sum(len(name) + len(value) + 4 for name, value in request.headers) > HEADER_BYTES:
        raise h11.RemoteProtocolError(f"a header of more than {HEADER_BYTES} bytes", error_status_hint=431)
    if b"transfer-encoding" in names and b"content-length" in names:
        raise h11.RemoteProtocolError("both Content-Length and Transfer-Encoding")


def _in_origin_form(request: h11.Request) -> h11.Request:
    """A request as a proxy sends it, `GET http://host/path`, in the form of all others (RFC 9112, 3.2.2)."""
    scheme, mark, rest = request.target.partition(b"://")
    if not mark or scheme.lower() not in (b"http", b"https"):
        return request
    authority, slash, path = rest.partition(b"/")
    if b"?" in authority or b"#" in authority or not authority:
        raise h11.RemoteProtocolError("a request target without a path")
    # The host of the target counts, and that of the header does not.
    headers = [(name, value) for name, value in request.headers if name != b"host"]
    return h11.Request(
        method=request.method,
        headers=[(b"host", authority), *headers],
        target=slash + path or b"/",
        http_version=request.http_version,
    )


class Connection(H11Protocol):
    """uvicorn's HTTP/1.1 connection with a deadline for everything that the client has to do."""

    def __init__(self, config: Config, state: ServerState, app_state: dict[str, Any], limits: Limits) -> None:
        super().__init__(config, state, dict(app_state), None)
        self.conn = Parser(h11.SERVER, HEADER_BYTES)
        self.reserved = False
        self._limits = limits
        self._phase: tuple[str, int] = ("", 0)
        self._refused = False
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """There is room for it, or it gets its refusal."""
        super().connection_made(transport)
        if not self._limits.admit(self):
            self.give_way()
            return
        self.app_state[RESERVED] = self.reserved
        self._follow()

    def connection_lost(self, exc: Exception | None) -> None:
        """Its place is free."""
        self._limits.leave(self)
        for timer in (self._deadline, self._unread, self.timeout_keep_alive_task):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """What comes after a refusal is thrown away."""
        if self._refused:
            return
        super().data_received(data)
        self._follow()

    def on_response_complete(self) -> None:
        """The next request may come, except on a connection of the reserve."""
        super().on_response_complete()
        if self.reserved and not self.transport.is_closing():
            self._end()
        self._follow()

    def send_400_response(self, msg: str) -> None:
        """What the parser found, in OpenAI's shape. uvicorn calls it for everything that is no HTTP."""
        failure = getattr(self.conn, "failure", None)
        status, code = getattr(failure, "error_status_hint", 400), "invalid_http"
        if status == 431:
            code = "headers_too_large"
        elif status not in (400, 501, 505):
            status = 400
        self.refuse(ApiError(status, f"the request cannot be read: {failure or msg}"[:300], code=code))

    def refuse(self, error: ApiError) -> None:
        """The answer goes out and the connection ends, once the client has seen it or had time to."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self._unset_keepalive_if_required()
        self.flow.resume_reading()
        self.transport.write(response(error))
        with contextlib.suppress(OSError):  # it has left, and nobody has heard of it yet
            self.transport.write_eof()
        self._limits.waits(self, True)
        self._arm(REST_SECONDS, self.transport.abort)

    def give_way(self) -> None:
        """It ends at once; one that has never asked for anything is told why."""
        if self._refused or self.transport.is_closing():
            self.transport.abort()
            return
        if self._last is None:
            self.transport.write(response(too_many()))
        self._end()

    def shutdown(self) -> None:
        """The service stops: an answer is finished, and nothing else is waited for."""
        if self._last is None or self._last.response_complete or self._refused:
            self._end()
        else:
            self.cycle.keep_alive = False

    def timeout_keep_alive_handler(self) -> None:
        """Nothing came after the last answer."""
        self._end()

    def pause_writing(self) -> None:
        """The client reads too slowly: it has a minute to go on."""
        super().pause_writing()
        self._unread = self.loop.call_later(WRITE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads again."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()

    def _follow(self) -> None:
        """The deadline is that of what the client has to do now."""
        if self._refused or self.transport.is_closing():
            return
        phase = self._now()
        if phase == self._phase:
            return
        self._phase = phase
        self._limits.waits(self, phase[0] in ("header", "idle"))
        seconds, late = {
            "header": (HEADER_SECONDS / 2 if self.reserved else HEADER_SECONDS, self._late),
            "body": (BODY_SECONDS, self.transport.abort),
            "rest": (REST_SECONDS, self._end),
        }.get(phase[0], (0.0, self._end))
        self._arm(seconds, late)

    def _now(self) -> tuple[str, int]:
        """What the connection is at, with the number of its request: a new one has a deadline of its own.

        `idle` is uvicorn's own timer's, and `busy` has no deadline: the client waits for us.
        """
        last = self._last
        if last is not None and not last.response_complete:
            return ("body" if last.more_body else "busy", id(last))
        if self.conn.their_state is h11.SEND_BODY:
            return ("rest", id(last))
        if last is not None and not self.conn.trailing_data[0]:
            return ("idle", id(last))
        return ("header", id(last))

    @property
    def _last(self) -> RequestResponseCycle | None:
        """The last request and its answer; None before the first."""
        return self.cycle

    def _late(self) -> None:
        """The header was not complete in time."""
        if self.conn.trailing_data[0]:
            self.refuse(ApiError(408, "the header did not arrive in time", code="request_timeout"))
        else:
            self._end()

    def _arm(self, seconds: float, late: Callable[[], None]) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(seconds, late) if seconds else None

    def _end(self) -> None:
        self._unset_keepalive_if_required()
        self.transport.close()
