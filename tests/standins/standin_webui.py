"""A stand-in for Open WebUI: starts as the real one does, asks the engine as it does, and has no page to look at.

It lies in its image as the module `uvicorn`, for that is what the real image runs. It holds what the real one holds to:
it does not start without a key for its sessions, it writes its pictures into STATIC_DIR and its data into DATA_DIR, the
first account is the administrator's and, without ENABLE_SIGNUP, the only one that anybody can make for himself. What it
leaves out: the page, passwords, chats, and everything else. One file, standard library, any Python from 3.9.
"""

import argparse
import http.server
import json
import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

SECONDS = 10  # for an answer of the engine


def on(name: str, default: str) -> bool:
    """Whether a switch of the real one is on."""
    return os.environ.get(name, default).lower() == "true"


def prepare() -> Path:
    """Everything that the real one writes at its start is written; returns the file of its accounts."""
    if on("WEBUI_AUTH", "True") and not os.environ.get("WEBUI_SECRET_KEY"):
        raise SystemExit("WEBUI_SECRET_KEY is required when WEBUI_AUTH is on")
    data, static = Path(os.environ["DATA_DIR"]), Path(os.environ["STATIC_DIR"])
    for folder in (data / "uploads", data / "cache", static):
        folder.mkdir(parents=True, exist_ok=True)
    (static / "favicon.png").write_bytes(b"\x89PNG stand-in")
    accounts = data / "webui.db"
    accounts.touch()
    return accounts


def models() -> list[str]:
    """Names of the models that the engine lists."""
    request = urllib.request.Request(f"{os.environ['OPENAI_API_BASE_URL']}/models")
    request.add_header("Authorization", f"Bearer {os.environ.get('OPENAI_API_KEY', '')}")
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        return [model["id"] for model in json.load(answer)["data"]]


class Handler(http.server.BaseHTTPRequestHandler):
    """The paths that the tests of phi4-edge ask."""

    accounts: Path

    def do_GET(self) -> None:
        """What anybody may ask; `/standin/models` is what only users see in the real one."""
        if self.path == "/health":
            self.answer(200, {"status": True})
        elif self.path == "/api/config":
            features = {"auth": on("WEBUI_AUTH", "True"), "enable_signup": on("ENABLE_SIGNUP", "True")}
            self.answer(200, {"status": True, "name": "Open WebUI (stand-in)", "features": features})
        elif self.path == "/standin/models":
            try:
                self.answer(200, {"data": models()})
            except (OSError, ValueError, KeyError, urllib.error.URLError) as error:
                self.answer(502, {"detail": f"{type(error).__name__}: {error}"})
        else:
            self.answer(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        """Accounts: the first becomes administrator."""
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        if self.path != "/api/v1/auths/signup":
            self.answer(404, {"detail": "Not Found"})
            return
        known = self.accounts.read_text().splitlines()
        if known and not on("ENABLE_SIGNUP", "True"):
            self.answer(403, {"detail": "You do not have permission to access this resource."})
            return
        self.accounts.write_text("".join(f"{name}\n" for name in [*known, body["email"]]))
        self.answer(200, {"email": body["email"], "role": "pending" if known else "admin"})

    def answer(self, status: int, document: Any) -> None:
        """One JSON document."""
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """To standard output, which is the log of a container."""
        sys.stdout.write(f"{self.address_string()} {format % args}\n")
        sys.stdout.flush()


def main() -> None:
    """Serve, as `uvicorn open_webui.main:app --host HOST --port PORT` would."""
    parser = argparse.ArgumentParser()
    parser.add_argument("app", choices=["open_webui.main:app"])
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, choices=[1])
    asked = parser.parse_args()
    Handler.accounts = prepare()
    time.sleep(float(os.environ.get("STANDIN_SLOW", "0")))
    with http.server.ThreadingHTTPServer((asked.host, asked.port), Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
