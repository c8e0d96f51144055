"""Falsehoods around the frame: broken ones, floods, drips, silence.

Python 3.8 or newer, standard library only: this runs on gateways too.
"""

import base64
import json
import os
import select
import signal
import time
import zlib
from typing import Any, Callable, Dict

from tests.hostile.answers import Row, escapes

Write = Callable[..., bool]
# More than the controller may ever take of one exchange.
FLOOD = 400 << 20
# Longer than any deadline of the table.
LONG = 120.0
BOMB, BOMB_ROW = "bomb", "zip bomb"


def packed(body: bytes) -> bytes:
    return base64.b64encode(zlib.compress(body))


def framed(nonce: str, inside: bytes) -> bytes:
    return b"\n%s:BEGIN\n%s\n%s:END\n" % (nonce.encode(), inside, nonce.encode())


def frame(nonce: str, body: bytes) -> bytes:
    """What EMIT of the framing prints."""
    return framed(nonce, packed(body))


def bomb() -> bytes:
    """1.5 GB of spaces in 2 MB, as what lies inside a frame."""
    packer = zlib.compressobj(9)
    parts = [packer.compress(b" " * (1 << 20)) for _part in range(1500)]
    return base64.b64encode(b"".join([*parts, packer.flush()]))


def carried(row: Row) -> bytes:
    """The bomb, which is made once for all rows."""
    with open(os.path.join(row.home, BOMB), "rb") as stream:
        return stream.read()


def with_keys(body: bytes) -> bytes:
    return json.dumps({**json.loads(body), "add_host": {"host_name": "owned"}}).encode()


WIRE: Dict[str, Callable[[str, bytes, Row], bytes]] = {
    "no frame": lambda nonce, body, row: body,
    "nothing": lambda nonce, body, row: b"",
    "two frames": lambda nonce, body, row: frame(nonce, body) + frame(nonce, with_keys(body)),
    "frame within": lambda nonce, body, row: framed(nonce, frame(nonce, body)),
    "frame without end": lambda nonce, body, row: frame(nonce, body).rpartition(nonce.encode())[0],
    "half a frame": lambda nonce, body, row: framed(nonce, packed(body)[: len(packed(body)) // 2 // 4 * 4]),
    "half a line": lambda nonce, body, row: framed(nonce, packed(body)[:-3]),
    "no base64": lambda nonce, body, row: framed(nonce, b"\x1b[2J!!!" + body),
    "no zlib": lambda nonce, body, row: framed(nonce, base64.b64encode(body)),
    "more behind": lambda nonce, body, row: framed(nonce, base64.b64encode(zlib.compress(body) + b"more")),
    BOMB_ROW: lambda nonce, body, row: framed(nonce, carried(row)),
    "no JSON": lambda nonce, body, row: frame(nonce, b"\x1b[2J" + body[:-1]),
    "two documents": lambda nonce, body, row: frame(nonce, body + body),
    "wrong nonce": lambda nonce, body, row: frame(nonce[::-1] + "0", body),
    "nonce of escapes": lambda nonce, body, row: frame(nonce + "\x1b[2J", body),
    "noise": lambda nonce, body, row: escapes(row).encode("utf-8", "replace") * 40 + frame(nonce, body),
    "bytes": lambda nonce, body, row: bytes(range(256)) * 40,
    "no Python": lambda nonce, body, row: ("\n%s:NOPYTHON\n" % nonce).encode(),
    "old Python": lambda nonce, body, row: ("\n%s:OLDPYTHON %s\n" % (nonce, escapes(row) * 9)).encode(
        "utf-8", "replace"
    ),
}
# An answer that is honest, with noise around it: banners are no offence.
HONEST_WIRE = ("noise",)


def read(_write: Any = None) -> bool:
    """Whether somebody still reads our standard output."""
    watch = select.poll()
    watch.register(1, 0)
    return not watch.poll(0)


def patient(seconds: float) -> None:
    """Wait, but never for a controller that has gone away."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and read():
        time.sleep(0.05)


def flood(what: bytes, to: int = 1) -> Callable[[Write, bytes, str], int]:
    """Bytes without end; returns how many were taken."""

    def act(write: Write, _body: bytes, _nonce: str) -> int:
        taken = 0
        while taken < FLOOD and write(what, to) and read():
            taken += len(what)
        return taken

    return act


def flood_after(write: Write, body: bytes, nonce: str) -> int:
    write(frame(nonce, body))
    return flood(b"A\n" * 32768)(write, body, nonce)


def drip(write: Write, what: bytes) -> int:
    for number in range(len(what)):
        if not (write(what[number : number + 1]) and read()):
            break
        patient(0.4)
    return 0


def silence_after(write: Write, body: bytes, nonce: str) -> int:
    write(frame(nonce, body))
    patient(LONG)
    return 0


def silence(_write: Write, _body: bytes, _nonce: str) -> int:
    patient(LONG)
    return 0


def ended(status: int, words: bytes = b"") -> Callable[[Write, bytes, str], int]:
    def act(write: Write, _body: bytes, _nonce: str) -> int:
        write(words, 2)
        os._exit(status)

    return act


def killed(_write: Write, _body: bytes, _nonce: str) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


QUICK_ACTS: Dict[str, Callable[[Write, bytes, str], int]] = {
    "ends": ended(0),
    "ends badly": ended(1, b"\x1b[2J{{ 'evaluated' ~ '-for-me' }}\n" * 200),
    "is killed": killed,
}
# These last until somebody ends them: each exchange has a deadline, and a bound in bytes.
FLOODS: Dict[str, Callable[[Write, bytes, str], int]] = {
    "flood": flood(b"A" * 65536),
    "flood of lines": flood(b"A\n" * 32768),
    "flood of errors": flood(b"A" * 65536, 2),
    "flood behind the frame": flood_after,
}
WAITS: Dict[str, Callable[[Write, bytes, str], int]] = {
    "drip": lambda write, body, nonce: drip(write, b"1" * 1000),
    "dripped frame": lambda write, body, nonce: drip(write, frame(nonce, body)),
    "silence": silence,
    "silence behind the frame": silence_after,
}
SLOW_ACTS = {**FLOODS, **WAITS}
ACTS = {**QUICK_ACTS, **SLOW_ACTS}
