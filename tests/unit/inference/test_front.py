"""Asking through a gateway: the key goes with each request, to nobody but who has a certificate that is good."""

from __future__ import annotations

import contextlib
import http.server
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from phi4_edge.artifacts.certificates.authority import KEY, Authority
from phi4_edge.core.inventory import Host
from phi4_edge.errors import HostFailedError, PreflightError, UnreachableError
from phi4_edge.inference import client, front
from phi4_edge.ssh.tunnel import Connection
from tests.unit.artifacts.certificates.crafted import authority as client_authority
from tests.unit.artifacts.certificates.crafted import made
from tests.unit.core.gateway.certificates import certificate
from tests.unit.core.gateway.running_gateway import key, needs_haproxy, running, token

GOOD = token(1)


class Gateway(http.server.BaseHTTPRequestHandler):
    """Stand-in for a gateway with an engine behind it: a list of models for who has the key."""

    heard: list[str | None]

    def do_GET(self) -> None:
        self.heard.append(self.headers["Authorization"])
        known = self.headers["Authorization"] == f"Bearer {GOOD}"
        body = (
            b'{"object": "list", "data": [{"id": "phi-4-mini-instruct"}]}' if known else b'{"error": {"message": "no"}}'
        )
        self.send_response(200 if known else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_words: Any) -> None:
        pass


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path / KEY, int(time.time()))


@pytest.fixture
def served(authority: Authority, tmp_path: Path) -> Iterator[tuple[int, list[str | None]]]:
    """Port of a gateway on loopback, and the Authorization of every request that it got."""
    pem = tmp_path / "gateway.pem"
    pem.write_bytes(authority.issue(["127.0.0.1"], int(time.time())).pem)
    handler = type("Handler", (Gateway,), {"heard": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_words: None  # type: ignore[method-assign]  # who does not trust it hangs up
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port, handler.heard
    server.shutdown()
    thread.join()
    server.server_close()


@contextlib.contextmanager
def opened(
    port: int, key: str, ca: Path | None, address: str = "127.0.0.1", shown: Path | None = None, **more: Any
) -> Iterator[Connection]:
    asked = {"phi4_gateway": True, "phi4_gateway_port": port, **more}
    connect = front.connector(front.Client(key, ca, shown), lambda _host: asked)
    with contextlib.closing(connect(Host("gw1", address=address), "127.0.0.1", 8080, lambda _text: None)) as connection:
        yield connection


def test_a_client_with_the_key_is_answered(served: tuple[int, list[str | None]], tmp_path: Path) -> None:
    with opened(served[0], GOOD, tmp_path / "ca.pem") as connection:
        assert client.model(connection, "phi-4-mini-instruct", strictly=True) == "phi-4-mini-instruct"
    assert served[1] == [f"Bearer {GOOD}"]


def test_a_key_that_is_refused_is_called_so(served: tuple[int, list[str | None]], tmp_path: Path) -> None:
    with (
        opened(served[0], token(2), tmp_path / "ca.pem") as connection,
        pytest.raises(HostFailedError, match="was refused"),
    ):
        client.model(connection, "phi-4-mini-instruct", strictly=True)


@pytest.mark.parametrize("which", ["another CA", "none", "another name"])
def test_who_cannot_show_who_they_are_hears_no_key(
    served: tuple[int, list[str | None]], tmp_path: Path, which: str
) -> None:
    (tmp_path / "other").mkdir()
    Authority.create(tmp_path / "other" / KEY, int(time.time()))
    ca = {"another CA": tmp_path / "other" / "ca.pem", "none": None}.get(which, tmp_path / "ca.pem")
    address = "localhost" if which == "another name" else "127.0.0.1"
    with opened(served[0], GOOD, ca, address) as connection, pytest.raises(UnreachableError, match="not to be trusted"):
        client.model(connection, "phi-4-mini-instruct", strictly=True)
    assert served[1] == []


def test_where_nobody_listens_it_says_what_to_set(authority: Authority, tmp_path: Path) -> None:
    with opened(1, GOOD, tmp_path / "ca.pem") as connection, pytest.raises(UnreachableError, match="set phi4_bind"):
        client.model(connection, "x", strictly=True)


def test_a_host_without_one_and_a_file_without_a_ca_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PreflightError, match="found no gateway for gw1"), opened(1, GOOD, None, phi4_gateway=False):
        pass
    (tmp_path / "none.pem").write_text("none")
    with pytest.raises(PreflightError, match="found no CA in"), opened(1, GOOD, tmp_path / "none.pem"):
        pass
    assert GOOD not in repr(front.Client(GOOD))


@needs_haproxy
def test_a_gateway_that_wants_a_certificate_is_shown_it_and_its_refusal_is_told(tmp_path: Path) -> None:
    now = int(time.time())
    valid = {"begins": now - 60, "ends": now + 3600}
    (ca := tmp_path / "clients.pem").write_bytes((good := client_authority(**valid)).pem)
    north = made("north", (), good, **valid).write(tmp_path / "north.pem")
    other = made("other", (), client_authority(**valid), **valid).write(tmp_path / "other.pem")
    server = certificate(tmp_path)
    with running(tmp_path, key("north", 1), certificate=str(server), client_ca=str(ca)) as it:

        def ask(shown: Path | None) -> str:
            place = {"address": "localhost", "shown": shown, "phi4_gateway_client_ca": "clients.pem"}
            with opened(it.gateway.port, GOOD, tmp_path / "chain.pem", **place) as connection:
                return client.model(connection, "tiny", strictly=True)

        assert ask(north) == "tiny"
        with pytest.raises(HostFailedError, match=r"HTTP 403: No client certificate was sent.*--client-certificate"):
            ask(None)
        with pytest.raises(HostFailedError, match=r"HTTP 403: The client certificate is not signed by a CA"):
            ask(other)


def test_a_file_that_is_no_certificate_with_its_key_is_refused(tmp_path: Path) -> None:
    shown = made("north", ()).write(tmp_path / "north.pem")

    def refused(said: str) -> None:
        with pytest.raises(PreflightError, match=said), opened(1, GOOD, None, shown=shown):
            pass

    shown.chmod(0o640)
    refused(r"north\.pem may be read or written by others.*chmod 600")
    shown.chmod(0o600)
    shown.write_bytes(made("north", ()).pem)
    refused(r"found no certificate with its private key in .*north\.pem")
    locked = made("north", ())
    form = (Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    shown.write_bytes(locked.pem + locked.key.private_bytes(*form))
    refused(r"the key without a password \('openssl pkey")
    shown.unlink()
    refused("found no certificate with its private key in .*No such file")
