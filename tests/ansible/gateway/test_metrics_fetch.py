"""The certificate that a gateway shows: until when it is good, whoever issued it, and whatever else is sent instead."""

from __future__ import annotations

import contextlib
import datetime
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509

from tests.ansible.gateway.exporting import metrics_fetch
from tests.unit.core.gateway.certificates import certificate


def end_of(path: Path) -> int:
    """Of the first certificate of a PEM file, as another library reads it."""
    return int(x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc.timestamp())


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def listen() -> Iterator[Callable[[Callable[[socket.socket], object]], int]]:
    """Starts a server that does this with its only client; returns its port."""
    threads: list[threading.Thread] = []

    def start(doing: Callable[[socket.socket], object]) -> int:
        listener = socket.create_server(("127.0.0.1", 0))

        def serve() -> None:
            # A client may leave before it has read all.
            with listener, listener.accept()[0] as client, contextlib.suppress(ConnectionError):
                doing(client)

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return int(listener.getsockname()[1])

    yield start
    for thread in threads:
        thread.join(10)


def test_the_end_of_what_is_shown(pem: Path, listen: Callable[[Callable[[socket.socket], object]], int]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    def shake(client: socket.socket) -> None:
        with context.wrap_socket(client, server_side=True) as secure:
            secure.recv(1)

    assert metrics_fetch.certificate_end("127.0.0.1", listen(shake), 5) == end_of(pem)


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.0 200 OK\r\n\r\n", b"\x16\x03\x01\xff\xff"])
def test_what_is_no_tls_is_an_error_in_time(
    listen: Callable[[Callable[[socket.socket], object]], int], sent: bytes
) -> None:
    def answer(client: socket.socket) -> None:
        client.sendall(sent)
        client.settimeout(3)
        while client.recv(4096):
            pass

    with pytest.raises(OSError):
        metrics_fetch.certificate_end("127.0.0.1", listen(answer), 0.5)


def test_dates_after_2049_are_written_in_another_way(pem: Path) -> None:
    der = ssl.PEM_cert_to_DER_cert(pem.read_text().split("-----BEGIN EC")[0].split("-----BEGIN PR")[0])
    assert metrics_fetch.not_after(der) == end_of(pem)
    moment = datetime.datetime.fromtimestamp(end_of(pem), datetime.UTC)
    old, new = moment.strftime("%y%m%d%H%M%SZ").encode(), b"490101000000Z"
    assert der.count(b"\x17\x0d" + old) == 1
    assert metrics_fetch.not_after(der.replace(old, new)) == 2_493_072_000
    assert metrics_fetch.not_after(der.replace(old, b"991231235959Z")) == 946_684_799


def test_no_bytes_make_it_fail_in_another_way(pem: Path) -> None:
    der = ssl.PEM_cert_to_DER_cert(pem.read_text().split("-----BEGIN EC")[0].split("-----BEGIN PR")[0])
    for at in range(min(len(der), 400)):
        for damaged in (der[:at], der[:at] + b"\xff" + der[at + 1 :], der[:at] + b"\x00" + der[at + 1 :]):
            try:
                metrics_fetch.not_after(damaged)
            except ValueError:
                continue
