"""Certificates of the fleet's CA with real servers and real clients, which know nothing but the CA."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from phi4_edge.artifacts.certificates.authority import KEY, PUBLIC, Authority
from phi4_edge.artifacts.certificates.operator import read_operator
from phi4_edge.artifacts.certificates.pem import Issued
from tests.unit.artifacts.certificates.crafted import Made, authority, made
from tests.unit.core.gateway.running_gateway import needs_haproxy, running

NAMES = ("gw1.example", "localhost", "192.0.2.7", "127.0.0.1", "2001:db8::7", "::1")
OTHERS = ("gw2.example", "example", "sub.gw1.example", "192.0.2.8", "127.0.0.2", "2001:db8::8")
SECONDS = 20.0
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


@dataclass
class Site:
    """A CA, the file that clients trust, and a certificate that it issued."""

    path: Path
    trusted: Path
    issued: Issued


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    path = tmp_path_factory.mktemp("site") / KEY
    now = int(time.time())
    return Site(path, path.with_name(PUBLIC), Authority.create(path, now).issue(NAMES, now))


@contextlib.contextmanager
def serving(issued: Issued, folder: Path) -> Iterator[int]:
    """The port of a server with this certificate, which greets who gets through the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (folder / "served.pem").write_bytes(issued.pem)
    context.load_cert_chain(folder / "served.pem")

    def answer() -> None:
        while True:
            try:
                plain, _ = listening.accept()
            except OSError:
                return
            plain.settimeout(SECONDS)
            # A client that refuses the certificate leaves in the middle.
            with plain, contextlib.suppress(OSError), context.wrap_socket(plain, server_side=True) as client:
                client.sendall(b"hello")
                client.unwrap()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(SECONDS)


def greeting(port: int, name: str, trusted: str, said: bytes = b"") -> bytes:
    """What a client hears, after what it said, that trusts these certificates alone and looks for this name."""
    context = ssl.create_default_context(cadata=trusted)
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    with (
        socket.create_connection(("127.0.0.1", port), SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=name) as client,
    ):
        client.sendall(said)
        return client.recv(5)


@pytest.fixture(scope="module")
def port(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with serving(site.issued, tmp_path_factory.mktemp("served")) as port:
        yield port


@pytest.mark.parametrize("name", NAMES)
def test_a_client_that_trusts_the_ca_accepts_each_name(site: Site, port: int, name: str) -> None:
    assert greeting(port, name, site.trusted.read_text()) == b"hello"


@pytest.mark.parametrize("name", OTHERS)
def test_another_name_is_refused(site: Site, port: int, name: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match=r"mismatch|not valid for"):
        greeting(port, name, site.trusted.read_text())


def test_who_trusts_another_ca_refuses(port: int, tmp_path: Path) -> None:
    stranger = Authority.create(tmp_path / KEY, int(time.time()))
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
        greeting(port, "gw1.example", stranger.certificate)


def test_a_rotation_needs_both_for_a_while_and_then_the_new_one_alone(tmp_path: Path) -> None:
    path, now = tmp_path / KEY, int(time.time())
    old = Authority.create(path, now)
    before = old.issue(NAMES, now)
    new = Authority.create(path, now, rotate=True)
    after = new.issue(NAMES, now)
    with serving(before, tmp_path) as port:
        assert greeting(port, "gw1.example", new.trusted) == b"hello"
        with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
            greeting(port, "gw1.example", new.certificate)
    with serving(after, tmp_path) as port:
        assert greeting(port, "gw1.example", new.trusted) == b"hello"
        assert greeting(port, "gw1.example", new.certificate) == b"hello"
        with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
            greeting(port, "gw1.example", old.certificate)


def test_who_has_a_gateways_key_signs_for_no_other(site: Site, tmp_path: Path) -> None:
    (certificate,) = x509.load_pem_x509_certificates(site.issued.pem)
    stolen = Made(certificate, load_pem_private_key(site.issued.pem, None))
    now = int(time.time())
    forged = made("gw2", ["gw2.example"], issuer=stolen, begins=now - 60, ends=now + 3600)
    chain = Issued(forged.pem + stolen.pem + forged.key_pem, now, "", (), "")
    with serving(chain, tmp_path) as port, pytest.raises(ssl.SSLCertVerificationError, match="invalid CA"):
        greeting(port, "gw2.example", site.trusted.read_text())


def test_an_operators_chain_is_served_whole(tmp_path: Path) -> None:
    now = int(time.time())
    times = {"begins": now - 60, "ends": now + 3600}
    root = authority("root", **times)
    middle = authority("middle", issuer=root, **times)
    leaf = made(names=NAMES, issuer=middle, **times)
    found = read_operator(leaf.write(tmp_path / "whole.pem", middle), None, now)
    with serving(found, tmp_path) as port:
        assert greeting(port, "gw1.example", root.pem.decode()) == b"hello"


@needs_openssl
@pytest.mark.parametrize(
    ("option", "name", "good"),
    [
        ("-verify_hostname", "gw1.example", True),
        ("-verify_ip", "192.0.2.7", True),
        ("-verify_ip", "2001:db8::7", True),
        ("-verify_hostname", "gw2.example", False),
        ("-verify_ip", "192.0.2.8", False),
        ("-verify_ip", "2001:db8::8", False),
    ],
)
def test_openssl_agrees(site: Site, port: int, option: str, name: str, good: bool) -> None:
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", str(site.trusted), option, name]
    strict = ["-verify_return_error", "-x509_strict", "-purpose", "sslserver", "-no-CApath"]
    done = subprocess.run([*command, *strict], capture_output=True, text=True, timeout=SECONDS, input="", check=False)
    assert (done.returncode == 0) is good, done.stderr
    assert ("Verify return code: 0 (ok)" in done.stdout) is good


@needs_haproxy
def test_haproxy_serves_it(site: Site, tmp_path: Path) -> None:
    (tmp_path / "certificate.pem").write_bytes(site.issued.pem)
    certificate = str(tmp_path / "certificate.pem")
    with running(tmp_path, certificate=certificate, trusted=str(site.trusted)) as gateway:
        assert gateway.ask("/health").status == 200  # by the name localhost
        for name in NAMES:
            assert greeting(gateway.gateway.port, name, site.trusted.read_text(), b"GET\r\n\r\n") == b"HTTP/"
        with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
            greeting(gateway.gateway.port, "gw2.example", site.trusted.read_text())
