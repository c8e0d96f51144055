"""Stands in the place of what the exporter asks on a host: an engine, HAProxy's metrics, Ollama, with recorded pages.

onnx.txt and haproxy.txt were recorded from our engine with the tiny model behind HAProxy 2.6; vllm.txt is made with
vLLM's own library of metrics from the names, labels and buckets of its sources (vllm/v1/metrics/loggers.py).
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

RECORDED = Path(__file__).parents[1] / "fixtures" / "metrics"
Answer = bytes | Callable[[BaseHTTPRequestHandler], None]
_COUNT = re.compile(r"^(\S+_(?:total|bucket|sum|count)(?:\{.*\})?) ([0-9.e+]+)$", re.MULTILINE)
PS = {
    "models": [
        {
            "name": "phi-4-mini-instruct:latest", "model": "phi-4-mini-instruct:latest", "size": 3_758_096_384,
            "size_vram": 0, "expires_at": "2318-03-15T09:21:05.123456789+01:00", "context_length": 4096,
        }
    ]
}  # fmt: skip


def recorded(name: str) -> bytes:
    """A page as it was."""
    return (RECORDED / f"{name}.txt").read_bytes()


def growing(name: str) -> Answer:
    """The same, with counts that are higher each time that it is asked for."""
    text, asked = recorded(name).decode(), 0

    def answer(handler: BaseHTTPRequestHandler) -> None:
        nonlocal asked
        asked += 1
        whole(handler, _COUNT.sub(lambda found: f"{found.group(1)} {float(found.group(2)) * asked!r}", text).encode())

    return answer


def loaded() -> bytes:
    """Ollama's list of loaded models."""
    return json.dumps(PS).encode()


def whole(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    """Answers with a page of known size."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


class Pages(ThreadingHTTPServer):
    """Serves pages by their paths, on a port of its own on loopback; `asked`: each path with its query."""

    daemon_threads = True

    def __init__(self, pages: Mapping[str, Answer]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pages, self.asked = dict(pages), list[str]()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        """Who asks may leave, that is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: Pages

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        answer = self.server.pages.get(self.path.partition("?")[0])
        if answer is None:
            self.send_error(404)
        elif callable(answer):
            answer(self)
        else:
            whole(self, answer)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextlib.contextmanager
def serving(pages: Mapping[str, Answer]) -> Iterator[Pages]:
    """The pages are served until the end of the block."""
    with Pages(pages) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
