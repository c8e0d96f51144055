"""One request for a range of a file: what a client may say, and nothing else. No input or output happens here."""

from __future__ import annotations

import re
from typing import NamedTuple

# Bytes of a request with its headers; ours have 200.
MOST_HEAD = 4096
TOKEN_HEADER = "phi4-token"  # noqa: S105 - the name of a header
# Bytes of one range: more than a piece has, and little enough that nobody holds a connection for long.
MOST_RANGE = 64 * 1024 * 1024
END = b"\r\n\r\n"
_FIRST = re.compile(r"GET /([0-9a-f]{64}) HTTP/1\.1")
_RANGE = re.compile(r"bytes=([0-9]{1,15})-([0-9]{1,15})")


class RefusedError(Exception):
    """A request that is not answered with bytes; `status` of HTTP."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class Request(NamedTuple):
    """Bytes `first` to `last`, both included, of the file with this SHA-256, for who has this token."""

    sha256: str
    first: int
    last: int
    token: str

    @property
    def length(self) -> int:
        return self.last - self.first + 1


def parse(head: bytes) -> Request:
    """The request of `head`, which ends before the empty line. Raises RefusedError for any other."""
    try:
        first, *lines = head.decode("ascii").split("\r\n")
    except UnicodeDecodeError:
        raise RefusedError(400, "Bad Request") from None
    if not first.startswith("GET "):
        raise RefusedError(405, "Method Not Allowed")
    found = _FIRST.fullmatch(first)
    if found is None:
        raise RefusedError(404, "Not Found")
    headers: dict[str, str] = {}
    for line in lines:
        name, sign, value = line.partition(":")
        name = name.lower()
        # A body would be taken for the next request; a header that comes twice has two meanings.
        if not sign or name in headers or name in ("content-length", "transfer-encoding"):
            raise RefusedError(400, "Bad Request")
        headers[name] = value.strip()
    wanted = _RANGE.fullmatch(headers.get("range", ""))
    if wanted is None:
        raise RefusedError(416, "Range Not Satisfiable")
    start, last = int(wanted[1]), int(wanted[2])
    if last < start or last - start >= MOST_RANGE:
        raise RefusedError(416, "Range Not Satisfiable")
    return Request(found[1], start, last, headers.get(TOKEN_HEADER, ""))
