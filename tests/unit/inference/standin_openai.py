"""Stands for an OpenAI-compatible engine, with the odd behaviours that engines and proxies have.

It lists one model and keeps connections open, as the real ones do. It generates nothing: `behave` is what a request for
a completion gets. What it leaves out: other paths, errors for requests that are not right.
"""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

MODEL = "phi-4-mini-instruct"


class Handler(http.server.BaseHTTPRequestHandler):
    """One request; `server.behave` gets this handler and the request's body."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        assert self.path == "/v1/models"
        self.json({"object": "list", "data": [{"id": name} for name in self.server.models]})

    def do_POST(self) -> None:
        assert self.path == "/v1/chat/completions"
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        self.server.behave(self, body)

    def json(self, data: object, status: int = 200) -> None:
        self.body(json.dumps(data).encode(), "application/json", status)

    def body(self, data: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def events(self, *events: object, done: bool = True) -> None:
        """A stream in chunks, one event each; without `done` it breaks off and the connection with it."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in (*events, "[DONE]") if done else events:
            text = event if isinstance(event, str) else json.dumps(event)
            self.chunk(f"data: {text}\n\n".encode())
        if done:
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.close_connection = True

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        return


Behaviour = Callable[[Handler, dict[str, Any]], None]


class Server(http.server.ThreadingHTTPServer):
    """`asked` holds the bodies of all requests for a completion."""

    daemon_threads = True

    def __init__(self, behave: Behaviour, models: tuple[str, ...]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behave, self.models = behave, models
        self.asked: list[dict[str, Any]] = []


@contextmanager
def serving(behave: Behaviour, models: tuple[str, ...] = (MODEL,)) -> Iterator[Server]:
    """A running stand-in."""
    with Server(behave, models) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def delta(reason: str | None = None, **said: object) -> dict[str, Any]:
    """One event of a stream."""
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": said, "finish_reason": reason}]}


def usage(prompt: int, completion: int) -> dict[str, Any]:
    """The event with the usage, that comes last."""
    return {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion}}


def message(reason: str = "stop", count: tuple[int, int] | None = (5, 3), **said: object) -> dict[str, Any]:
    """A whole completion."""
    body = {"choices": [{"index": 0, "message": {"role": "assistant", **said}, "finish_reason": reason}]}
    counted = {"usage": {"prompt_tokens": count[0], "completion_tokens": count[1]}} if count else {}
    return {"object": "chat.completion", **body, **counted}
