"""A stand-in for a download server on loopback: files with byte ranges, and the faults that such servers show."""

from __future__ import annotations

import contextlib
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


@dataclass
class StandinFiles:
    """Files by path, the faults to show, and what was asked."""

    files: dict[str, bytes]
    # Close the connection after so many bytes of a file; answer so many requests with 503; forget what ranges are.
    cut_after: list[int] = field(default_factory=list)
    unavailable: int = 0
    ignore_ranges: bool = False
    requests: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        server = self

        class Handler(_Handler):
            content = server

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    content: StandinFiles

    def log_message(self, format: str, *args: object) -> None:
        return None

    def do_GET(self) -> None:
        server = self.content
        server.requests.append(self.path)
        if server.unavailable > 0:
            server.unavailable -= 1
            self._answer(503, b"try later")
        elif self.path not in server.files:
            self._answer(404, b"")
        else:
            self._file(server.files[self.path])

    def _file(self, content: bytes) -> None:
        wanted = self.headers.get("Range", "")
        match = re.fullmatch(r"bytes=(\d+)-", wanted)
        if not match or self.content.ignore_ranges:
            self._answer(200, content, cut=True)
            return
        self.content.ranges.append(wanted)
        start = int(match[1])
        if start >= len(content):
            self._answer(416, b"")
        else:
            headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
            self._answer(206, content[start:], headers, cut=True)

    def _kind(self) -> dict[str, str]:
        """The pages of a package index say what they are, or pip does not read them."""
        return {"Content-Type": "text/html"} if self.path.endswith("/") else {}

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **self._kind(), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if cut and self.path.endswith(".zst") and self.content.cut_after:
            body = body[: self.content.cut_after.pop(0)]
            self.close_connection = True
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)
