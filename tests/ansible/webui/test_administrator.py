"""A new page is reachable once it has its administrator: what starts it, what names him, and who sees the password.

The program that starts the page runs here as it does in its container, with the stand-in for Open WebUI.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.core.engines.administrator import EMAIL, Person, person
from phi4_edge.errors import InventoryError
from tests.ansible.host_scripts import hostlib, load
from tests.ansible.plays import ROOT
from tests.standins import webui_image

webui = load("webui", "webui")
PASSWORD = "correct horse 電池 staple"
START = ROOT / "roles" / "webui" / "files" / "start.py"


class Page:
    """One page's folder and its processes."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.data.mkdir(mode=0o700)
        (folder / "tmp").mkdir()
        (folder / "modules").mkdir()
        for name, text in webui_image.modules().items():
            (folder / "modules" / name).write_bytes(text)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self.environ = {
            "PATH": os.environ["PATH"], "PYTHONPATH": str(folder / "modules"), "TMPDIR": str(folder / "tmp"),
            "DATA_DIR": str(self.data), "STATIC_DIR": str(folder / "static"), "HOST": "127.0.0.1",
            "PORT": str(self.port), "ENABLE_SIGNUP": "False", "OPENAI_API_BASE_URL": "http://127.0.0.1:1/v1",
        }  # fmt: skip
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        """The page begins, as its container begins it."""
        command = [sys.executable, "-c", START.read_text()]
        self.started.append(
            # A session of its own, in place of the container, with which all that it started ends.
            subprocess.Popen(
                command, env=self.environ, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
            )
        )
        return self.started[-1]

    def name(self, email: str = EMAIL, password: str = PASSWORD, seconds: float = 20) -> dict[str, Any]:
        """What the host's side does in a run."""
        return dict(webui.administrator({"data": str(self.data), "seconds": seconds}, person(email, password).order()))

    def asks(self) -> None:
        """Returns when the page waits for its administrator."""
        end = time.monotonic() + 20
        while webui.kind(str(self.data / webui.DOOR)) == 0:
            assert time.monotonic() < end
            time.sleep(0.05)

    def reachable(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def post(self, path: str, body: dict[str, str]) -> tuple[int, dict[str, Any]]:
        end = time.monotonic() + 20
        while not self.reachable():
            assert time.monotonic() < end
            time.sleep(0.05)
        way = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        way.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = way.getresponse()
        found = answer.status, json.loads(answer.read())
        way.close()
        return found

    def signin(self, password: str, email: str = EMAIL) -> tuple[int, dict[str, Any]]:
        return self.post("/api/v1/auths/signin", {"email": email, "password": password})


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    monkeypatch.setattr(webui, "POLL_SECONDS", 0.05)
    made = Page(tmp_path)
    yield made
    for process in made.started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_new_page_is_reachable_once_it_has_its_administrator(page: Page) -> None:
    page.start()
    page.asks()
    assert not page.reachable()
    assert (page.data / webui.DOOR).stat().st_mode & 0o777 == 0o600
    assert page.name() == {"changed": True, "made": True}
    assert page.signin(PASSWORD) == (200, {"email": EMAIL, "role": "admin"})
    assert page.signin("wrong password")[0] == 400
    assert page.post("/api/v1/auths/signup", {"name": "x", "email": "x@y.z", "password": "12345678"})[0] == 403
    assert not (page.data / webui.DOOR).exists()
    assert page.name(password="another password") == {"changed": False, "made": False}
    assert page.signin(PASSWORD)[0] == 200, "what it has counts"


def test_the_password_is_nowhere_but_hashed_in_the_accounts(page: Page, tmp_path: Path) -> None:
    seen: set[str] = set()
    over = threading.Event()

    def look() -> None:
        """Every argument and variable of every process, as often as they can be read."""
        while not over.wait(0.01):
            for process in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    texts = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
                    seen.update(process.name for text in texts if PASSWORD.encode() in text)

    watcher = threading.Thread(target=look)
    watcher.start()
    page.start()
    assert page.name()["made"]
    assert page.signin(PASSWORD)[0] == 200
    over.set()
    watcher.join()
    assert seen == set()
    escaped = json.dumps(PASSWORD).strip('"')
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert PASSWORD.encode() not in path.read_bytes(), path
            assert escaped.encode() not in path.read_bytes(), path


def test_a_page_that_has_accounts_needs_nobody(page: Page) -> None:
    """One of before: its accounts are there, the mark is not."""
    (page.data / "webui.db").write_text("old@site.example salt hash\n")
    page.start()
    assert page.name() == {"changed": False, "made": False}
    assert page.post("/api/v1/auths/signup", {"name": "x", "email": "x@y.z", "password": "12345678"})[0] == 403


def test_a_mark_without_accounts_is_not_believed(page: Page) -> None:
    (page.data / webui.MADE).touch()
    page.start()
    page.asks()
    assert not page.reachable()


def test_a_start_that_was_cut_is_begun_again(page: Page) -> None:
    first = page.start()
    page.asks()
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert (page.data / webui.DOOR).exists(), "nobody is behind it"
    again = threading.Timer(0.5, page.start)
    again.start()
    assert page.name()["made"]
    again.join()
    assert page.signin(PASSWORD)[0] == 200


@pytest.mark.parametrize(
    "order",
    [b"", b"\n", b"[]\n", b"{" * 5000, b'{"password": 7}\n', b"\xff\xfe\n", b'{"email": "x", "password": "y"}\n'],
)
def test_an_order_that_is_none_makes_nobody_and_the_next_one_does(page: Page, order: bytes) -> None:
    page.start()
    page.asks()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(page.data / webui.DOOR))
        client.sendall(order)
        client.shutdown(socket.SHUT_WR)
        client.settimeout(20)
        assert b'"made": true' not in client.recv(4096)
    assert not page.reachable()
    assert page.name()["made"]


def test_without_a_password_the_run_says_what_it_needs(page: Page) -> None:
    page.start()
    with pytest.raises(hostlib.HostError, match="needed webui_admin_password"):
        webui.administrator({"data": str(page.data), "seconds": 20}, b"")


def test_a_page_that_asks_for_nobody_ends_the_waiting(page: Page) -> None:
    with pytest.raises(hostlib.HostError, match=r"within 0.3 s; look at: journalctl -u phi4-edge-webui"):
        page.name(seconds=0.3)


@pytest.mark.parametrize("lie", [b"not JSON", b"[]", b'{"made": 1, "detail": "\\u001b[31m"}', b'{"made": "true"}'])
def test_a_page_that_lies_makes_nobody(page: Page, lie: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(page.data / webui.DOOR))
        door.listen(8)

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client = door.accept()[0]
                    client.recv(4096)
                    client.sendall(lie)
                    client.close()

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(hostlib.HostError) as caught:
            page.name(seconds=0.5)
    assert "\x1b" not in str(caught.value)


def test_a_link_in_the_place_of_the_socket_is_not_followed(page: Page, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as elsewhere:
        elsewhere.bind(str(tmp_path / "elsewhere.sock"))
        elsewhere.listen()
        (page.data / webui.DOOR).symlink_to(tmp_path / "elsewhere.sock")
        with pytest.raises(hostlib.HostError, match="did not ask"):
            page.name(seconds=0.3)
        elsewhere.setblocking(False)
        with pytest.raises(BlockingIOError):
            elsewhere.accept()


@pytest.mark.parametrize(
    ("email", "password", "told"),
    [
        ("nobody", PASSWORD, "webui_admin_email: found 'nobody'"),
        ("a@b", PASSWORD, "webui_admin_email"),
        ("a b@c.de", PASSWORD, "webui_admin_email"),
        ("a@b.c" + "d" * 300, PASSWORD, "webui_admin_email"),
        (EMAIL, "short", "found 5 bytes, needed 8 to 72 bytes"),
        (EMAIL, "x" * 73, "found 73 bytes"),
        (EMAIL, "電" * 25, "found 75 bytes"),
        (EMAIL, "new\nline1", "printable"),
    ],
)
def test_what_cannot_be_an_administrator_is_told_without_the_password(email: str, password: str, told: str) -> None:
    with pytest.raises(InventoryError, match=told) as caught:
        person(email, password)
    assert password not in str(caught.value)


def test_the_inventorys_password_goes_before_a_generated_one() -> None:
    assert person("", "from the vault", "generated1") == Person(EMAIL, "from the vault")
    assert person("", "", "generated1") == Person(EMAIL, "generated1", generated=True)
    assert person("Ops@Site.example", "").order() == b""
    assert "from the vault" not in repr(person("", "from the vault"))
