"""The real Open WebUI, started with our Compose document's settings, and a recorder between it and an engine."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests

from phi4_edge import lab as lab_room
from phi4_edge.core.engines.administrator import EMAIL, person
from phi4_edge.core.engines.compose import webui_document
from tests.ansible.host_scripts import load
from tests.browser.chromium import Browser
from tests.browser.devtools import Tab, driven
from tests.e2e.gateway import ROOT, Gateway
from tests.standins import standin_webui_chat as standin

__all__ = ["Browser", "Tab", "driven", "standin"]

ENVIRONMENT = ROOT / os.environ.get("WEBUI_VENV", "build/open-webui")
PASSWORD = "of the lane"
START_SECONDS = 600.0
# What the container has in other places than this machine.
PLACES = ("DATA_DIR", "STATIC_DIR", "HOME", "TMPDIR")
# The page is told with these what to ask of the engine; without them it does as it likes.
TOLD = (
    "DEFAULT_MODEL_METADATA", "DEFAULT_MODEL_PARAMS", "TASK_MODEL_PARAMS", "ENABLE_TITLE_GENERATION",
    "ENABLE_FOLLOW_UP_GENERATION", "ENABLE_TAGS_GENERATION", "ENABLE_AUTOCOMPLETE_GENERATION",
    "ENABLE_RETRIEVAL_QUERY_GENERATION",
)  # fmt: skip
HOP_BY_HOP = ("transfer-encoding", "connection", "keep-alive", "content-length")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@dataclass
class Asked:
    """One request of the page that is no look at the list of models."""

    path: str
    raw: bytes
    status: int = 0
    answered: bytes = b""
    whole: bool = False

    @property
    def body(self) -> dict[str, Any]:
        return dict(json.loads(self.raw))

    @property
    def text(self) -> str:
        """What a stream said."""
        lines = [
            line.removeprefix("data: ") for line in self.answered.decode().splitlines() if line.startswith("data: ")
        ]
        pieces = [json.loads(line) for line in lines if line != "[DONE]"]
        return "".join(choice["delta"].get("content") or "" for piece in pieces for choice in piece.get("choices", []))


class Recorder(ThreadingHTTPServer):
    """Hands on what it is asked to the engine at `port`, and remembers it."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        self.engine, self.asked = port, list[Asked]()
        super().__init__(("127.0.0.1", 0), RecorderHandler)

    def settle(self, least: int, quiet: float = 5.0, seconds: float = 300.0) -> None:
        """Returns when `least` requests or more are answered and nothing new has been asked for `quiet` seconds."""
        end, before, since = time.monotonic() + seconds, -1, time.monotonic()
        while time.monotonic() < end:
            if (now := len(self.asked)) != before or now < least or not all(each.whole for each in self.asked):
                before, since = now, time.monotonic()
            elif time.monotonic() - since > quiet:
                return
            time.sleep(0.2)
        raise AssertionError(f"the page still asks after {seconds:g} s: {len(self.asked)} requests")


class RecorderHandler(BaseHTTPRequestHandler):
    server: Recorder

    def do_GET(self) -> None:
        self.pass_on(None)

    def do_POST(self) -> None:
        self.pass_on(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def pass_on(self, raw: bytes | None) -> None:
        noted = Asked(self.path, raw or b"")
        if not self.path.endswith("/models"):
            self.server.asked.append(noted)
        engine = http.client.HTTPConnection("127.0.0.1", self.server.engine, timeout=300)
        engine.request(self.command, self.path, raw, {"Content-Type": "application/json"})
        answer = engine.getresponse()
        noted.status = answer.status
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        while piece := answer.read1(65536):
            noted.answered += piece
            self.wfile.write(piece)
        noted.whole = True
        engine.close()
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: what was asked is in `asked`."""


@contextmanager
def tunnel(host: Gateway) -> Iterator[int]:
    """A port of this machine that is the engine's on a gateway, as docs/webui.md says for the page."""
    port = free_port()
    options = ["-N", "-o", "ExitOnForwardFailure=yes", "-L", f"{port}:127.0.0.1:8080"]
    command = lab_room.ssh_command(host.lab, host.lab.host(host.name), options=options)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        try:
            await_answer(process, f"http://127.0.0.1:{port}/v1/models", 60)
            yield port
        finally:
            process.terminate()


def await_answer(process: subprocess.Popen[bytes], url: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, f"{process.args!r} ended with {process.returncode}"
        try:
            requests.get(url, timeout=20).raise_for_status()
            return
        except requests.RequestException:
            time.sleep(0.5)
    raise AssertionError(f"{url} did not answer in {seconds:g} s")


@contextmanager
def recording(port: int) -> Iterator[Recorder]:
    with Recorder(port) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield made
        finally:
            made.shutdown()
            thread.join()


@dataclass
class Page:
    """A running page: its address, and how it was told to ask."""

    url: str
    log: Path
    settings: dict[str, str] = field(default_factory=dict)


def service(plan: Mapping[str, Any], engine: int, port: int) -> dict[str, Any]:
    """The page's part of our Compose document, for an engine and a page on these ports."""
    moved = {**plan, "port": engine, "webui": {**plan["webui"], "port": port}}
    start = (ROOT / "roles" / "webui" / "files" / "start.py").read_text(encoding="utf-8")
    made = webui_document(moved, "sha256:" + "0" * 64, memory=1, start=start)
    return dict(made["services"]["webui"])


def name_administrator(process: subprocess.Popen[bytes], data: Path) -> None:
    """What the host's side does, in pieces, so that a page that has ended is not waited for."""
    webui, order = load("webui", "webui"), person(EMAIL, PASSWORD).order()
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, f"the page ended with {process.returncode}: see its log beside {data}"
        if webui.kind(str(data / webui.DOOR)):
            webui.administrator({"data": str(data), "seconds": 120}, order)
            return
        time.sleep(0.5)
    raise AssertionError(f"the page did not ask for its administrator in {START_SECONDS:g} s")


@contextmanager
def running(plan: Mapping[str, Any], recorder: Recorder, folder: Path, without: Sequence[str] = ()) -> Iterator[Page]:
    """The page as its container starts it, with its administrator; `without` some of its settings."""
    port = free_port()
    given = service(plan, recorder.server_port, port)
    unescaped = {name: value.replace("$$", "$") for name, value in given["environment"].items()}
    settings = {name: value for name, value in unescaped.items() if name not in without}
    places = {name: folder / name.lower() for name in PLACES}
    for place in places.values():
        place.mkdir(parents=True)
    (frontend,) = ENVIRONMENT.glob("lib/python3.*/site-packages/open_webui/frontend")
    environment = {
        **settings, **{name: str(place) for name, place in places.items()}, "PATH": os.environ["PATH"],
        "FRONTEND_BUILD_DIR": str(frontend),
    }  # fmt: skip
    command = [str(ENVIRONMENT / "bin" / "python"), *given["entrypoint"][1:]]
    command[-1] = command[-1].replace("$$", "$")
    page = Page(f"http://127.0.0.1:{port}", folder / "page.log", settings)
    with page.log.open("wb") as log:
        # A session of its own, in place of the container, with which all that it started ends.
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True)
        try:
            name_administrator(process, places["DATA_DIR"])
            await_answer(process, f"{page.url}/health", START_SECONDS)
            yield page
        finally:
            os.killpg(process.pid, 15)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                process.wait()
