"""Stand-in of the ONNX engine that goes wrong on purpose: put in the place of phi4_engine/__main__.py on a lab host.

Speaks what the gate and the watch ask (/health, /v1/models, /v1/chat/completions) and systemd's notifications; leaves
out the model, streaming, and every check of a request. What goes wrong is read at its start from the JSON object in
/etc/standin-engine.json (STANDIN_ENGINE names another file), {} where there is none:

    die_after    seconds after its start it is gone, as after a segmentation fault
    hang_after   so many answers are given, then a generation never ends; /health goes on
    deaf_after   seconds after its start /health gets no answer any more, the process stays
"""

from __future__ import annotations

import http.server
import json
import os
import socket
import threading
import time
from pathlib import Path

START = time.monotonic()
SETTINGS = Path(os.environ.get("STANDIN_ENGINE", "/etc/standin-engine.json"))


def settings() -> dict[str, float]:
    """What goes wrong."""
    return dict(json.loads(SETTINGS.read_text())) if SETTINGS.exists() else {}


WRONG = settings()
ANSWERS: list[float] = []


def notify(text: str) -> None:
    """Tell systemd."""
    path = os.environ.get("NOTIFY_SOCKET")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.sendto(text.encode(), "\0" + path[1:] if path.startswith("@") else path)


def age() -> None:
    """Signs of life, and the end when it is due."""
    while True:
        notify("WATCHDOG=1")
        if time.monotonic() - START > WRONG.get("die_after", 1e9):
            os.write(2, b"ERROR: standin engine: dies as it was told\n")
            os.kill(os.getpid(), 11)
        time.sleep(0.2)


class Engine(http.server.BaseHTTPRequestHandler):
    """The three paths that are asked."""

    def answer(self, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        name = os.environ["PHI4_MODEL_NAME"]
        if time.monotonic() - START > WRONG.get("deaf_after", 1e9):
            time.sleep(3600)
        if self.path == "/health":
            self.answer({"status": "healthy", "model": name, "release": os.environ["PHI4_RELEASE"]})
        else:
            self.answer({"object": "list", "data": [{"id": name, "object": "model"}]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if len(ANSWERS) >= WRONG.get("hang_after", 1e9):
            time.sleep(3600)
        ANSWERS.append(time.monotonic())
        message = {"role": "assistant", "content": "hello"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        self.answer({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage})

    def log_message(self, *_: object) -> None:
        """Nothing: the journal is for what went wrong."""


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer((os.environ["PHI4_BIND"], int(os.environ["PHI4_PORT"])), Engine)
    threading.Thread(target=age, daemon=True).start()
    notify("READY=1")
    server.serve_forever()
