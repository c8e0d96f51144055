"""An engine behind a gateway: generates nothing, takes the time that it is told to, and remembers who asked what."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Seen:
    """What came in: headers and bodies in order, how many answers ran at a time at the most, how many ended early.

    `release`: streams that are to be held end once it is set. `hung`: it takes requests and answers none until then.
    """

    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    running: int = 0
    most: int = 0
    broken: int = 0
    healthy: bool = True
    hung: bool = False
    release: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeEngine

    def log_message(self, *_: object) -> None:
        """Says nothing: what came in is in `Seen`."""

    def do_GET(self) -> None:
        if self.path == "/health":
            self._whole(200 if self.server.seen.healthy else 503, {"status": "ok"})
            return
        self._note({})
        self._whole(200, {"object": "list", "data": [{"id": "tiny", "object": "model"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._note(body)
        seen = self.server.seen
        with seen.lock:
            seen.running += 1
            seen.most = max(seen.most, seen.running)
        try:
            last = self._answer(body)
        except ConnectionError:
            last = b""
            with seen.lock:
                seen.broken += 1
            self.close_connection = True
        finally:
            with seen.lock:
                seen.running -= 1
        # Whoever asks next does so once this has come.
        with contextlib.suppress(ConnectionError):
            self.wfile.write(last)

    def _note(self, body: dict[str, Any]) -> None:
        with self.server.seen.lock:
            self.server.seen.headers.append({name.lower(): value for name, value in self.headers.items()})
            self.server.seen.paths.append(self.path)
            self.server.seen.bodies.append(body)

    def _answer(self, body: dict[str, Any]) -> bytes:
        """All but the last bytes of an answer, which are returned."""
        if self.server.seen.hung:
            self.server.seen.release.wait(20)
        if not body.get("stream"):
            time.sleep(body.get("seconds", 0))
            raw = json.dumps({"object": "chat.completion", "of": body.get("of")}).encode()
            self._head(200, "application/json", "Content-Length", str(len(raw)))
            return raw
        self._head(200, "text/event-stream", "Transfer-Encoding", "chunked")
        for number in range(body["pieces"]):
            event = b"data: %d %s\n\n" % (number, b"x" * body.get("size", 0))
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
            time.sleep(body["gap"])
        if body.get("held"):
            self.server.seen.release.wait(20)
        return b"0\r\n\r\n"

    def _whole(self, status: int, document: dict[str, Any]) -> None:
        raw = json.dumps(document).encode()
        with contextlib.suppress(ConnectionError):  # a health check that was given up
            self._head(status, "application/json", "Content-Length", str(len(raw)))
            self.wfile.write(raw)

    def _head(self, status: int, content: str, name: str, value: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content)
        self.send_header(name, value)
        self.end_headers()


class FakeEngine(ThreadingHTTPServer):
    """Serves on a port of its own on loopback."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen = Seen()
        self._start()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.server_address[1])

    def _start(self) -> None:
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def end(self) -> None:
        """Nobody listens on its port; answers that have begun are finished."""
        self.shutdown()
        self._thread.join()
        self.server_close()

    def begin(self) -> None:
        """It listens on its port again."""
        self.socket = socket.socket(self.address_family, self.socket_type)
        self.server_bind()
        self.server_activate()
        self._start()


@contextlib.contextmanager
def serving() -> Iterator[FakeEngine]:
    """An engine that serves until the end of the block."""
    engine = FakeEngine()
    try:
        yield engine
    finally:
        engine.end()
