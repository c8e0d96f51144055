"""Starts Open WebUI in its container. The page is reachable once it has an administrator, and not before.

Whoever comes first to a page without accounts becomes its administrator. So a new page first runs behind a socket that
nobody else can reach, and waits there for whom the host's root names; his password comes over a socket too, and is in
no file, environment or command line. It uses what the page itself offers: /api/config and the sign-up.

Runs in the image's Python (3.11), standard library only; Compose gets it as text.
"""

from __future__ import annotations

import http.client
import json
import os
import pathlib
import secrets
import socket
import subprocess
import sys
import time
from typing import Any

DATA = pathlib.Path(os.environ.get("DATA_DIR", "/app/backend/data"))
KEY = DATA / ".webui_secret_key"
# There once the page has an administrator. The host's side (webui.py) knows both names.
MADE, DOOR = DATA / ".administrator", DATA / ".administrator.sock"
ACCOUNTS = DATA / "webui.db"
HIDDEN = os.path.join(os.environ.get("TMPDIR", "/tmp"), "page.sock")  # noqa: S108 - the container's own
LIMIT = 4096
SECONDS = 60.0


class Hidden(http.client.HTTPConnection):
    """HTTP to the page that nobody else can reach."""

    def connect(self) -> None:
        """Connects to its socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(SECONDS)
        self.sock.connect(HIDDEN)


def asked(method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
    """Status and document of one request to the hidden page. Raises OSError or ValueError when there is none."""
    page = Hidden("localhost", timeout=SECONDS)
    try:
        text = None if body is None else json.dumps(body)
        page.request(method, path, text, {"Content-Type": "application/json"})
        answer = page.getresponse()
        document = json.loads(answer.read(1 << 20))
        return answer.status, document if isinstance(document, dict) else {}
    except http.client.HTTPException as error:
        raise OSError(f"no HTTP answer: {error!r}") from None
    finally:
        page.close()


def command(*where: str) -> list[str]:
    """The page, listening at `where`."""
    return [sys.executable, "-m", "uvicorn", "open_webui.main:app", *where, "--workers", "1"]


def key() -> str:
    """The key that signs sessions; it is made once and stays with the data."""
    if not KEY.exists():
        fresh = KEY.with_name(KEY.name + ".new")
        fresh.touch(0o600)
        fresh.write_text(secrets.token_urlsafe(32))
        fresh.rename(KEY)
    return KEY.read_text()


def alive(page: subprocess.Popen[bytes]) -> None:
    """Ends this process when the hidden page has ended."""
    if page.poll() is not None:
        sys.exit(f"the page ended with status {page.returncode} before it had an administrator")


def ready(page: subprocess.Popen[bytes]) -> dict[str, Any]:
    """The page's own settings, once it answers."""
    while True:
        alive(page)
        try:
            status, document = asked("GET", "/api/config")
            if status == 200:
                return document
        except (OSError, ValueError):
            pass  # it is still starting
        time.sleep(0.5)


def made(order: dict[str, Any]) -> dict[str, Any]:
    """What came of signing up the administrator."""
    wanted = {name: str(order.get(name) or "") for name in ("name", "email", "password")}
    status, document = asked("POST", "/api/v1/auths/signup", wanted)
    good = status == 200 and document.get("role") == "admin"
    return {"made": good, "detail": "" if good else f"status {status}, {str(document.get('detail'))[:300]}"}


def line(client: socket.socket) -> dict[str, Any]:
    """The order: one line of JSON. Raises ValueError for anything else."""
    text = b""
    while not text.endswith(b"\n") and len(text) <= LIMIT:
        piece = client.recv(LIMIT)
        if not piece:
            break
        text += piece
    order = json.loads(text[:LIMIT])
    if not isinstance(order, dict):
        raise ValueError("the order is no object")
    return order


def wait_for_order(page: subprocess.Popen[bytes]) -> None:
    """The page has an administrator: whom the host's root named, who alone can reach this folder."""
    DOOR.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as door:
        before = os.umask(0o177)
        door.bind(str(DOOR))
        os.umask(before)
        door.listen(1)
        door.settimeout(1)
        done = False
        while not done:
            alive(page)
            try:
                client = door.accept()[0]
            except socket.timeout:  # its own name until Python 3.10
                continue
            with client:
                client.settimeout(SECONDS)
                try:
                    answer = made(line(client))
                    done = answer["made"]
                    client.sendall(json.dumps(answer).encode() + b"\n")
                except (OSError, ValueError) as error:
                    sys.stderr.write(f"an order for an administrator was not carried out: {type(error).__name__}\n")
    DOOR.unlink(missing_ok=True)


def administrator() -> None:
    """The page has an administrator afterwards. One that had accounts before needs none from us."""
    pathlib.Path(HIDDEN).unlink(missing_ok=True)  # of a start that was cut
    with subprocess.Popen(command("--uds", HIDDEN)) as page:
        try:
            if ready(page).get("onboarding"):
                sys.stderr.write("the page waits for its administrator, and is not reachable until then\n")
                wait_for_order(page)
        finally:
            page.terminate()
            try:
                page.wait(20)
            except subprocess.TimeoutExpired:
                page.kill()
    MADE.touch(0o600)


def main() -> None:
    """The page takes this process's place."""
    os.environ["WEBUI_SECRET_KEY"] = key()
    if not MADE.exists() or not ACCOUNTS.exists():
        administrator()
    os.execvp(sys.executable, command("--host", os.environ["HOST"], "--port", os.environ["PORT"]))  # noqa: S606


if __name__ == "__main__":
    main()
