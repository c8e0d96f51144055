"""Answers below HTTP's state machine: whole responses as bytes, for connections that are closed behind them."""

from __future__ import annotations

import contextlib
import http
import json
import select
import socket
import time
from collections.abc import Sequence

from phi4_engine.errors import ApiError, not_serving

HOLD_SECONDS = 30.0
"""How long an engine that cannot start turns clients away before it ends: each of them would start it again."""
_CLIENT_SECONDS = 0.5


def response(error: ApiError) -> bytes:
    """A whole HTTP response in OpenAI's error shape that closes the connection."""
    body = json.dumps(error.body()).encode()
    phrase = http.HTTPStatus(error.status).phrase
    headers = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "close",
        **error.headers,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {error.status} {phrase}\r\n{head}\r\n".encode("ascii") + body


def too_many() -> ApiError:
    """There is no room for one more connection."""
    return not_serving("too many connections are open: try again", code="too_many_connections", retry_after=5)


def turn_away(channels: Sequence[socket.socket], seconds: float = HOLD_SECONDS) -> int:
    """How many clients were told that the engine cannot start: those that wait, and all that come within `seconds`.

    Returns at once when nobody waits. The socket is systemd's: a client that nobody accepts would wait for ever, and
    start this process anew as soon as it has ended.
    """
    if not channels or not select.select(channels, [], [], 0)[0]:
        return 0
    told = not_serving(
        "the engine cannot start: its settings or model files are unusable, see its log",
        code="engine_failed",
        retry_after=int(seconds),
    )
    text, end, count = response(told), time.monotonic() + seconds, 0
    while (left := end - time.monotonic()) > 0:
        for channel in select.select(channels, [], [], left)[0]:
            with contextlib.suppress(OSError):  # whoever left, or sends without end, needs no answer
                _tell(channel, text)
            count += 1
    return count


def _tell(channel: socket.socket, text: bytes) -> None:
    """One client has the answer, if it wants one."""
    client, _ = channel.accept()
    with client:
        client.settimeout(_CLIENT_SECONDS)
        client.sendall(text)
        client.shutdown(socket.SHUT_WR)
        # Closed with something unread, the kernel would reset the connection and the answer with it.
        client.recv(65536)
