"""Requests that nobody should send, as bytes on a socket: each gets its answer or its end, and harms nothing."""

from __future__ import annotations

import json
import random
import re
import socket
import time

import pytest
from client import Engine, everything

from phi4_engine.hosts import Hosts

CHAT = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
GET = b"GET /health HTTP/1.1\r\n"
OK = b"Host: localhost\r\nConnection: close\r\n"
BODY = json.dumps({"messages": [{"role": "user", "content": "hi"}]}).encode()

# name: (what is sent, statuses that are right; 0 stands for an end without an answer)
ROWS: dict[str, tuple[bytes, set[int]]] = {
    "no HTTP": (b"hello\r\n\r\n", {400}),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(60) + b"\r\n\r\n", {400}),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {505}),
    "HTTP/3.0": (b"GET / HTTP/3.0\r\n" + OK + b"\r\n", {505}),
    "HTTP/0.9": (b"GET /\r\n\r\n", {400}),
    "no host": (b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n", {400}),
    "two hosts": (GET + b"Host: localhost\r\nHost: localhost\r\n\r\n", {400}),
    "empty host": (GET + b"Host:\r\nConnection: close\r\n\r\n", {403}),
    "foreign host": (GET + b"Host: evil.example\r\n\r\n", {403}),
    "foreign host with our port": (GET + b"Host: evil.example:8080\r\n\r\n", {403}),
    "rebinding to a name like ours": (GET + b"Host: localhost.evil.example\r\n\r\n", {403}),
    "rebinding to an address like ours": (GET + b"Host: 127.0.0.1.evil.example\r\n\r\n", {403}),
    "another address": (GET + b"Host: 192.0.2.7\r\n\r\n", {403}),
    "host with a user": (GET + b"Host: localhost@evil.example\r\n\r\n", {403}),
    "host with a path": (GET + b"Host: localhost/evil.example\r\n\r\n", {403}),
    "host with a bad port": (GET + b"Host: localhost:99999999\r\n\r\n", {403}),
    "host that is bytes": (GET + b"Host: \xff\xfe\r\n\r\n", {400, 403}),
    "host as a number": (GET + b"Host: 2130706433\r\n\r\n", {403}),
    "foreign origin": (GET + OK + b"Origin: https://evil.example\r\n\r\n", {403}),
    "null origin": (GET + OK + b"Origin: null\r\n\r\n", {403}),
    "origin of a file": (GET + OK + b"Origin: file://\r\n\r\n", {403}),
    "origin like ours": (GET + OK + b"Origin: http://localhost.evil.example\r\n\r\n", {403}),
    "two origins": (GET + OK + b"Origin: http://localhost\r\nOrigin: http://evil.example\r\n\r\n", {403}),
    "foreign origin before a body": (
        CHAT + b"Origin: http://evil.example\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY, {403}),
    "preflight of a browser": (
        b"OPTIONS /v1/chat/completions HTTP/1.1\r\n" + OK + b"Origin: http://evil.example\r\n"
        b"Access-Control-Request-Method: POST\r\n\r\n", {403}),
    "method that is none": (b"FOO\x00BAR / HTTP/1.1\r\n" + OK + b"\r\n", {400}),
    "method of 10 KiB": (b"A" * 10240 + b" / HTTP/1.1\r\n" + OK + b"\r\n", {400, 405}),
    "CONNECT": (b"CONNECT 192.0.2.1:22 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", {400, 404, 405}),
    "TRACE": (b"TRACE /health HTTP/1.1\r\n" + OK + b"\r\n", {405}),
    "target of 20 KiB": (b"GET /" + b"a" * 20480 + b" HTTP/1.1\r\n" + OK + b"\r\n", {400, 414, 431}),
    "target of a proxy": (b"GET http://192.0.2.1/ HTTP/1.1\r\n" + OK + b"\r\n", {403}),
    "target with a foreign host before ours": (
        b"GET http://evil.example/health HTTP/1.1\r\n" + OK + b"\r\n", {403}),
    "absolute target": (b"GET http://localhost/health HTTP/1.1\r\n" + OK + b"\r\n", {200}),
    "absolute target and another host": (
        b"GET HTTP://localhost:80/v1/models HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", {200}),
    "absolute target without a path": (b"GET http://localhost HTTP/1.1\r\n" + OK + b"\r\n", {200}),
    "absolute target with a query for a host": (b"GET http://localhost?x HTTP/1.1\r\n" + OK + b"\r\n", {400}),
    "absolute target without a host": (b"GET http:///health HTTP/1.1\r\n" + OK + b"\r\n", {400}),
    "absolute target with a user": (b"GET http://a@localhost/health HTTP/1.1\r\n" + OK + b"\r\n", {403}),
    "absolute target of another scheme": (b"GET ftp://localhost/health HTTP/1.1\r\n" + OK + b"\r\n", {400, 404}),
    "head of health": (b"HEAD /health HTTP/1.1\r\n" + OK + b"\r\n", {200}),
    "head of a model": (b"HEAD /v1/models/phi-4-mini-instruct HTTP/1.1\r\n" + OK + b"\r\n", {200}),
    "head of what is not there": (b"HEAD /nope HTTP/1.1\r\n" + OK + b"\r\n", {404}),
    "body of a form": (
        CHAT.replace(b"/json", b"/x-www-form-urlencoded") + b"Content-Length: 3\r\n\r\na=b", {415}),
    "body of plain text": (
        CHAT.replace(b"application/json", b"text/plain") + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY, {415}),
    "body of a kind that is empty": (
        CHAT.replace(b" application/json", b"") + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY, {415}),
    "body of JSON with a character set": (
        CHAT.replace(b"/json", b"/JSON; charset=utf-8") + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(BODY)
        + BODY, {200}),
    "body of no kind": (
        CHAT.replace(b"Content-Type: application/json\r\n", b"Connection: close\r\n")
        + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY, {200}),
    "target with a NUL": (b"GET /\x00 HTTP/1.1\r\n" + OK + b"\r\n", {400}),
    "target with an encoded NUL": (b"GET /%00%0d%0aX:%20y HTTP/1.1\r\n" + OK + b"\r\n", {404}),
    "dots": (b"GET /../../../../etc/passwd HTTP/1.1\r\n" + OK + b"\r\n", {404}),
    "one header of 64 KiB": (GET + OK + b"X: " + b"a" * 65536 + b"\r\n\r\n", {431}),
    "5,000 headers": (GET + OK + b"A: b\r\n" * 5000 + b"\r\n", {431}),
    "101 headers": (GET + OK + b"A: b\r\n" * 101 + b"\r\n", {431}),
    "header without a name": (GET + OK + b": x\r\n\r\n", {400}),
    "header with a space in its name": (GET + OK + b"X Y: z\r\n\r\n", {400}),
    "space before the colon": (GET + b"Host : localhost\r\n\r\n", {400}),
    "folded header": (GET + OK + b"X: a\r\n b\r\n\r\n", {200, 400}),
    "header with a NUL": (GET + OK + b"X: \x00\r\n\r\n", {400}),
    "bare line feeds": (GET.replace(b"\r", b"") + OK.replace(b"\r", b"") + b"\n", {200, 400}),
    "bare carriage returns": (GET.replace(b"\n", b"") + OK.replace(b"\n", b"") + b"\r\r\n\r\n", {400}),
    "negative length": (CHAT + b"Content-Length: -1\r\n\r\n", {400}),
    "length that is none": (CHAT + b"Content-Length: 1e3\r\n\r\n", {400}),
    "two lengths": (CHAT + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}", {400}),
    "length of 30 digits": (CHAT + b"Content-Length: " + b"9" * 30 + b"\r\nConnection: close\r\n\r\n", {400, 413}),
    "length and chunks": (CHAT + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400}),
    "unknown transfer coding": (CHAT + b"Transfer-Encoding: gzip\r\n\r\n", {400, 501}),
    "two transfer codings": (CHAT + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", {400, 501}),
    "chunk size that is none": (CHAT + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", {0, 400}),
    "negative chunk": (CHAT + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n", {0, 400}),
    "chunk of 16 EiB": (
        CHAT + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n" + b"x" * 2**21, {0, 400, 413}),
    "chunk extension of 64 KiB": (CHAT + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * 65536, {0, 400, 431}),
    "2 MiB in small chunks": (
        CHAT + b"Transfer-Encoding: chunked\r\n\r\n400\r\n" + (b"a" * 1024 + b"\r\n400\r\n") * 2048, {0, 413}),
    "trailers of 64 KiB": (
        CHAT + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 11000 + b"\r\n",
        {0, 400, 431}),
    "body of 2 MiB": (CHAT + b"Content-Length: 2097152\r\n\r\n" + b"x" * 2097152, {0, 413}),
    "upgrade to a socket": (
        GET + b"Host: localhost\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: x\r\n\r\n", {200, 400, 426}),
    "upgrade to HTTP/2": (GET + OK + b"Upgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n", {200, 400}),
    "expectation that is none": (
        CHAT + b"Expect: 200-maybe\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", {400, 417}),
    "half a body and the end": (CHAT + b"Content-Length: 500\r\n\r\n{", {0, 400}),
    "smuggled request": (
        CHAT + b"Content-Length: 2\r\nConnection: close\r\n\r\n{}GET /admin HTTP/1.1\r\nHost: x\r\n\r\n", {400}),
    "pipelined foreign host": (
        GET + b"Host: localhost\r\n\r\n" + GET + b"Host: evil.example\r\n\r\n", {200, 403}),
}  # fmt: skip


def statuses(found: bytes) -> set[int]:
    """Every status that came back; 0 for none."""
    return {int(word) for word in re.findall(rb"HTTP/1\.1 (\d{3}) ", found)} or {0}


def sent(engine: Engine, data: bytes) -> bytes:
    """What comes back to `data` and the end of our side."""
    with engine.raw() as channel:
        try:
            channel.sendall(data)
            channel.shutdown(socket.SHUT_WR) if data.startswith(CHAT) and data.endswith(b"{") else None
        except OSError:
            pass  # it has heard enough; what it said of it is still there to read
        return everything(channel)


@pytest.mark.parametrize("name", ROWS)
def test_each_gets_its_answer_or_its_end(engine: Engine, name: str) -> None:
    data, right = ROWS[name]
    started = time.monotonic()
    found = sent(engine, data)
    assert statuses(found) <= right | {0} if 0 in right else statuses(found) <= right, found[:500]
    assert time.monotonic() - started < 8
    for part in found.split(b"HTTP/1.1 ")[1:]:
        if part[:1] in b"45" and part[:3] != b"405" and not data.startswith(b"HEAD"):
            assert b"application/json" in part, part[:500]
            assert set(json.loads(part.partition(b"\r\n\r\n")[2])["error"]) == {"message", "type", "param", "code"}
    assert engine.get("/health").status == 200


def test_there_are_enough_rows() -> None:
    assert len(ROWS) >= 40


def test_all_of_them_a_hundred_times_leave_memory_and_log_as_they_were(engine: Engine) -> None:
    quick = [data for data, right in ROWS.values() if len(data) < 100_000 and 0 not in right]
    for data in quick:
        sent(engine, data)
    before, lines = engine.memory(), engine.log.count("\n")
    for _ in range(10):
        for data in quick:
            sent(engine, data)
    assert engine.memory() - before < 24 * 2**20
    assert engine.log.count("\n") - lines < 50
    assert "Traceback" not in engine.log
    assert engine.chat("hi").status == 200


def test_noise_is_answered_with_nothing_but_refusals(engine: Engine) -> None:
    """Valid requests with some bytes changed: 300 of them, the same ones in each run."""
    dice = random.Random(9)
    whole = CHAT + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
    found: set[int] = set()
    for _ in range(300):
        noisy = bytearray(whole)
        for _ in range(dice.randint(1, 4)):
            noisy[dice.randrange(len(noisy))] = dice.randrange(256)
        with engine.raw(bytes(noisy)) as channel:
            channel.shutdown(socket.SHUT_WR)
            found |= statuses(everything(channel))
    assert not {status for status in found if status >= 500 and status != 501}, found
    assert engine.chat("hi").status == 200


@pytest.mark.parametrize(
    ("bound", "allowed", "host", "right"),
    [
        (["127.0.0.1"], [], "localhost", True),
        (["127.0.0.1"], [], "LOCALHOST.:8080", True),
        (["127.0.0.1"], [], "127.0.0.1:18080", True),
        (["127.0.0.1"], [], "127.9.9.9", True),
        (["127.0.0.1"], [], "[::1]:8080", True),
        (["127.0.0.1"], [], "::1", False),
        (["127.0.0.1"], [], "192.0.2.9", False),
        (["127.0.0.1"], [], "gw1.example", False),
        (["127.0.0.1"], ["gw1.example"], "GW1.example:8080", True),
        (["127.0.0.1"], ["gw1.example"], "x.gw1.example", False),
        (["192.0.2.9"], [], "192.0.2.9:8080", True),
        (["192.0.2.9"], [], "192.0.2.10", False),
        (["2001:db8::1"], [], "[2001:DB8:0::1]:80", True),
        (["0.0.0.0"], [], "192.0.2.10:80", True),
        (["::"], [], "[2001:db8::7]", True),
        (["0.0.0.0"], [], "evil.example", False),
        (["0.0.0.0"], [], "1.2.3.4.evil.example", False),
        (["127.0.0.1"], [], "localhost:80:80", False),
        (["127.0.0.1"], [], "localhost evil.example", False),
        (["127.0.0.1"], [], "localhost,evil.example", False),
        (["127.0.0.1"], [], "[::1", False),
        (["127.0.0.1"], [], "", False),
    ],
)
def test_names_under_which_an_engine_may_be_called(
    bound: list[str], allowed: list[str], host: str, right: bool
) -> None:
    hosts = Hosts(bound, allowed)
    assert hosts.allows(host) is right
    assert hosts.allows_origin(f"http://{host}") is right
    assert not hosts.allows_origin(host)
    assert not hosts.allows_origin(f"chrome-extension://{host}")
