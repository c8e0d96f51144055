"""What is asked on loopback: a page of HTTP, and the certificate that clients are shown. Bounded in bytes and in time.

Python 3.8, standard library.
"""

from __future__ import annotations

import calendar
import contextlib
import http.client
import socket
import ssl
import threading
import time
from typing import Iterator, Tuple

_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18


def fetch(address: str, port: int, path: str, seconds: float, limit: int) -> bytes:
    """The body of a page. Raises OSError for another status than 200, and for what is too slow or too large.

    Whoever sends a byte now and then does not hold it: it takes at most twice `seconds`.
    """
    connection = http.client.HTTPConnection(address, port, timeout=seconds)
    try:
        connection.connect()
        with _until(connection.sock, seconds) as late:
            connection.request("GET", path, headers={"Accept": "text/plain, application/json", "Connection": "close"})
            answer = connection.getresponse()
            body = answer.read(limit + 1)
        if answer.status != 200:
            raise OSError("HTTP status %d" % answer.status)
        if len(body) > limit or answer.length or late.is_set():
            raise OSError("more than %d bytes, not whole, or too late" % limit)
        return body
    except http.client.HTTPException as error:
        raise OSError("no HTTP answer: %.200r" % error) from None
    finally:
        connection.close()


@contextlib.contextmanager
def _until(sock: socket.socket, seconds: float) -> Iterator[threading.Event]:
    """The connection ends after that time, whatever still comes, and the event says that it did."""
    late = threading.Event()
    timer = threading.Timer(seconds, _cut, (sock, late))
    timer.daemon = True
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()


def _cut(sock: socket.socket, late: threading.Event) -> None:
    late.set()
    with contextlib.suppress(OSError):  # it has ended by itself
        sock.shutdown(socket.SHUT_RDWR)


def certificate_end(address: str, port: int, seconds: float) -> int:
    """Until when the certificate is good that a server shows, in seconds since 1970. Raises OSError or ValueError.

    It is only read: whom it was issued by is for clients to judge.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    plain = socket.create_connection((address, port), timeout=seconds)
    with context.wrap_socket(plain, do_handshake_on_connect=False) as secure, _until(secure, seconds):
        secure.do_handshake()
        shown = secure.getpeercert(binary_form=True)
    return not_after(shown or b"")


def not_after(der: bytes) -> int:
    """The end of an X.509 certificate's validity, in seconds since 1970. Raises ValueError."""
    _tag, at, _end = _element(der, 0)  # Certificate
    _tag, at, _end = _element(der, at)  # tbsCertificate
    tag, _start, end = _element(der, at)
    # version is there from v2 on; then serialNumber, signature, issuer.
    for _ in range(3 if tag == 0xA0 else 2):
        _tag, _start, end = _element(der, end)
    _tag, at, _end = _element(der, end)  # validity
    _tag, _start, at = _element(der, at)
    tag, at, end = _element(der, at)
    text = der[at:end]
    if tag == _UTC_TIME:
        text = (b"19" if text[:2] >= b"50" else b"20") + text
    if tag not in (_UTC_TIME, _GENERALIZED_TIME):
        raise ValueError("no end of validity in the certificate")
    return calendar.timegm(time.strptime(text.decode("ascii"), "%Y%m%d%H%M%SZ"))


def _element(der: bytes, at: int) -> Tuple[int, int, int]:
    """Tag, begin and end of the content of the DER element at a place."""
    if at + 2 > len(der):
        raise ValueError("the certificate ends too early")
    tag, size, at = der[at], der[at + 1], at + 2
    if size & 0x80:
        count = size & 0x7F
        if count > 4:
            raise ValueError("an element of the certificate is too long")
        size, at = int.from_bytes(der[at : at + count], "big"), at + count
    if at + size > len(der):
        raise ValueError("an element of the certificate goes beyond its end")
    return tag, at, at + size
