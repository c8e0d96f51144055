"""A real browser without a screen: a page is served on loopback, and harness.html looks at it."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HARNESS = Path(__file__).with_name("harness.html")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--disable-gpu",
    "--hide-scrollbars",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    "--virtual-time-budget=60000",
    "--dump-dom",
)


class Site:
    """Serves one page and the harness on loopback, and remembers every path that was asked for."""

    def __init__(self, page: str) -> None:
        self.asked: list[str] = []
        files = {"/harness.html": HARNESS.read_bytes(), "/page.html": page.encode()}
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                asked.append(path)
                body = files.get(path, b"")
                self.send_response(200 if path in files else 404)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Says nothing: what was asked for is in `asked`."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def serving(page: str) -> Iterator[Site]:
    site = Site(page)
    thread = threading.Thread(target=site.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield site
    finally:
        site.server.shutdown()
        thread.join()
        site.server.server_close()


class Browser:
    """Debian's Chromium, or another that is there."""

    def __init__(self, home: Path) -> None:
        self.home = home

    @cached_property
    def program(self) -> str:
        found = next((path for name in NAMES if (path := shutil.which(name))), None)
        assert found, "found no Chromium, needed one to look at pages: run .ci/browser-setup"
        return found

    def dump(self, address: str, *flags: str) -> str:
        """The page as it is when its scripts have come to rest."""
        # Chromium's own sandbox does not work for root.
        root = ["--no-sandbox"] if os.geteuid() == 0 else []
        profile = f"--user-data-dir={self.home / 'profile'}"
        run = subprocess.run(
            [self.program, *FLAGS, *root, profile, *flags, address],
            check=False,
            capture_output=True,
            text=True,
            timeout=180,
            env={**os.environ, "HOME": str(self.home)},
        )
        assert run.returncode == 0, run.stderr[-2000:]
        return run.stdout

    def look(self, page: str, ways: Sequence[str], *flags: str) -> tuple[dict[str, Any], list[str]]:
        """What the page is in each of these ways ('390.dark'), and every path that was asked for."""
        with serving(page) as site:
            shown = self.dump(f"{site.address}/harness.html?{','.join(ways)}", *flags)
            found = re.search(r'<pre id="result">([^<]+)</pre>', shown)
            assert found, shown[-2000:]
            return json.loads(base64.b64decode(found[1])), site.asked
