"""minisign's public keys and signatures: read, written and verified as the program `minisign` does, and no laxer.

A signature file holds four lines: an untrusted comment, the signature, a trusted comment, and a signature over both
signature and trusted comment. `Ed` signs the file itself (legacy), `ED` its BLAKE2b-512. Ed25519 is RFC 8032's; keys
and signatures that only a forger would make (points of small order, encodings that are not the shortest) are refused
before any arithmetic, because libraries differ on them, and the gateways' verifier must come to the same verdict.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import BinaryIO

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from phi4_edge.errors import ArtifactError

LEGACY, PREHASHED = b"Ed", b"ED"
UNTRUSTED, TRUSTED = b"untrusted comment: ", b"trusted comment: "
# Longest lines that minisign itself reads (COMMENTMAXBYTES, TRUSTEDCOMMENTMAXBYTES in its source).
COMMENT_MOST, TRUSTED_MOST = 1024, 8192
# Signatures of one file: an old and a new key while keys change, and room for two more.
SIGNATURES = 4
FILE_MOST = SIGNATURES * (COMMENT_MOST + TRUSTED_MOST + 512)
# A legacy signature needs the whole file in memory; minisign's own bound is 1 GiB.
LEGACY_MOST = 256 << 20
SUFFIX = ".minisig"
_BLOCK = 1 << 20

# Order of the group, and of the field that coordinates are in (RFC 8032, section 5.1).
ORDER = 2**252 + 27742317777372353535851937790883648493
FIELD = 2**255 - 19
# y of the eight points whose order divides 8: whoever signs with one of those as "key" signs everything.
SMALL = frozenset(
    (
        0,
        1,
        FIELD - 1,
        2707385501144840649318225287225658788936804267575313519463743609750303402022,
        55188659117513257062467267217118295137698188065244968500265048394206261417927,
    )
)


class SignatureRefusedError(ArtifactError):
    """Something signed is not accepted; `reason` is for programs, and for the tests that compare both verifiers."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class PublicKey:
    """A public key: the number that minisign gave it, and the point."""

    number: bytes
    point: bytes

    @property
    def id(self) -> str:
        """The number as minisign shows it: 16 hexadecimal digits."""
        return key_id(self.number)

    @property
    def text(self) -> str:
        """The key as minisign writes it in one line; it begins with RW."""
        return base64.b64encode(LEGACY + self.number + self.point).decode()

    @classmethod
    def parse(cls, text: str, where: str) -> PublicKey:
        """The key in `text`, one line or a .pub file. Raises SignatureRefusedError for anything else."""
        lines = [line.strip() for line in text[:FILE_MOST].splitlines() if line.strip()]
        if len(lines) == 2 and lines[0].startswith(UNTRUSTED.decode()):
            lines = lines[1:]
        raw = _decoded(lines[0].encode(), 42) if len(lines) == 1 and lines[0].isascii() else None
        if raw is None or raw[:2] != LEGACY:
            raise SignatureRefusedError(
                "malformed",
                f"{where}: found no minisign public key, needed a .pub file made by 'minisign -G', or its second line "
                "(it begins with RW)",
            )
        if not sound(raw[10:]):
            raise SignatureRefusedError(
                "malformed", f"{where}: found a key that no honest program makes, needed one made by 'minisign -G'"
            )
        return cls(raw[2:10], raw[10:])


@dataclass(frozen=True)
class Signature:
    """One signature: four lines of a .minisig file. `trusted` is the comment that is signed too."""

    algorithm: bytes
    number: bytes
    value: bytes
    trusted: bytes
    over_all: bytes
    untrusted: bytes = b"signature from phi4-edge"

    @property
    def id(self) -> str:
        """The number of the key that is said to have signed."""
        return key_id(self.number)

    def encode(self) -> bytes:
        """The four lines."""
        value = base64.b64encode(self.algorithm + self.number + self.value)
        lines = (UNTRUSTED + self.untrusted, value, TRUSTED + self.trusted, base64.b64encode(self.over_all))
        return b"\n".join(lines) + b"\n"


def key_id(number: bytes) -> str:
    """A key's number as minisign shows it."""
    return f"{int.from_bytes(number, 'little'):016X}"


def signatures(raw: bytes, where: str) -> tuple[Signature, ...]:
    """The signatures in a .minisig file; there is one, or one each of several keys below each other.

    Raises SignatureRefusedError, naming `where`, for anything else, however little it differs.
    """
    lines = [line[:-1] if line.endswith(b"\r") else line for line in raw[: FILE_MOST + 1].split(b"\n")]
    if lines and not lines[-1]:
        lines.pop()
    if len(raw) > FILE_MOST or not lines or len(lines) % 4 or len(lines) > 4 * SIGNATURES:
        raise _odd(where, f"{len(raw)} bytes in {len(lines)} lines")
    found = tuple(_signature(lines[at : at + 4], where) for at in range(0, len(lines), 4))
    if len({one.number for one in found}) != len(found):
        raise _odd(where, "two signatures of one key")
    return found


def verify(key: PublicKey, signature: Signature, message: bytes | BinaryIO, where: str) -> None:
    """Raises SignatureRefusedError unless `key` signed `message`, and the trusted comment with it."""
    if signature.number != key.number:
        raise SignatureRefusedError("unknown key", f"{where} is signed by key {signature.id}, needed {key.id}")
    signed = message if isinstance(message, bytes) and signature.algorithm == LEGACY else digested(signature, message)
    if not valid(key, signature.value, signed):
        raise _forged(where, signature, "it is not what that key signed")
    if not valid(key, signature.over_all, signature.value + signature.trusted):
        raise _forged(where, signature, "its trusted comment was changed")


def digested(signature: Signature, message: bytes | BinaryIO) -> bytes:
    """What was really signed: BLAKE2b-512 of the message, or of a legacy signature the message itself."""
    if signature.algorithm == LEGACY and not isinstance(message, bytes):
        whole = message.read(LEGACY_MOST + 1)
        if len(whole) > LEGACY_MOST:
            raise SignatureRefusedError(
                "malformed",
                f"found a legacy signature of a file above {LEGACY_MOST} bytes, needed a prehashed one: sign it again "
                "with minisign 0.10 or newer, or with 'minisign -SH'",
            )
        return whole
    total = hashlib.blake2b()
    if isinstance(message, bytes):
        total.update(message)
    else:
        for block in iter(lambda: message.read(_BLOCK), b""):
            total.update(block)
    return total.digest()


def valid(key: PublicKey, value: bytes, message: bytes) -> bool:
    """Whether `value` is the Ed25519 signature of `message` by `key`, by the strict reading of RFC 8032."""
    if not (sound(key.point) and sound(value[:32]) and int.from_bytes(value[32:], "little") < ORDER):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key.point).verify(value, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def sound(point: bytes) -> bool:
    """Whether the 32 bytes are the shortest encoding of a y, and not one of a point of small order."""
    y = int.from_bytes(point, "little") & ((1 << 255) - 1)
    return y < FIELD and y not in SMALL


def _signature(lines: list[bytes], where: str) -> Signature:
    untrusted, value, trusted, over_all = lines
    raw, last = _decoded(value, 74), _decoded(over_all, 64)
    if not untrusted.startswith(UNTRUSTED) or len(untrusted) > COMMENT_MOST:
        raise _odd(where, "no untrusted comment in its first line")
    if not trusted.startswith(TRUSTED) or len(trusted) > TRUSTED_MOST:
        raise _odd(where, "no trusted comment in its third line")
    if raw is None or last is None or raw[:2] not in (LEGACY, PREHASHED):
        raise _odd(where, "no signature in its second or fourth line")
    comments = untrusted[len(UNTRUSTED) :], trusted[len(TRUSTED) :]
    return Signature(raw[:2], raw[2:10], raw[10:], comments[1], last, comments[0])


def _decoded(text: bytes, length: int) -> bytes | None:
    """The bytes that a line of base64 stands for, None where it is not the one way to write `length` bytes."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if len(raw) == length and base64.b64encode(raw) == text else None


def _odd(where: str, found: str) -> SignatureRefusedError:
    return SignatureRefusedError(
        "malformed",
        f"{where}: found {found}, needed the four lines of a minisign signature (at most {SIGNATURES} signatures): "
        "copy it again, or sign again",
    )


def _forged(where: str, signature: Signature, why: str) -> SignatureRefusedError:
    return SignatureRefusedError(
        "bad signature",
        f"{where}: found a signature of key {signature.id} that does not hold ({why}), needed one over exactly these "
        "bytes: copy both again from where they were signed",
    )
