"""Chromium that is driven: pages are opened, typed into and read, over its own debugging pipe."""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.browser.chromium import Browser

FLAGS = (
    "--headless",
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    # Whatever a page wants from elsewhere is not there.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)
# Chromium reads its orders from file descriptor 3 and answers on 4.
PLUMBED = 'exec "$@" 3<&"$ORDERS" 4>&"$ANSWERS"'
SECONDS = 60.0


class Tab:
    """One page of a running Chromium."""

    def __init__(self, orders: int, answers: int) -> None:
        self._orders, self._answers = orders, answers
        self._number, self._text = 0, b""
        self._session = ""
        target = self.order("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.order("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def order(self, method: str, **given: Any) -> dict[str, Any]:
        """What Chromium answers to one order of its protocol."""
        self._number += 1
        session = {"sessionId": self._session} if self._session else {}
        message = {"id": self._number, "method": method, "params": given, **session}
        os.write(self._orders, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + SECONDS
        while True:
            found = self._message(end)
            if found.get("id") == self._number:
                assert "error" not in found, f"{method}: {found['error']}"
                return dict(found["result"])

    def _message(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._text:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, end - time.monotonic()))
            piece = os.read(self._answers, 1 << 20) if ready else b""
            assert piece, "Chromium did not answer, or has ended"
            self._text += piece
        line, _, self._text = self._text.partition(b"\0")
        return dict(json.loads(line))

    def open(self, address: str) -> None:
        """The page is on its way; `wait` says when something is there."""
        failed = self.order("Page.navigate", url=address).get("errorText")
        assert not failed, f"{address}: {failed}"

    def value(self, script: str) -> Any:
        """What an expression is on the page."""
        done = self.order("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, f"{script}: {done['exceptionDetails']}"
        return done["result"].get("value")

    def wait(self, script: str, seconds: float = SECONDS) -> Any:
        """What an expression is as soon as it is true; while pages change, it may fail."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if found := self.value(script):
                    return found
            except AssertionError as error:
                last = str(error)
            else:
                last = "not true"
            time.sleep(0.2)
        text = self.value("document.body.innerText")[-1500:]
        raise AssertionError(f"{script}: {last} after {seconds:g} s; the page shows:\n{text}")

    def type(self, selector: str, text: str) -> None:
        """The text is in the field, as if it had been typed."""
        self.wait(f"!!document.querySelector({json.dumps(selector)})")
        self.value(f"document.querySelector({json.dumps(selector)}).focus()")
        self.order("Input.insertText", text=text)

    def enter(self) -> None:
        """The Enter key goes down and up."""
        key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13}
        self.order("Input.dispatchKeyEvent", type="keyDown", text="\r", **key)
        self.order("Input.dispatchKeyEvent", type="keyUp", **key)

    def size(self, width: int, height: int) -> None:
        """The window is so large."""
        self.order("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def picture(self, path: Path) -> None:
        """`path` is a PNG of what the window shows."""
        path.write_bytes(base64.b64decode(self.order("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def driven(browser: Browser) -> Iterator[Tab]:
    """A tab of a Chromium of its own, which ends with the block."""
    orders_read, orders = os.pipe()
    answers, answers_write = os.pipe()
    theirs = (orders_read, answers_write)
    environ = {
        **os.environ, "HOME": str(browser.home), "ORDERS": str(orders_read), "ANSWERS": str(answers_write),
    }  # fmt: skip
    # Chromium's own sandbox does not work for root.
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    command = [browser.program, *FLAGS, *root, f"--user-data-dir={browser.home / 'driven'}"]
    with (browser.home / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", PLUMBED, "chromium", *command], pass_fds=theirs, env=environ, stdout=log, stderr=log
        )
        for each in theirs:
            os.close(each)
        try:
            yield Tab(orders, answers)
        finally:
            os.close(orders)  # it ends when nobody can give it orders any more
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            os.close(answers)
