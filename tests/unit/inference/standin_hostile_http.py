"""Stands for a program that answers on an engine's port and means no good: each row of the tables lies in its own way.

It speaks raw bytes, so that it can break every rule of HTTP. A row says what is sent on the question for the list of
models, for health, and for a completion; what it does not say is answered as an honest engine does.
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator

MODEL = "phi-4-mini-instruct"
LIST, CHAT = "/v1/models", "/v1/chat/completions"
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
STREAM = OK + b"Content-Type: text/event-stream\r\n\r\n"
ESCAPES = "\x1b[2J\x1b]0;pwn\x07\u202eevil<script>\x9b31m"

Row = Callable[[], Iterable[bytes]]


def sized(body: bytes, head: bytes = OK) -> bytes:
    return head + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def listed(*ids: object) -> bytes:
    return sized(json.dumps({"object": "list", "data": [{"id": one} for one in ids]}).encode())


def event(content: object) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": {"content": content}}]}).encode() + b"\n\n"


def endless(first: bytes, again: bytes) -> Row:
    return lambda: itertools.chain([first], itertools.repeat(again))


def once(*pieces: bytes) -> Row:
    return lambda: pieces


def dripping(first: bytes, again: bytes, seconds: float = 0.05) -> Row:
    def row() -> Iterator[bytes]:
        yield first
        while True:
            time.sleep(seconds)
            yield again

    return row


def silent(first: bytes = b"") -> Row:
    def row() -> Iterator[bytes]:
        yield first
        time.sleep(8)

    return row


DEEP = b'{"data":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
BOMB = gzip.compress(b" " * (64 << 20))
PLAIN: dict[str, Row] = {
    "spaces without end, in chunks": endless(CHUNKED, b"10000\r\n" + b" " * 65536 + b"\r\n"),
    "a list without end, until the connection ends": endless(OK + b'\r\n{"data":[', b'{"id":"x"},' * 4096),
    "a length of a terabyte": endless(OK + b"Content-Length: 1000000000000\r\n\r\n", b"[" * 65536),
    "a length of a terabyte and a few bytes": once(OK + b"Content-Length: 1000000000000\r\n\r\n{}"),
    "a length that is too short": once(OK + b'Content-Length: 5\r\n\r\n{"data":[{"id":"x"}]}'),
    "a negative length": endless(OK + b"Content-Length: -1\r\n\r\n", b" " * 65536),
    "a length of 5000 digits": endless(OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", b" " * 65536),
    "two lengths and chunks": endless(OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "a header without end": endless(OK + b"X: ", b"x" * 65536),
    "headers without end": endless(OK, b"X-Y: z\r\n" * 4096),
    "99 headers of 64 KiB": endless(OK, b"X-Y: " + b"z" * 65000 + b"\r\n"),
    "1xx for ever": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1024),
    "1xx now and then": dripping(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "a status line without end": endless(b"HTTP/1.1 200 ", b"O" * 65536),
    "no HTTP": once(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "a status that is none": once(b"HTTP/1.1 9999999999 OK\r\n\r\n"),
    "a redirect elsewhere": once(sized(b"", b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/x\r\n")),
    "a redirect to a file": once(sized(b"", b"HTTP/1.1 307 Found\r\nLocation: file:///etc/passwd\r\n")),
    "a chunk of 16 exabytes": endless(CHUNKED + b"ffffffffffffffff\r\n", b" " * 65536),
    "a chunk size of 60000 digits": endless(CHUNKED + b"f" * 60000 + b"\r\n", b" " * 65536),
    "a chunk size that is none": once(CHUNKED + b"zz\r\n{}\r\n"),
    "a negative chunk": endless(CHUNKED + b"-10\r\n", b" " * 65536),
    "a chunk's extension without end": endless(CHUNKED + b"5;", b"x" * 65536),
    "chunks of one byte": endless(CHUNKED, b"1\r\n \r\n" * 8192),
    "trailers without end": endless(CHUNKED + b"2\r\n{}\r\n0\r\n", b"X: y\r\n" * 8192),
    "a gzip bomb": once(OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB),
    "200000 levels": once(sized(DEEP[: 128 * 1024])),
    "100 levels in a name": once(listed(json.loads("[" * 100 + "]" * 100))),
    "null": once(sized(b"null")),
    "a list": once(sized(b"[1,2]")),
    "no list": once(sized(b'{"data":null}')),
    "names of other kinds": once(listed(1, None, True, ["x"], {"a": 1})),
    "not a number": once(sized(b'{"data": NaN}')),
    "a number of 100000 digits": once(sized(b'{"data": ' + b"9" * 100_000 + b"}")),
    "no body": once(sized(b"")),
    "bytes that are no text": once(sized(b"\xff\xfe\x00" * 100)),
    "204": once(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "101": once(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
    "a name of a megabyte": once(listed("x" * (1 << 20))),
    "100000 names": once(listed(*(str(number) for number in range(100_000)))),
    "one byte now and then": dripping(OK + b"Content-Length: 1000000\r\n\r\n", b" "),
    "headers now and then": dripping(OK, b"X: y\r\n"),
    "silence": silent(),
    "silence after the headers": silent(OK + b"Content-Length: 10\r\n\r\n"),
    "the end at once": once(),
    "the end in the headers": once(OK + b"Content-Le"),
    "noise": lambda: [random.Random(7).randbytes(4096)],
}
CHATS: dict[str, Row] = {
    "events without end": endless(STREAM, event("A" * 60_000)),
    "small events without end": endless(STREAM, event("a") * 512),
    "a line without end": endless(STREAM + b"data: ", b"x" * 65536),
    "a line without end, byte by byte": endless(CHUNKED + b"6\r\ndata: \r\n", b"1\r\nx\r\n" * 4096),
    "comments without end": endless(STREAM, b": still here\n" * 4096),
    "empty lines without end": endless(STREAM, b"\n" * 65536),
    "empty events without end": endless(STREAM, b"data:\n\n" * 8192),
    "an event of 200000 levels": once(STREAM + b"data: " + b"[" * 60_000 + b"\n\n" + event("x")),
    "texts of other kinds": once(STREAM, *(event(one) for one in (None, 1, ["x"], {"a": 1}))),
    "an error without end": once(STREAM + b'data: {"error": {"message": ' + b"[" * 900 + b"]" * 900 + b"}}\n\n"),
    "no choices": once(STREAM + b'data: {"choices": 7}\n\ndata: {"choices": [null]}\n\ndata: []\n\ndata: nul\n\n'),
    "the end in the middle": once(STREAM + event("half of it")),
    "an event now and then, without text": dripping(STREAM, b": \n"),
    "a byte now and then": dripping(STREAM, b"d"),
    "silence in the middle": silent(STREAM + event("half")),
    "an error page without end": endless(b"HTTP/1.1 500 No\r\n\r\n", b"<p>" * 20_000),
    "a stream of a few bytes": once(OK + b"Content-Length: 4\r\n\r\n" + event("x")),
    "a stream that is packed": once(OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(event("x") * 100)),
    "calls without end": endless(
        STREAM, b'data: {"choices":[{"delta":{"tool_calls":[{"index":1e9,"function":{"arguments":"x"}}]}}]}\n\n' * 256
    ),
    "HTTP within": once(STREAM + OK + OK),
    "a redirect of the question": once(b"HTTP/1.1 308 Elsewhere\r\nLocation: http://192.0.2.1/\r\n\r\n"),
}


def serve(peer: socket.socket, rows: dict[str, Row]) -> None:
    """Requests of one connection, one after the other, as long as the answers are honest."""
    honest: dict[str, Row] = {
        LIST: once(listed(MODEL)),
        "/api/version": once(sized(b'{"version":"0.35.0"}')),
        "/api/ps": once(sized(b'{"models":[{"name":"phi-4-mini-instruct:latest"}]}')),
        "/health": once(sized(b'{"status":"healthy","model":"tiny","release":"r-1"}')),
        CHAT: once(STREAM + event("Hello ") + event("there") + b"data: [DONE]\n\n"),
    }
    with contextlib.suppress(OSError), peer:
        while request := peer.recv(65536):
            path = request.split(b" ")[1].decode()
            for piece in rows.get(path, honest[path])():
                peer.sendall(piece)
            if path in rows or path == CHAT:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 1))
                return


@contextlib.contextmanager
def serving(rows: dict[str, Row]) -> Iterator[int]:
    """It answers on the port of 127.0.0.1 that this gives."""

    def accept(listener: socket.socket) -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(peer, rows), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, args=(listener,), daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)
