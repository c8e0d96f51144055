"""One exchange with the engine's port, for a host that Ansible alone reaches: a request there, its answer back.

The request is sent only while the port belongs to whom the caller has judged; else the answer says who has it now.
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import socket
import time
from typing import Any, List, Tuple

import relay
from hostlib import Json
from hostrun import serve

# The answer of this script has room for no more. The longest honest answer of an engine is a tenth of it.
MOST_BYTES = 2 << 20
MOST_PIECES = 20000
PIECE = 65536


class Cut(Exception):  # noqa: N818  (an answer, not an error)
    """The engine took longer, or sent more, than it may."""


class Recorder(io.RawIOBase):
    """What comes from the port, each piece with the seconds since the request was sent."""

    def __init__(self, peer: socket.socket, seconds: float, most: int) -> None:
        super().__init__()
        self.peer, self.seconds, self.left = peer, seconds, min(most, MOST_BYTES)
        self.began = time.monotonic()
        self.pieces: List[Tuple[float, bytes]] = []
        self.end = "closed"

    def makefile(self, *_words: Any) -> io.BufferedReader:
        """As of a socket, which http.client takes this for."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        took = time.monotonic() - self.began
        if took >= self.seconds:
            self.cut("late")
        self.peer.settimeout(self.seconds - took)
        try:
            data = self.peer.recv(min(len(buffer), PIECE))
        except socket.timeout:
            self.cut("late")
        self.left -= len(data)
        if self.left < 0 or len(self.pieces) >= MOST_PIECES:
            self.cut("large")
        if data:
            self.pieces.append((round(time.monotonic() - self.began, 4), data))
        buffer[: len(data)] = data
        return len(data)

    def cut(self, why: str) -> None:
        """Raises Cut; `end` says why."""
        self.end = why
        raise Cut


def exchange(args: Json, payload: bytes) -> Json:
    """What came back for the request in `payload`, or who has the port where that is not whom `expected` says."""
    nothing: Json = {"sent": False, "end": "", "times": [], "pieces": []}
    address, port = args["address"], args["port"]
    try:
        peer = socket.create_connection((address, port), relay.CONNECT_SECONDS)
    except OSError as error:
        return dict(nothing, listener=json.dumps(relay.refused(error, address, port)))
    with peer:
        seen = json.dumps(relay.looked(peer, address, port))
        if seen != args["expected"]:
            return dict(nothing, listener=seen)
        recorder = Recorder(peer, float(args["seconds"]), int(args["most_bytes"]))
        asked(recorder, payload)
    times = [at for at, _ in recorder.pieces]
    pieces = [base64.b64encode(data).decode() for _, data in recorder.pieces]
    return {"listener": seen, "sent": True, "end": recorder.end, "times": times, "pieces": pieces}


def asked(recorder: Recorder, request: bytes) -> None:
    """The request is sent, and its whole answer recorded; `end` says how it ended."""
    try:
        recorder.peer.settimeout(recorder.seconds)
        recorder.peer.sendall(request)
        response = http.client.HTTPResponse(recorder, method=request.split(b" ", 1)[0].decode("ascii", "replace"))  # type: ignore[arg-type]
        response.begin()
        while response.read1(PIECE):
            continue
        recorder.end = "complete"
    except Cut:
        return
    except (OSError, http.client.HTTPException, ValueError, OverflowError):
        recorder.end = "broken"  # whoever reads the pieces sees where


if __name__ == "__main__":
    serve(globals(), {"exchange": exchange}, changes=False)
