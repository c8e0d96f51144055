"""Serves ranges of granted files over HTTP, on sockets that live only during a run.

Who asks must have a grant's token, and gets no file but the grant's: a file is named by its SHA-256, so no path ever
comes from the network. Connections, sizes and times are bounded; what is not a request of ours ends its connection.
Runs on the controller, and on a seed of a site: Python 3.8 and the standard library are enough for it.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from phi4_edge.artifacts.serve import request
from phi4_edge.artifacts.serve.bucket import Bucket
from phi4_edge.artifacts.serve.request import RefusedError, Request

MOST_CONNECTIONS, MOST_OF_A_GRANT = 512, 8
# Seconds for a request to arrive, for the next one to begin, and in which some bytes of an answer must be taken.
HEAD_SECONDS, IDLE_SECONDS, STALL_SECONDS = 10.0, 60.0, 60.0
# Bytes per second below which nobody is served: an answer takes a minute more than that at most.
SLOWEST = 8 * 1024
_BACKLOG = 128


class Grant:
    """What a host may have: files by their SHA-256, each with its size in bytes.

    `sent` counts the bytes that it got at most. `rate`: bytes per second, 0: no limit. `most`: connections at a time.
    """

    def __init__(
        self, files: Mapping[str, tuple[Path, int]], rate: int, token: str = "", most: int = MOST_OF_A_GRANT
    ) -> None:
        self.files, self.bucket, self.most = dict(files), Bucket(rate), most
        self.token = token or secrets.token_hex(32)
        self.sent = 0
        self.connections: set[socket.socket] = set()


class RangeServer:
    """Serves until it is closed; closing ends every connection. Use as a context manager."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._grants: dict[str, Grant] = {}
        self._doors: list[socket.socket] = []
        self._open: set[socket.socket] = set()
        self._closed = False

    def listen_at(self, path: Path) -> None:
        """Serves on a unix socket, for who may look into its folder. Raises OSError where there can be none."""
        self._serve(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), str(path))

    def listen_on(self, address: str, port: int = 0) -> int:
        """Serves on this address of this machine; returns the port. Raises OSError where that cannot be had."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        door = socket.socket(family, socket.SOCK_STREAM)
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._serve(door, (address, port))
        return int(door.getsockname()[1])

    def _serve(self, door: socket.socket, place: str | tuple[str, int]) -> None:
        try:
            door.bind(place)
            door.listen(_BACKLOG)
        except BaseException:
            door.close()
            raise
        self._doors.append(door)
        threading.Thread(target=self._accept, args=(door,), daemon=True).start()

    def allow(self, grant: Grant) -> None:
        """Who has the grant's token is served from now on."""
        with self._lock:
            self._grants[_key(grant.token)] = grant

    @contextlib.contextmanager
    def granted(self, files: Mapping[str, tuple[Path, int]], rate: int) -> Iterator[Grant]:
        """Who has the grant's token is served meanwhile, with at most `rate` bytes per second (0: no limit)."""
        grant = Grant(files, rate)
        self.allow(grant)
        try:
            yield grant
        finally:
            with self._lock:
                self._grants.pop(_key(grant.token), None)
                left = list(grant.connections)
            _cut(left)

    def sent(self) -> int:
        """Bytes that were sent for the grants of this moment."""
        with self._lock:
            return sum(grant.sent for grant in self._grants.values())

    def close(self) -> None:
        """Nobody is served any more."""
        with self._lock:
            self._closed, left = True, [*self._doors, *self._open]
        _cut(left)
        for door in self._doors:
            door.close()

    def __enter__(self) -> RangeServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self, door: socket.socket) -> None:
        while True:
            try:
                line, _ = door.accept()
            except OSError:
                if self._closed:
                    return
                time.sleep(0.1)  # out of file descriptors, most likely: those who are served go on
                continue
            with self._lock:
                full = self._closed or len(self._open) >= MOST_CONNECTIONS
                if not full:
                    self._open.add(line)
            if full:
                line.close()
                continue
            threading.Thread(target=self._connection, args=(line,), daemon=True).start()

    def _connection(self, line: socket.socket) -> None:
        held: set[str] = set()
        try:
            with contextlib.suppress(OSError):  # they went away, or were too slow
                pending = bytearray()
                while (head := _head(line, pending)) is not None:
                    self._answer(line, head, held)
        except RefusedError as error:
            with contextlib.suppress(OSError):
                line.sendall(_refusal(error))
        finally:
            with self._lock:
                self._open.discard(line)
                for grant in self._grants.values():
                    grant.connections.discard(line)
            line.close()

    def _answer(self, line: socket.socket, head: bytes, held: set[str]) -> None:
        wanted = request.parse(head)
        grant = self._grant(wanted, line, held)
        path, size = grant.files.get(wanted.sha256, (None, 0))
        if path is None:
            raise RefusedError(404, "Not Found")
        if wanted.last >= size:
            raise RefusedError(416, "Range Not Satisfiable")
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            raise RefusedError(404, "Not Found") from None
        with os.fdopen(handle, "rb") as file:
            line.settimeout(STALL_SECONDS)
            line.sendall(
                b"HTTP/1.1 206 Partial Content\r\nContent-Type: application/octet-stream\r\n"
                b"Content-Range: bytes %d-%d/%d\r\nContent-Length: %d\r\n\r\n"
                % (wanted.first, wanted.last, size, wanted.length)
            )
            end = time.monotonic() + STALL_SECONDS + wanted.length / SLOWEST
            offset, left = wanted.first, wanted.length
            while left:
                count = min(left, grant.bucket.chunk)
                grant.bucket.take(count)
                with self._lock:  # before they go: who has them all may look at once
                    grant.sent += count
                if time.monotonic() > end or line.sendfile(file, offset, count) != count:
                    raise OSError("too slow, or the file is shorter now")
                offset, left = offset + count, left - count

    def _grant(self, wanted: Request, line: socket.socket, held: set[str]) -> Grant:
        """The grant of this request's token. Raises RefusedError where there is none, or too many have it."""
        key = _key(wanted.token)
        with self._lock:
            grant = self._grants.get(key)
            if grant is None or not hmac.compare_digest(grant.token.encode(), wanted.token.encode()):
                raise RefusedError(403, "Forbidden")
            if held - {key} or (line not in grant.connections and len(grant.connections) >= grant.most):
                raise RefusedError(429, "Too Many Requests")
            held.add(key)
            grant.connections.add(line)
        return grant


def _key(token: str) -> str:
    """Under which a grant is looked up: how long that takes says nothing of any token."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def _head(line: socket.socket, pending: bytearray) -> bytes | None:
    """The next request's head; None where the other end is through. Raises RefusedError for one that is too long."""
    line.settimeout(IDLE_SECONDS)
    end = 0.0
    while (at := pending.find(request.END)) < 0:
        if len(pending) > request.MOST_HEAD:
            raise RefusedError(431, "Request Header Fields Too Large")
        block = line.recv(request.MOST_HEAD)
        if not block:
            return None
        pending += block
        end = end or time.monotonic() + HEAD_SECONDS
        left = end - time.monotonic()
        if left <= 0:
            return None
        line.settimeout(left)
    head = bytes(pending[:at])
    del pending[: at + len(request.END)]
    return head


def _refusal(error: RefusedError) -> bytes:
    return f"HTTP/1.1 {error.status} {error}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()


def _cut(lines: list[socket.socket]) -> None:
    """The threads of these sockets wake up and end; each closes its own."""
    for line in lines:
        with contextlib.suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)
