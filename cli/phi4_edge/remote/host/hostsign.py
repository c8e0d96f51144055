"""Ed25519 signatures in minisign's format, verified with nothing but Python: a gateway has no library for it.

Strict by RFC 8032: no S above the group's order, no encoding that is not the shortest, no point of small order as key
or in a signature. `phi4_edge.artifacts.signing.minisign` gives the same verdicts; a test holds the two to each other.
What is verified here is public, so nothing needs to take the same time.

Sent in front of the script that uses it; Python 3.8 or newer, standard library only.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import List, NamedTuple, Optional, Tuple

from hostlib import HostError

LEGACY, PREHASHED = b"Ed", b"ED"
UNTRUSTED, TRUSTED = b"untrusted comment: ", b"trusted comment: "
COMMENT_MOST, TRUSTED_MOST, SIGNATURES = 1024, 8192, 4
FILE_MOST = SIGNATURES * (COMMENT_MOST + TRUSTED_MOST + 512)

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)
Point = Tuple[int, int, int, int]  # extended coordinates: X, Y, Z, T with x = X/Z, y = Y/Z, x*y = T/Z
NEUTRAL: Point = (0, 1, 1, 0)


class RefusedError(HostError):
    """Something signed is not accepted here; `reason` is one of the words that the controller has for it."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Key(NamedTuple):
    """A public key: its number and its point."""

    number: bytes
    point: bytes


class Signature(NamedTuple):
    """One signature of a .minisig file; `trusted` is the comment that is signed too."""

    algorithm: bytes
    number: bytes
    value: bytes
    trusted: bytes
    over_all: bytes


def add(one: Point, other: Point) -> Point:
    """The sum of two points (RFC 8032, section 5.1.4)."""
    a = (one[1] - one[0]) * (other[1] - other[0]) % P
    b = (one[1] + one[0]) * (other[1] + other[0]) % P
    c = 2 * one[3] * other[3] * D % P
    d = 2 * one[2] * other[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(factor: int, point: Point) -> Point:
    """The point, `factor` times."""
    total = NEUTRAL
    while factor:
        if factor & 1:
            total = add(total, point)
        point = add(point, point)
        factor >>= 1
    return total


def decoded(raw: bytes) -> Optional[Point]:
    """The point that 32 bytes stand for; None where they stand for none, or are not its one encoding."""
    y = int.from_bytes(raw, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    if len(raw) != 32 or y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


def encoded(point: Point) -> bytes:
    """The 32 bytes that stand for a point."""
    inverse = pow(point[2], P - 2, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def small(point: Point) -> bool:
    """Whether eight times the point is nothing: whoever has such a "key" has signed everything."""
    x, y, z, _ = times(8, point)
    return x % P == 0 and (y - z) % P == 0


BASE_Y = 4 * pow(5, P - 2, P) % P
BASE = decoded(BASE_Y.to_bytes(32, "little")) or NEUTRAL


def valid(key: bytes, value: bytes, message: bytes) -> bool:
    """Whether the 64 bytes `value` are the Ed25519 signature of `message` by `key`."""
    point, other = decoded(key), decoded(value[:32])
    scalar = int.from_bytes(value[32:], "little")
    if len(value) != 64 or point is None or other is None or scalar >= L or small(point) or small(other):
        return False
    challenge = int.from_bytes(hashlib.sha512(value[:32] + key + message).digest(), "little") % L
    negative = (P - point[0], point[1], 1, P - point[3])
    return encoded(add(times(scalar, BASE), times(challenge, negative))) == value[:32]


def key_id(number: bytes) -> str:
    """A key's number as minisign shows it, with all its zeros."""
    return "%016X" % int.from_bytes(number, "little")


def public_key(text: str) -> Key:
    """The key of one line of minisign's. Raises RefusedError for anything else."""
    raw = unpacked(text.encode("utf-8", "replace"), 42)
    point = decoded(raw[10:]) if raw is not None else None
    if raw is None or raw[:2] != LEGACY or point is None or small(point):
        raise RefusedError("malformed", "found no minisign public key, needed the line of one that begins with RW")
    return Key(raw[2:10], raw[10:])


def signatures(raw: bytes, where: str) -> List[Signature]:
    """The signatures of a .minisig file. Raises RefusedError for anything else, however little it differs."""
    lines = [line[:-1] if line.endswith(b"\r") else line for line in raw[: FILE_MOST + 1].split(b"\n")]
    if lines and not lines[-1]:
        lines.pop()
    if len(raw) > FILE_MOST or not lines or len(lines) % 4 or len(lines) > 4 * SIGNATURES:
        raise odd(where, "%d bytes in %d lines" % (len(raw), len(lines)))
    found = [signature(lines[at : at + 4], where) for at in range(0, len(lines), 4)]
    if len({one.number for one in found}) != len(found):
        raise odd(where, "two signatures of one key")
    return found


def signature(lines: List[bytes], where: str) -> Signature:
    """The signature that four lines are."""
    raw, last = unpacked(lines[1], 74), unpacked(lines[3], 64)
    if not lines[0].startswith(UNTRUSTED) or len(lines[0]) > COMMENT_MOST:
        raise odd(where, "no untrusted comment")
    if not lines[2].startswith(TRUSTED) or len(lines[2]) > TRUSTED_MOST:
        raise odd(where, "no trusted comment")
    if raw is None or last is None or raw[:2] not in (LEGACY, PREHASHED):
        raise odd(where, "no signature in its second or fourth line")
    return Signature(raw[:2], raw[2:10], raw[10:], lines[2][len(TRUSTED) :], last)


def verify(key: Key, one: Signature, message: bytes, where: str) -> None:
    """Raises RefusedError unless the key signed the message, and the trusted comment with it."""
    if one.number != key.number:
        raise RefusedError("unknown key", "%s is signed by another key" % where)
    signed = message if one.algorithm == LEGACY else hashlib.blake2b(message).digest()
    if not valid(key.point, one.value, signed) or not valid(key.point, one.over_all, one.value + one.trusted):
        raise RefusedError(
            "bad signature",
            "%s: found a signature of key %s that does not hold, needed one over exactly what was presented: get what "
            "was signed again, unchanged" % (where, key_id(one.number)),
        )


def unpacked(text: bytes, length: int) -> Optional[bytes]:
    """The bytes that a line of base64 stands for, None where it is not the one way to write `length` bytes."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if len(raw) == length and base64.b64encode(raw) == text else None


def odd(where: str, found: str) -> RefusedError:
    """What is said of something that is no signature."""
    return RefusedError("malformed", "%s: found %s, needed the four lines of a minisign signature" % (where, found))
