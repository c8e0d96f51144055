"""A small HTTP client over real sockets, and a handle on a running engine process."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parents[1] / "src"
DEADLINE = 60.0


@dataclass(frozen=True)
class Answer:
    """Status, headers in lower case, and the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The decoded body."""
        return json.loads(self.body)


class Engine:
    """An engine process; its standard error is kept in `log`."""

    def __init__(self, command: list[str], environ: Mapping[str, str], **how: Any) -> None:
        self.port = int(environ.get("PHI4_PORT") or free_port())
        settings = {"PHI4_PORT": str(self.port), "PHI4_BIND": "127.0.0.1", "PYTHONPATH": str(SOURCE)}
        self.process = subprocess.Popen(
            command,
            env={"PATH": os.environ["PATH"], **settings, **environ},
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            **how,
        )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def log(self) -> str:
        """What the process has logged so far."""
        return "".join(self._lines)

    def wait_for(self, status: int) -> Answer:
        """The first answer of /health with this status."""
        give_up = time.monotonic() + DEADLINE
        while time.monotonic() < give_up and self.process.poll() is None:
            try:
                answer = self.get("/health")
            except OSError:
                time.sleep(0.02)
                continue
            if answer.status == status:
                return answer
            time.sleep(0.02)
        raise AssertionError(f"/health never said {status}; log:\n{self.log}")

    def wait_for_log(self, text: str) -> None:
        """The log holds this text after the call."""
        give_up = time.monotonic() + DEADLINE
        while text not in self.log:
            assert time.monotonic() < give_up, f"{text!r} was never logged; log:\n{self.log}"
            time.sleep(0.02)

    def get(self, path: str) -> Answer:
        """GET on a connection of its own."""
        return self.request("GET", path)

    def post(self, path: str, body: Any) -> Answer:
        """POST of a JSON document."""
        return self.request("POST", path, json.dumps(body).encode())

    def chat(self, content: str, **fields: Any) -> Answer:
        """A chat completion with one user message."""
        return self.post("/v1/chat/completions", {"messages": [{"role": "user", "content": content}], **fields})

    def request(
        self,
        method: str,
        path: str,
        body: bytes | Iterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Any request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())
        finally:
            connection.close()

    def stream(self, content: str, **fields: Any) -> Stream:
        """A streamed chat completion; the caller closes it."""
        return Stream(self.port, {"messages": [{"role": "user", "content": content}], "stream": True, **fields})

    def raw(self, data: bytes = b"") -> socket.socket:
        """A connection on which `data` was sent; whoever opened it closes it."""
        channel = socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE)
        channel.sendall(data)
        return channel

    def said(self, data: bytes) -> bytes:
        """All that comes back to `data`, until the engine closes the connection."""
        with self.raw(data) as channel:
            return everything(channel)

    def memory(self) -> int:
        """Bytes of the web process that are in memory."""
        words = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(words[1]) * resource.getpagesize()

    def files(self) -> int:
        """How many files the web process has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def worker_pid(self) -> int:
        """The model process."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        assert len(children) == 1, children
        return int(children[0])

    def terminate(self) -> int:
        """SIGTERM; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """The exit status, with the whole log read."""
        status = self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        return status

    def close(self) -> None:
        """The process is gone."""
        if self.process.poll() is None:
            self.process.kill()
        self.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                self._lines.append(line)


class Stream:
    """An open event stream."""

    def __init__(
        self, port: int, body: Any, path: str = "/v1/chat/completions", headers: Mapping[str, str] | None = None
    ) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
        payload = json.dumps(body).encode()
        self._connection.request("POST", path, payload, {"Content-Type": "application/json", **(headers or {})})
        self.response = self._connection.getresponse()

    def events(self) -> Iterator[Any]:
        """Decoded events; "[DONE]" as that text."""
        while line := self.response.readline():
            if line.startswith(b"data: "):
                data = line[6:].strip()
                yield "[DONE]" if data == b"[DONE]" else json.loads(data)

    def text(self) -> str:
        """All the text, to the end of the stream."""
        chunks = [event for event in self.events() if event != "[DONE]"]
        return "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c.get("choices"))

    def close(self) -> None:
        """Leaves, whether or not the answer is complete."""
        self.response.close()
        self._connection.close()


def everything(channel: socket.socket) -> bytes:
    """What comes until the other side closes; a reset is an end too."""
    found = b""
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while piece := channel.recv(65536):
            found += piece
    return found


def free_port() -> int:
    """A port that nobody listens on right now."""
    with socket.socket() as channel:
        channel.bind(("127.0.0.1", 0))
        return int(channel.getsockname()[1])


@contextlib.contextmanager
def healthy(environ: Mapping[str, str]) -> Iterator[Engine]:
    """The engine, started as a gateway starts it, once it is healthy; gone afterwards."""
    running = Engine(python("-m", "phi4_engine"), environ)
    try:
        running.wait_for(200)
        yield running
    finally:
        running.close()
    assert "Traceback" not in running.log


def python(*arguments: str | Path) -> list[str]:
    """This interpreter with development warnings off and these arguments."""
    return [sys.executable, *map(str, arguments)]
