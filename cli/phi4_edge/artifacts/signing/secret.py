"""minisign's secret keys: read with their password, and used to sign."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from phi4_edge.artifacts.signing.minisign import LEGACY, PREHASHED, UNTRUSTED, PublicKey, Signature
from phi4_edge.errors import ArtifactError

_FILE_MOST = 4096
_SEALED = slice(54, 158)  # key number, secret and public half, checksum
# What `minisign -G` uses (libsodium's SENSITIVE); a file that asks for more would only take memory.
_MEMORY_MOST = 1 << 30
_OPERATIONS_MOST = 1 << 26
_SPARE = 32 << 20  # bytes that OpenSSL counts beside the table

Ask = Callable[[], str]


@dataclass(frozen=True)
class SecretKey:
    """A secret key that was opened; it is never shown."""

    number: bytes
    seed: bytes = field(repr=False)

    @property
    def public(self) -> PublicKey:
        """Its public half."""
        private = Ed25519PrivateKey.from_private_bytes(self.seed)
        return PublicKey(self.number, private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))

    def sign(self, message: bytes, trusted: str) -> Signature:
        """The prehashed signature of `message`, as minisign makes it; `trusted` is signed too."""
        if "\n" in trusted or "\r" in trusted:
            raise ValueError("a trusted comment is one line")
        private = Ed25519PrivateKey.from_private_bytes(self.seed)
        value = private.sign(hashlib.blake2b(message).digest())
        comment = trusted.encode()
        untrusted = f"signature from phi4-edge, key {self.public.id}".encode()
        return Signature(PREHASHED, self.number, value, comment, private.sign(value + comment), untrusted)


def read(path: Path, ask: Ask) -> SecretKey:
    """The secret key in the file `path`. `ask` gives the password, and is called only for a key that has one.

    Raises ArtifactError for what is no secret key of minisign, or another password.
    """
    try:
        with path.open("rb") as stream:
            text = stream.read(_FILE_MOST + 1)
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {error.strerror}; give the file of a minisign key") from error
    return _opened(_unpacked(text, path), path, ask)


def _unpacked(text: bytes, path: Path) -> bytes:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    try:
        raw = base64.b64decode(lines[1], validate=True) if len(lines) == 2 else b""
    except (binascii.Error, ValueError):
        raw = b""
    if len(text) > _FILE_MOST or len(raw) != 158 or not lines[0].startswith(UNTRUSTED) or raw[:2] != LEGACY:
        raise ArtifactError(
            f"{path}: found no minisign secret key, needed one that 'minisign -G' wrote (minisign.key, not .pub)"
        )
    if raw[2:4] not in (b"Sc", b"\0\0") or raw[4:6] != b"B2":
        raise ArtifactError(f"{path}: found a secret key of an unknown kind, needed one that 'minisign -G' wrote")
    return raw


def _opened(raw: bytes, path: Path, ask: Ask) -> SecretKey:
    sealed, encrypted = raw[_SEALED], raw[2:4] == b"Sc"
    if encrypted:
        operations, memory = (int.from_bytes(raw[at : at + 8], "little") for at in (38, 46))
        stream = _stream(ask(), raw[6:38], operations, memory, path)
        sealed = bytes(one ^ other for one, other in zip(sealed, stream, strict=True))
    number, seed, half, checksum = sealed[:8], sealed[8:40], sealed[40:72], sealed[72:]
    # minisign -W leaves the checksum empty in its versions before 0.11.
    whole = hashlib.blake2b(LEGACY + number + seed + half, digest_size=32).digest()
    good = hmac.compare_digest(whole, checksum) or (not encrypted and checksum == bytes(32))
    if not good or SecretKey(number, seed).public.point != half:
        what = "the password is wrong, or the file was damaged" if encrypted else "the file was damaged"
        raise ArtifactError(f"{path}: the secret key cannot be opened: {what}. Nothing was signed; try again")
    return SecretKey(number, seed)


def _stream(password: str, salt: bytes, operations: int, memory: int, path: Path) -> bytes:
    """What a key is masked with: scrypt, its costs chosen as libsodium does from operations and bytes of memory."""
    if memory > _MEMORY_MOST or operations > _OPERATIONS_MOST:
        raise ArtifactError(
            f"{path}: found a key that asks for {memory} bytes of memory, needed at most {_MEMORY_MOST}: change its "
            "password with 'minisign -C'"
        )
    exponent, parallel = costs(operations, memory)
    try:
        return hashlib.scrypt(
            password.encode(), salt=salt, n=1 << exponent, r=8, p=parallel, dklen=104, maxmem=memory + _SPARE
        )
    except (ValueError, MemoryError) as error:
        raise ArtifactError(
            f"{path}: the key's password needs {memory} bytes of memory to be tried ({error}): free some, or sign on "
            "another machine with minisign itself"
        ) from error


def costs(operations: int, memory: int) -> tuple[int, int]:
    """scrypt's log2(N) and p, as `pickparams` of libsodium finds them; r is 8."""
    operations = max(operations, 32768)
    tight = operations < memory // 32
    largest = operations // 32 if tight else memory // 1024
    exponent = next((n for n in range(1, 63) if 1 << n > largest // 2), 63)
    return exponent, 1 if tight else max(1, min(operations // 4 // (1 << exponent), 0x3FFFFFFF) // 8)
