"""Fingerprints of OpenPGP public keys (RFC 4880), computed here: no gpg is needed, and no tool's word is taken.

Only what identifies a key is read. Whether a subkey or a user name truly belongs to it is judged by apt, which checks
the signatures inside.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator

from phi4_edge.errors import ArtifactError

# Vendors' keys have 2 to 10 KB; anything larger is no key.
MOST_BYTES = 1 << 20
_BLOCK = re.compile(rb"-----BEGIN PGP PUBLIC KEY BLOCK-----\r?\n(.*?)-----END PGP PUBLIC KEY BLOCK-----", re.DOTALL)
_SECRET_KEY, _PUBLIC_KEY, _SECRET_SUBKEY = 5, 6, 7
_PARTIAL = 224  # a length octet from here on announces a part of a body; keys are never written so


def fingerprints(data: bytes) -> tuple[str, ...]:
    """Fingerprint of each primary key in `data`, armoured or binary, as 40 upper-case hexadecimal digits.

    Raises ArtifactError for anything but version 4 public keys.
    """
    if len(data) > MOST_BYTES:
        raise _refused(f"{len(data)} bytes")
    found = []
    for tag, body in _packets(_binary(data)):
        if tag in (_SECRET_KEY, _SECRET_SUBKEY):
            raise _refused("a secret key")
        if tag == _PUBLIC_KEY:
            found.append(_fingerprint(body))
    if not found:
        raise _refused("no public key")
    return tuple(found)


def require(data: bytes, expected: str, source: str) -> None:
    """After it, `data` is exactly the one key whose fingerprint is `expected`. Raises ArtifactError otherwise.

    A second key would be trusted too, so it is refused like a wrong one.
    """
    wanted = expected.replace(" ", "").upper()
    if not re.fullmatch(r"[0-9A-F]{40}", wanted):
        raise ArtifactError(f"found the fingerprint {expected!r}, needed all 40 hexadecimal digits of it")
    try:
        found = fingerprints(data)
    except ArtifactError as error:
        raise ArtifactError(f"{source}: {error}") from None
    if found != (wanted,):
        raise ArtifactError(
            f"found the key {', '.join(found)} at {source}, needed {wanted} alone. Do not use it before the vendor has "
            "published the new fingerprint; then set the fingerprint variable"
        )


def _refused(what: str) -> ArtifactError:
    return ArtifactError(f"found {what}, needed an OpenPGP public key; check the address of the key")


def _binary(data: bytes) -> bytes:
    """The packets without their armour, of all blocks one after the other."""
    if data[:1] and data[0] & 0x80:
        return data
    blocks = _BLOCK.findall(data)
    if not blocks:
        raise _refused("neither armoured nor binary packets")
    return b"".join(_unarmoured(block) for block in blocks)


def _unarmoured(block: bytes) -> bytes:
    lines = [line.strip() for line in block.splitlines()]
    if b"" in lines:  # headers such as "Comment: …" end with an empty line
        lines = lines[lines.index(b"") + 1 :]
    text = b"".join(line for line in lines if line and not line.startswith(b"="))  # the last line is a CRC
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise _refused("armour that is not base64") from None


def _packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(tag, body) of each packet. Raises ArtifactError when the data ends in the middle of one."""
    at = 0
    while at < len(data):
        head = data[at]
        if not head & 0x80:
            raise _refused("bytes that are no packet")
        tag, start, size = _new_header(data, at) if head & 0x40 else _old_header(data, at)
        if size < 0 or start + size > len(data):
            raise _refused("a packet that is cut off")
        yield tag, data[start : start + size]
        at = start + size


def _new_header(data: bytes, at: int) -> tuple[int, int, int]:
    """(tag, where the body starts, its bytes); bytes -1 when the header is cut off or its kind is not used by keys."""
    tag, first = data[at] & 0x3F, data[at + 1 : at + 2]
    if not first or _PARTIAL <= first[0] < 255:
        return tag, at, -1
    if first[0] < 192:
        return tag, at + 2, first[0]
    if first[0] < _PARTIAL:
        second = data[at + 2 : at + 3]
        return tag, at + 3, ((first[0] - 192) << 8) + second[0] + 192 if second else -1
    return tag, at + 6, int.from_bytes(data[at + 2 : at + 6], "big")


def _old_header(data: bytes, at: int) -> tuple[int, int, int]:
    """As `_new_header`, for packets in the older format."""
    tag, kind = (data[at] >> 2) & 0x0F, data[at] & 0x03
    if kind == 3:  # "until the end": would hide whatever follows
        return tag, at, -1
    width = 1 << kind
    return tag, at + 1 + width, int.from_bytes(data[at + 1 : at + 1 + width], "big")


def _fingerprint(body: bytes) -> str:
    """RFC 4880 section 12.2: SHA-1 over 0x99, the length in two octets, and the packet's body."""
    if body[:1] != b"\x04":
        raise _refused(f"a key of version {body[0] if body else '?'}")
    framed = b"\x99" + len(body).to_bytes(2, "big") + body
    return hashlib.sha1(framed, usedforsecurity=False).hexdigest().upper()
