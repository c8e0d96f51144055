"""Connections that fetch pieces side by side and hand them out in order.

Sent in front of fetch.py; Python 3.8 or newer, standard library only. At most RANGES pieces are on their way or wait
for the one before them: that is the memory that this takes, and what a cut can cost.
"""

from __future__ import annotations

import collections
import hashlib
import http.client
import threading
import time
import urllib.parse
from typing import Deque, Dict, Iterator, List, NamedTuple, Optional, Tuple, Union

from hostlib import Json

RANGES = 4
# Seconds in which at least something must arrive, and tries of one piece.
STALL_SECONDS = 30.0
TRIES = 3
BLOCK = 256 << 10  # bytes that are read at once


class LineError(Exception):
    """A piece did not come as it should; the message says what was found."""


class Piece(NamedTuple):
    """Bytes `offset` to `offset + length` of a file of `size` bytes and this hash; `piece` is their own hash."""

    path: str
    sha256: str
    size: int
    offset: int
    length: int
    piece: str


Result = Union[bytearray, LineError]


class Lines:
    """`args`: "base" (http://host:port), "token", "piece_seconds" that one piece may take."""

    def __init__(self, args: Json, todo: Iterator[Piece]) -> None:
        place = urllib.parse.urlsplit(str(args["base"]))
        self._host, self._port = str(place.hostname), int(place.port or 0)
        self._token, self._seconds = str(args["token"]), float(args["piece_seconds"])
        self._todo = todo
        self._order: Deque[Piece] = collections.deque()
        self._asked: Deque[Piece] = collections.deque()
        self._came: Dict[Piece, Result] = {}
        self._change = threading.Condition()
        self._ended = False
        self._threads: List[threading.Thread] = []

    def next(self, more: bool) -> Optional[Tuple[Piece, bytearray]]:
        """The next piece and its verified bytes; None when none is left. Without `more` no new one is begun.

        Raises LineError where it did not come.
        """
        while more and len(self._order) < RANGES:
            piece = next(self._todo, None)
            if piece is None:
                break
            self._begin(piece)
        if not self._order:
            return None
        piece, end = self._order.popleft(), time.monotonic() + self._seconds
        with self._change:
            while piece not in self._came:
                # Who sends a byte now and then keeps a thread busy; not this one.
                if not self._change.wait(max(0.0, end - time.monotonic())) and piece not in self._came:
                    raise LineError("found no piece of %s within %.0f s" % (piece.path, self._seconds))
            found = self._came.pop(piece)
        if isinstance(found, LineError):
            raise found
        return piece, found

    def end(self) -> None:
        """Nothing is fetched any more; what is on its way is dropped with this process."""
        with self._change:
            self._ended = True
            self._asked.clear()
            self._change.notify_all()

    def _begin(self, piece: Piece) -> None:
        with self._change:
            self._order.append(piece)
            self._asked.append(piece)
            self._change.notify_all()
        if len(self._threads) < RANGES:
            # Not waited for at the end of the script: a line that hangs must not keep its answer.
            thread = threading.Thread(target=self._work, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _work(self) -> None:
        line: Optional[http.client.HTTPConnection] = None
        while True:
            with self._change:
                while not self._asked and not self._ended:
                    self._change.wait()
                if self._ended:
                    break
                piece = self._asked.popleft()
            line, found = self._tried(line, piece)
            with self._change:
                self._came[piece] = found
                self._change.notify_all()
        if line is not None:
            line.close()

    def _tried(
        self, line: Optional[http.client.HTTPConnection], piece: Piece
    ) -> Tuple[Optional[http.client.HTTPConnection], Result]:
        """The connection for the next piece, and what came; every failure gets a new connection."""
        why = ""
        for _attempt in range(TRIES):
            if self._ended:
                break
            line = line or http.client.HTTPConnection(self._host, self._port, timeout=STALL_SECONDS)
            try:
                return line, self._got(line, piece)
            except (OSError, http.client.HTTPException, LineError) as error:
                why = str(error) or type(error).__name__
                line.close()
                line = None
        return None, LineError(why)

    def _got(self, line: http.client.HTTPConnection, piece: Piece) -> bytearray:
        end = time.monotonic() + self._seconds
        span = "bytes=%d-%d" % (piece.offset, piece.offset + piece.length - 1)
        line.request("GET", "/" + piece.sha256, headers={"Range": span, "phi4-token": self._token})
        answer = line.getresponse()
        if answer.status != 206 or answer.length != piece.length:
            raise LineError("found HTTP status %d with %s bytes" % (answer.status, answer.length))
        data = bytearray(piece.length)
        view, at = memoryview(data), 0
        while at < piece.length:
            if time.monotonic() > end or self._ended:
                raise LineError("found %d of %d bytes after %.0f s" % (at, piece.length, self._seconds))
            count = answer.readinto(view[at : at + BLOCK])
            if not count:
                raise LineError("found an end after %d of %d bytes" % (at, piece.length))
            at += count
        if hashlib.sha256(data).hexdigest() != piece.piece:
            raise LineError("found other bytes of %s than the controller has" % piece.path)
        return data
