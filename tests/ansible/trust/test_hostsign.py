"""The host's own Ed25519: the vectors of RFC 8032, and OpenSSL beside it on what honest and dishonest signers make."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phi4_edge.artifacts.signing import minisign
from phi4_edge.artifacts.signing.minisign import PublicKey
from phi4_edge.artifacts.signing.secret import SecretKey
from tests.ansible import host_scripts  # noqa: F401 - puts the modules of hosts on the path

import hostsign  # isort: skip

# RFC 8032, section 7.1: public key, message, signature.
VECTORS = {
    "1": (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    "2": (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    "3": (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
    "SHA(abc)": (
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
        "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589"
        "09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ),
}


@pytest.mark.parametrize("name", VECTORS)
def test_vectors_of_rfc_8032(name: str) -> None:
    key, message, value = (bytes.fromhex(one) for one in VECTORS[name])
    assert hostsign.valid(key, value, message)
    assert not hostsign.valid(key, value, message + b"x")
    for at in range(0, 64, 7):
        changed = value[:at] + bytes([value[at] ^ 4]) + value[at + 1 :]
        assert not hostsign.valid(key, changed, message)


def both(key: bytes, value: bytes, message: bytes) -> bool:
    """The verdict that both verifiers come to."""
    here, there = minisign.valid(PublicKey(bytes(8), key), value, message), hostsign.valid(key, value, message)
    assert here == there, (key.hex(), value.hex(), message.hex())
    return here


@settings(max_examples=40)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200), st.integers(0, 511))
def test_honest_signatures_hold_and_changed_ones_do_not(seed: bytes, message: bytes, bit: int) -> None:
    key = SecretKey(bytes(8), seed)
    value = key.sign(message, "x").value
    digest = hashlib.blake2b(message).digest()
    assert both(key.public.point, value, digest)
    changed = bytearray(value)
    changed[bit // 8] ^= 1 << bit % 8
    assert not both(key.public.point, bytes(changed), digest)


@settings(max_examples=60)
@given(st.binary(min_size=32, max_size=32), st.binary(min_size=64, max_size=64))
def test_any_bytes_get_the_same_verdict(key: bytes, value: bytes) -> None:
    assert not both(key, value, b"message")


def torsion() -> list[hostsign.Point]:
    """The eight points whose order divides 8."""
    for y in range(2, 100):
        point = hostsign.decoded(y.to_bytes(32, "little"))
        base = hostsign.times(hostsign.L, point) if point else hostsign.NEUTRAL
        found = {hostsign.encoded(hostsign.times(factor, base)): hostsign.times(factor, base) for factor in range(8)}
        if len(found) == 8:
            return list(found.values())
    raise AssertionError("found no point of order 8")


def test_keys_with_a_part_of_small_order_get_the_same_verdict() -> None:
    # Verifiers are known to differ on these: whether the equation is multiplied by eight before it is compared.
    small, numbers, verdicts = torsion(), random.Random(8032), set()
    for number in range(48):
        secret, nonce = numbers.randrange(hostsign.L), numbers.randrange(hostsign.L)
        key = hostsign.encoded(hostsign.add(hostsign.times(secret, hostsign.BASE), small[number % 8]))
        first = hostsign.encoded(hostsign.add(hostsign.times(nonce, hostsign.BASE), small[number // 8 % 8]))
        message = b"message %d" % number
        challenge = int.from_bytes(hashlib.sha512(first + key + message).digest(), "little") % hostsign.L
        scalar = (nonce + challenge * secret) % hostsign.L
        verdicts.add(both(key, first + scalar.to_bytes(32, "little"), message))
    assert verdicts == {True, False}


@pytest.mark.parametrize("y", [*range(19), hostsign.P, hostsign.P + 1])
@pytest.mark.parametrize("sign", [0, 1])
def test_other_encodings_of_a_point_are_no_key(y: int, sign: int) -> None:
    # A y above the field's order is another spelling of a small one; x = 0 has no sign.
    raw = ((y if y >= hostsign.P else y + hostsign.P) | sign << 255).to_bytes(32, "little")
    assert hostsign.decoded(raw) is None
    assert not minisign.sound(raw)
