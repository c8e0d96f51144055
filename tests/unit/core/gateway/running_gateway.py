"""The real HAProxy with a configuration of ours, in front of a fake engine."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import shutil
import signal
import socket
import ssl
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.core.gateway.balancer import Balancer
from phi4_edge.core.gateway.configuration import configuration
from phi4_edge.core.gateway.key_map import Key, digest, key_map
from phi4_edge.core.gateway.model import Gateway, Limits, Measuring, Server
from phi4_edge.core.text import version_of
from tests.unit.core.gateway.fake_engine import FakeEngine, serving

PROGRAM = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
needs_haproxy = pytest.mark.skipif(PROGRAM is None, reason="needs haproxy (.ci/host-setup installs it)")
SECONDS = 20.0
CHAT = "/v1/chat/completions"


def version() -> tuple[int, ...]:
    """That of the HAProxy on this machine, () where there is none."""
    if PROGRAM is None:
        return ()
    said = subprocess.run([PROGRAM, "-v"], capture_output=True, text=True, check=True, env={}).stdout
    return version_of(said.partition("version")[2])


def token(number: int) -> str:
    """A key as clients have it."""
    return "p4e_" + base64.urlsafe_b64encode(bytes([number]) * 32).decode().rstrip("=")


def key(name: str, number: int, **more: int) -> Key:
    """What is known of `token(number)`."""
    return Key(name, digest(token(number)), **more)


def until(done: Callable[[], bool], what: str) -> None:
    """Waits until `done`, at most `SECONDS`."""
    end = time.monotonic() + SECONDS
    while not done():
        assert time.monotonic() < end, what
        time.sleep(0.02)


@dataclass
class Answer:
    """One answer: status, headers in lower case, and the document; `text` for what is no JSON."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def document(self) -> Any:
        """The JSON in it."""
        return json.loads(self.text)


class Process:
    """A HAProxy that runs, with the configuration in `folder`: how clients ask it.

    `files`: others that it reads before.
    """

    def __init__(self, it: Gateway | Balancer, folder: Path, trusted: str, files: Sequence[Path] = ()) -> None:
        self._it, self.trusted = it, trusted
        self.log = folder / "log"
        name = f"phi4-edge-{uuid.uuid4().hex}"
        self._notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notified.bind(f"\0{name}")
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [str(PROGRAM), "-Ws", *(part for file in (*files, folder / "haproxy.cfg") for part in ("-f", file))],
                stdout=log,
                stderr=log,
                env={"NOTIFY_SOCKET": f"@{name}"},
            )

    def close(self) -> None:
        """It has ended."""
        self.process.terminate()
        self.process.wait(SECONDS)
        self._notified.close()

    def ready(self, seconds: float = SECONDS) -> bool:
        """Whether it says within so many seconds that it has started, or loaded its files anew."""
        self._notified.settimeout(seconds)
        try:
            while b"READY=1" not in self._notified.recv(4096):
                pass
        except TimeoutError:
            return False
        return True

    def connection(self, shown: Path | None = None) -> http.client.HTTPConnection:
        """A new connection to it. `shown`: the client's certificate and key, None for none."""
        if not self._it.certificate:
            return http.client.HTTPConnection("127.0.0.1", self._it.port, timeout=SECONDS)
        context = ssl.create_default_context(cafile=self.trusted)
        if shown:
            context.load_cert_chain(shown)
        return http.client.HTTPSConnection("localhost", self._it.port, timeout=SECONDS, context=context)

    def ask(
        self, path: str = CHAT, body: Any = None, sent: int | str | None = None, shown: Path | None = None, **more: str
    ) -> Answer:
        """GET, or POST with a body; `sent`: a key by number, or the whole header. `shown`: as of `connection`.

        `more`: headers.
        """
        bearer = f"Bearer {token(sent)}" if isinstance(sent, int) else sent
        headers = {**more, **({} if bearer is None else {"Authorization": bearer})}
        method = more.pop("method", "GET" if body is None else "POST")
        with contextlib.closing(self.connection(shown)) as client:
            client.request(method, path, None if body is None else json.dumps(body), headers)
            found = client.getresponse()
            got = {name.lower(): value for name, value in found.getheaders()}
            return Answer(found.status, got, found.read().decode())

    def answers(self) -> bool:
        """Whether it says that it serves."""
        try:
            return self.ask("/health").status == 200
        except (OSError, http.client.HTTPException):
            return False

    def wait(self) -> None:
        """It answers, and so does its engine through it."""
        until(self.answers, f"it does not answer: {self.log.read_text()}")


class Running(Process):
    """A gateway that runs, and the engine behind it."""

    def __init__(self, gateway: Gateway, engine: FakeEngine, folder: Path, trusted: str) -> None:
        self.gateway, self.engine, self._folder = gateway, engine, folder
        super().__init__(gateway, folder, trusted)

    def keys(self, *keys: Key) -> None:
        """These keys are let in from now on, or in a moment, and no others."""
        self.load(key_map(keys))

    def load(self, keys: str) -> None:
        """The keys in this map are let in from now on, or in a moment."""
        (self._folder / "keys.map").write_text(keys)
        for _ in range(5):
            self.process.send_signal(signal.SIGUSR2)
            if self.ready(1):  # one that comes as the master starts is lost
                return
        raise AssertionError(f"it does not load its files anew: {self.log.read_text()}")


def free_port() -> int:
    """A port that nobody holds."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def running(
    folder: Path,
    *keys: Key,
    certificate: str = "",
    trusted: str = "",
    limits: Limits | None = None,
    exporter_port: int = 0,
    client_ca: str = "",
    measuring: Measuring | None = None,
    **server: Any,
) -> Iterator[Running]:
    """A gateway with these keys in front of an engine of its own; without any it lets everybody in.

    `trusted`: the file of CAs that its clients trust, where the certificate did not sign itself. `client_ca`: that of
    clients' own certificates.
    """
    with serving() as engine:
        behind = replace(Server("tiny", port=engine.port), **server)
        path = str(folder / "keys.map") if keys else ""
        gateway = Gateway(
            *("127.0.0.1", free_port(), behind, certificate, path, free_port(), exporter_port, limits or Limits()),
            client_ca=client_ca,
            measuring=measuring,
        )
        (folder / "keys.map").write_text(key_map(keys))
        (folder / "haproxy.cfg").write_text(configuration(gateway))
        found = Running(gateway, engine, folder, trusted or certificate)
        try:
            assert found.ready(), found.log.read_text()
            found.wait()
            yield found
        finally:
            found.close()
