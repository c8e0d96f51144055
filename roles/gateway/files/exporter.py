"""Says at /metrics how this gateway is: the engine's own counts, the gateway's, and what the host says of itself.

A unit of its own, phi4-edge-metrics.service. It lies in the release and takes what it needs from the release's plan.
Python 3.8 or newer, standard library, and the modules of ours beside it.

Each part has its own time. One that does not answer, or answers nonsense, is left out and named by
phi4_edge_scrape_part_success; the others are there all the same.
"""

from __future__ import annotations

import functools
import http.server
import json
import os
import socket
import sys
import threading
import time
from typing import Any, Callable, List, Mapping, NamedTuple, Optional

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # isolated Python looks nowhere else than in its own

import metrics_host
import metrics_served
import metrics_units
from metrics_served import Place
from metrics_text import Page

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - recognised here, never listened on
LOOPBACK = "127.0.0.1"
MEASURE = "measure.py"  # in the release where prompts are measured
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MOST_CONNECTIONS = 8
CONNECTION_SECONDS = 15.0
SCRAPE_SECONDS = 5.0  # Prometheus gives up after 10
FRESH_SECONDS = 1.0  # several who ask at once get the same
SELDOM = 30.0  # what costs something, and does not change from one scrape to the next


class Part(NamedTuple):
    """One source: what it adds to a page, how much of it was dropped, and how old it may be, in seconds."""

    name: str
    collect: Callable[[Page], int]
    every: float = 0.0


class Source:
    """A part at work: its last answer, in a thread of its own, of which there is never a second one."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.page: Optional[Page] = None
        self.began, self.ended, self.took = -1e9, -1e9, 0.0
        self.dropped = 0
        self.said = ""
        self.thread: Optional[threading.Thread] = None

    def start(self, now: float) -> None:
        """It is being asked, unless it still is, or its last answer will do."""
        busy = self.thread is not None and self.thread.is_alive()
        if busy or (self.page is not None and now - self.began < self.part.every):
            return
        self.began = now
        self.thread = threading.Thread(target=self._ask, name=self.part.name, daemon=True)
        self.thread.start()

    def _ask(self) -> None:
        page, began, why = Page(), time.monotonic(), ""
        try:
            self.dropped += self.part.collect(page)
        except (OSError, ValueError, RecursionError) as error:
            why = " ".join(str(error).split())[:200] or type(error).__name__
        self.ended = time.monotonic()
        self.took, self.page = self.ended - began, None if why else page
        if why != self.said:
            tell("%s: %s" % (self.part.name, why or "answers again"))
        self.said = why

    def answer(self, since: float, end: float) -> Optional[Page]:
        """What it said since then; what it says seldom may be older. None where there is nothing by `end`."""
        old = self.page is not None and time.monotonic() - self.ended < 3 * self.part.every
        if self.thread is not None and not old:
            self.thread.join(max(end - time.monotonic(), 0))
        return self.page if old or self.ended >= since else None


class Exporter:
    """All parts on one page."""

    def __init__(self, parts: List[Part]) -> None:
        self.sources = [Source(part) for part in parts]
        self.lock = threading.Lock()
        self.text, self.at = b"", -1e9

    def scrape(self) -> Optional[bytes]:
        """The page; None where another scrape takes too long."""
        if not self.lock.acquire(timeout=SCRAPE_SECONDS):
            return None
        try:
            if time.monotonic() - self.at >= FRESH_SECONDS:
                self.text = self._scrape()
                self.at = time.monotonic()
            return self.text
        finally:
            self.lock.release()

    def _scrape(self) -> bytes:
        now, whole = time.monotonic(), Page()
        for source in self.sources:
            source.start(now)
        for source in self.sources:
            page = source.answer(now, now + SCRAPE_SECONDS)
            if page is not None:
                whole.take(page.families)
            _about(whole, source, page is not None)
        return whole.text().encode()


def _about(page: Page, source: Source, good: bool) -> None:
    part = source.part.name
    page.add("phi4_edge_scrape_part_success", "gauge", "Whether a part of this page is there.", int(good), part=part)
    page.add("phi4_edge_scrape_part_seconds", "gauge", "How long a part took the last time.", source.took, part=part)
    text = "What a part sent that was no valid sample, and was left out."
    page.add("phi4_edge_scrape_dropped_total", "counter", text, source.dropped, part=part)


def parts_of(
    plan: Mapping[str, Any],
    root: str,
    state: str,
    sys_path: str = "/sys",
    fact: str = metrics_units.FACT,
    measured: bool = False,
) -> List[Part]:
    """What is looked at for a release, by its plan; `root`, `state`: the directories of what is installed.

    `measured`: the release has what measures prompts.
    """
    name, model = str(plan["engine"]), str(plan["model"]["served_name"])
    served, front = _place(plan["bind"], plan["port"]), plan["gateway"]
    counts = Place(LOOPBACK, int(front["metrics_port"]))
    found = [
        Part("gateway", functools.partial(metrics_served.gateway, place=counts, name=name)),
        Part("host", lambda page: metrics_host.host(page, "/proc", sys_path, {"root": root, "state": state})),
        Part("units", metrics_units.units),
        Part("release", lambda page: metrics_units.release(page, plan, state, fact)),
    ]
    if name == "ollama":
        found.append(Part("ollama", functools.partial(metrics_served.ollama, place=served, model=model)))
    elif plan["knobs"].get("metrics") is not False:
        found.append(Part("engine", functools.partial(metrics_served.engine, place=served, name=name)))
    if front["tls"]:
        shown = _place(front["bind"], front["port"])
        found.append(Part("certificate", functools.partial(metrics_served.certificate, place=shown), SELDOM))
    if measured:
        found.append(Part("measure", metrics_served.measured))
    if plan["accelerator"] == "cuda":
        found.append(Part("gpu", lambda page: metrics_host.gpus(page, sys_path), SELDOM))
    return found


def _place(bind: Any, port: Any) -> Place:
    """Where on this host something answers that listens on an address."""
    return Place(EVERYWHERE.get(str(bind), str(bind)), int(port))


class Handler(http.server.BaseHTTPRequestHandler):
    """GET /metrics, and nothing else."""

    protocol_version, server_version, sys_version = "HTTP/1.1", "phi4-edge", ""
    timeout = 5
    server: "Server"

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self._send(404, b"There is only /metrics here.\n", "text/plain")
            return
        text = self.server.exporter.scrape()
        if text is None:
            self._send(503, b"Another scrape takes too long.\n", "text/plain")
        else:
            self._send(200, text, CONTENT_TYPE)

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.close_connection = True
        self.send_response(status)
        for name, value in (("Content-Type", kind), ("Content-Length", str(len(body))), ("Connection", "close")):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_words: object) -> None:
        """Says nothing: who asks every few seconds would fill the journal."""


class Server(http.server.ThreadingHTTPServer):
    """Serves a few at a time, each for a while; who comes when it is full is sent away."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 32  # with Python's 5 some of several that come at once wait for a second

    def __init__(self, address: str, port: int, exporter: Exporter) -> None:
        self.exporter, self.free = exporter, threading.Semaphore(MOST_CONNECTIONS)
        super().__init__((address, port), Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self.free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        timer = threading.Timer(CONNECTION_SECONDS, _end, (request,))
        timer.daemon = True
        timer.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            timer.cancel()
            self.free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nothing to tell; anything else is."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def _end(request: socket.socket) -> None:
    try:
        request.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it has ended by itself


def tell(text: str) -> None:
    """One line of the unit's journal."""
    print(text, flush=True)  # noqa: T201


def serving(plan: Mapping[str, Any], parts: List[Part]) -> Server:
    """The server of a release's plan, which listens already. Raises OSError where it cannot."""
    return Server(LOOPBACK, int(plan["gateway"]["exporter_port"]), Exporter(parts))


if __name__ == "__main__":
    release_folder = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(release_folder, "plan.json"), encoding="utf-8") as plan_file:
        wanted = json.load(plan_file)
    measuring = os.path.exists(os.path.join(release_folder, MEASURE))
    try:
        serving(wanted, parts_of(wanted, sys.argv[1], sys.argv[2], measured=measuring)).serve_forever()
    except KeyboardInterrupt:
        sys.exit(0)
