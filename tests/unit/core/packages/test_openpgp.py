"""Fingerprints of vendors' keys: computed as gpg computes them, and nothing that is not exactly the one key passes."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi4_edge.core.packages import openpgp
from phi4_edge.errors import ArtifactError

# Made with gpg 2.2 (--quick-generate-key); gpg printed the fingerprint. The secret half was thrown away.
ARMOUR = b"""-----BEGIN PGP PUBLIC KEY BLOCK-----
Comment: a sample

mDMEawLh0BYJKwYBBAHaRw8BAQdAvPVw+9Ezj2NVsU0sODuUGLZCfLmFWQlIIkvd
muKVkjK0ClNhbXBsZSBPbmWIkAQTFggAOBYhBF1eEgagz62rDPclpp25AKC0AZEi
BQJrAuHQAhsDBQsJCAcCBhUKCQgLAgQWAgMBAh4BAheAAAoJEJ25AKC0AZEitnQB
AP2ocLxWAeKuHz3ZGurNTAuD7EvuO1TJNLKF6XyjQz1CAQDJgVWUx+gpR3dNSKcy
Xo9DIc2taYjMs7MOgcKUup6pCrg4BGsC4dASCisGAQQBl1UBBQEBB0A6L5ewoPZT
6xM9PvjKpNBpDRhlLL6zxJv8bLvkoi8qSAMBCAeIeAQYFggAIBYhBF1eEgagz62r
DPclpp25AKC0AZEiBQJrAuHQAhsMAAoJEJ25AKC0AZEizUsA/3onMeSgWzWM0Yco
tDMcvKktZCZou317tZ/MrUbbUQyZAQCktCKSOxdsJ6/4PAii8Q5aPaL+S3JBK9b+
53M57CfbAg==
=EtGj
-----END PGP PUBLIC KEY BLOCK-----
"""
FINGERPRINT = "5D5E1206A0CFADAB0CF725A69DB900A0B4019122"
BINARY = base64.b64decode(b"".join(ARMOUR.splitlines()[3:-2]))


def packet(body: bytes, tag: int = 6) -> bytes:
    """One packet in the new format with a length of five octets."""
    return bytes([0xC0 | tag, 255]) + len(body).to_bytes(4, "big") + body


def test_the_fingerprint_is_that_of_gpg() -> None:
    assert openpgp.fingerprints(ARMOUR) == (FINGERPRINT,)
    assert openpgp.fingerprints(BINARY) == (FINGERPRINT,)
    assert openpgp.fingerprints(ARMOUR.replace(b"\n", b"\r\n")) == (FINGERPRINT,)


def test_both_formats_of_packets_and_all_lengths_are_read() -> None:
    body = b"\x04" + bytes(299)
    wanted = hashlib.sha1(b"\x99\x01\x2c" + body, usedforsecurity=False).hexdigest().upper()
    two = bytes([0xC6, ((300 - 192) >> 8) + 192, (300 - 192) & 0xFF]) + body
    old = bytes([0x99]) + (300).to_bytes(2, "big") + body
    assert {openpgp.fingerprints(data) for data in (packet(body), two, old)} == {(wanted,)}


def test_a_key_passes_only_alone_and_with_its_own_fingerprint() -> None:
    openpgp.require(ARMOUR, FINGERPRINT, "here")
    openpgp.require(ARMOUR, "5d5e 1206 a0cf adab 0cf7  25a6 9db9 00a0 b401 9122", "here")
    with pytest.raises(ArtifactError, match=f"found the key {FINGERPRINT} at here, needed 9DC8"):
        openpgp.require(ARMOUR, "9DC858229FC7DD38854AE2D88D81803C0EBFCD88", "here")
    with pytest.raises(ArtifactError, match=f"found the key {FINGERPRINT}, {FINGERPRINT} at here, needed"):
        openpgp.require(ARMOUR + ARMOUR, FINGERPRINT, "here")


@pytest.mark.parametrize("short", ["", "B4019122", "0xB4019122", FINGERPRINT + "0"])
def test_a_short_fingerprint_is_refused(short: str) -> None:
    with pytest.raises(ArtifactError, match="needed all 40 hexadecimal digits"):
        openpgp.require(ARMOUR, short, "here")


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", "neither armoured nor binary"),
        (b"<html>not found</html>", "neither armoured nor binary"),
        (ARMOUR.replace(b"mDME", b"m!ME"), "not base64"),
        (BINARY[:40], "cut off"),
        (packet(b"\x04key", tag=5), "a secret key"),
        (BINARY + packet(b"\x04key", tag=7), "a secret key"),
        (packet(b"\x03" + bytes(20)), "a key of version 3"),
        (packet(b""), r"a key of version \?"),
        (packet(b"\x04sub", tag=14), "no public key"),
        (bytes([0x9B]) + BINARY, "cut off"),
        (bytes([0xC6, 230]) + BINARY, "cut off"),
        (bytes(openpgp.MOST_BYTES + 1), "1048577 bytes"),
    ],
)
def test_what_is_no_key_is_refused_by_name(data: bytes, named: str) -> None:
    with pytest.raises(ArtifactError, match=named):
        openpgp.fingerprints(data)


@given(st.integers(0, len(BINARY) - 1), st.integers(1, 255))
def test_a_changed_byte_never_passes_for_the_key_unless_it_is_outside_it(at: int, change: int) -> None:
    changed = bytearray(BINARY)
    changed[at] ^= change
    end = 2 + BINARY[1]  # the first packet: two octets of header, then the primary key
    if at < end:
        with pytest.raises(ArtifactError):
            openpgp.require(bytes(changed), FINGERPRINT, "here")


@given(st.binary(max_size=300))
def test_any_bytes_are_a_key_or_refused(data: bytes) -> None:
    try:
        found = openpgp.fingerprints(data)
    except ArtifactError:
        return
    assert all(len(text) == 40 for text in found)
