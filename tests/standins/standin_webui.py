"""A stand-in for Open WebUI: starts as the real one does, asks the engine as it does, and has no page to look at.

It lies in its image as the module `uvicorn`, for that is what the real image runs. It holds what the real one holds to:
it does not start without a key for its sessions, it writes its pictures into STATIC_DIR and its data into DATA_DIR, the
first account is the administrator's and, without ENABLE_SIGNUP, the only one that anybody can make for himself; until
then /api/config says `onboarding`. An account has an address and a password of at most 72 bytes, which is kept hashed.
A question is sent to the engine as the real one sends it (standin_webui_chat.py).
What it leaves out: the page, chats that are kept, and everything else. Standard library, any Python from 3.9.
"""

import argparse
import hashlib
import http.server
import json
import os
import re
import secrets
import socketserver
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import standin_webui_chat as chat

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


def hashed(password: str, salt: str) -> str:
    """What is kept of a password."""
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt.encode(), 1000).hex()


class Handler(http.server.BaseHTTPRequestHandler):
    """The paths that the tests of phi4-edge ask."""

    accounts: Path

    def do_GET(self) -> None:
        """What anybody may ask; `/standin/models` is what only users see in the real one."""
        if self.path == "/health":
            self.answer(200, {"status": True})
        elif self.path == "/api/config":
            features = {"auth": on("WEBUI_AUTH", "True"), "enable_signup": on("ENABLE_SIGNUP", "True")}
            onboarding = {} if self.known() else {"onboarding": True}
            self.answer(200, {**onboarding, "status": True, "name": "Open WebUI (stand-in)", "features": features})
        elif self.path == "/standin/models":
            try:
                self.answer(200, {"data": models()})
            except (OSError, ValueError, KeyError, urllib.error.URLError) as error:
                self.answer(502, {"detail": f"{type(error).__name__}: {error}"})
        else:
            self.answer(404, {"detail": "Not Found"})

    def known(self) -> "list[list[str]]":
        """Address, salt and hash of each account."""
        return [line.split() for line in self.accounts.read_text().splitlines()]

    def do_POST(self) -> None:
        """Accounts: the first becomes administrator."""
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        known = self.known()
        if self.path == "/api/v1/auths/signup":
            self.signup(body, known)
        elif self.path == "/api/v1/auths/signin":
            for number, (email, salt, kept) in enumerate(known):
                if email == body["email"].lower() and kept == hashed(body["password"], salt):
                    self.answer(200, {"email": email, "role": "pending" if number else "admin"})
                    return
            self.answer(400, {"detail": "The email or password provided is incorrect."})
        elif self.path == "/standin/ask":
            self.ask(body)
        else:
            self.answer(404, {"detail": "Not Found"})

    def ask(self, body: "dict[str, Any]") -> None:
        """A question that a user types on the page; with `typed` false, one that a program asks over the API."""
        try:
            (model, *_) = models()
        except (OSError, ValueError, KeyError) as error:
            self.answer(502, {"detail": f"{type(error).__name__}: {error}"})
            return
        self.answer(200, chat.ask(model, str(body["question"]), bool(body.get("typed", True))))

    def signup(self, body: "dict[str, Any]", known: "list[list[str]]") -> None:
        """Sign-up form: name, email, password."""
        if known and not on("ENABLE_SIGNUP", "True"):
            self.answer(403, {"detail": "You do not have permission to access this resource."})
            return
        if not all(isinstance(body.get(name), str) for name in ("name", "email", "password")):
            self.answer(422, {"detail": [{"type": "missing", "msg": "Field required"}]})
            return
        email, password = body["email"].lower(), body["password"]
        if not email.endswith("@localhost") and not re.match(r"[^@]+@[^@]+\.[^@]+", email):
            self.answer(400, {"detail": "The email format you entered is invalid."})
            return
        if len(password.encode()) > 72:
            self.answer(400, {"detail": "Uh-oh! The password you entered is too long."})
            return
        salt = secrets.token_hex(8)
        lines = [" ".join(account) for account in [*known, [email, salt, hashed(password, salt)]]]
        self.accounts.write_text("".join(f"{line}\n" for line in lines))
        self.answer(200, {"email": email, "role": "pending" if known else "admin"})

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


class Hidden(socketserver.ThreadingUnixStreamServer):
    """HTTP on a socket in the file system."""

    daemon_threads = True

    def finish_request(self, request: Any, client_address: Any) -> None:
        """The peer has no address to be logged."""
        Handler(request, ("local", 0), self)  # type: ignore[arg-type]


def main() -> None:
    """Serve, as `uvicorn open_webui.main:app` would with --host and --port, or with --uds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("app", choices=["open_webui.main:app"])
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--uds")
    parser.add_argument("--workers", type=int, choices=[1])
    asked = parser.parse_args()
    Handler.accounts = prepare()
    time.sleep(float(os.environ.get("STANDIN_SLOW", "0")))
    if asked.uds:
        with Hidden(asked.uds, Handler) as hidden:
            hidden.serve_forever()
    with http.server.ThreadingHTTPServer((asked.host, asked.port), Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
