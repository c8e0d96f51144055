"""A file of the CA that somebody else wrote, or damaged: refused in words, and never replaced."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from cryptography.x509 import load_der_x509_certificate

from phi4_edge.artifacts.certificates.authority import KEY, Authority
from phi4_edge.errors import ArtifactError
from tests.unit.artifacts.certificates.crafted import NOW, Made, authority, made

A, B = authority("a"), authority("b")


def whole(one: Made, *chain: Made) -> bytes:
    return one.key_pem + b"".join(each.pem for each in (one, *chain))


def locked_key() -> bytes:
    return bytes(A.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))


def flipped() -> bytes:
    """A certificate of which the last bit of the signature is another."""
    raw = bytearray(A.certificate.public_bytes(Encoding.DER))
    raw[-1] ^= 1
    return load_der_x509_certificate(bytes(raw)).public_bytes(Encoding.PEM)


CASES: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "found 0 private keys"),
    "zeros": (lambda: bytes(5000), "found 0 private keys"),
    "garbage": (lambda: b"\xff\xfe garbage " * 90, "found 0 private keys"),
    "a megabyte": (lambda: whole(A) + b"x" * (1 << 20), "found more than 65536 bytes"),
    "a megabyte of certificates": (lambda: whole(A, *[B] * 1500), "found more than 65536 bytes"),
    "too many certificates": (lambda: whole(A, *[B] * 20), "found 21 certificates"),
    "a megabyte of begins": (lambda: b"-----BEGIN PRIVATE KEY-----" * 2000, "found 0 private keys"),
    "truncated in the key": (lambda: whole(A)[:120], "found 0 private keys"),
    "truncated between": (lambda: A.key_pem, "found 0 certificates"),
    "truncated in the certificate": (lambda: whole(A)[:-40], "found 0 certificates"),
    "two keys": (lambda: A.key_pem + whole(B), "found 2 private keys"),
    "a damaged key": (lambda: A.key_pem.replace(b"MIG", b"MIH") + A.pem, "found a damaged private key"),
    "a key of nothing": (
        lambda: b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n" + A.pem, "found a damaged private key",
    ),
    "a damaged certificate": (lambda: A.key_pem + A.pem.replace(b"MII", b"MIJ"), "found a damaged certificate"),
    "a certificate of nothing": (
        lambda: A.key_pem + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "found a damaged certificate",
    ),
    "a signature that is wrong": (lambda: A.key_pem + flipped(), "that another one signed"),
    "a key with a password": (lambda: locked_key() + A.pem, "found a private key with a password"),
    "another key": (lambda: B.key_pem + A.pem, "a first certificate that is not the key's"),
    "the predecessor first": (lambda: A.key_pem + B.pem + A.pem, "a first certificate that is not the key's"),
    "no CA": (lambda: whole(made()), "found a certificate that is no CA's"),
    "a CA that may not sign": (lambda: whole(authority(signs=False)), "found a certificate that is no CA's"),
    "a CA below another": (lambda: whole(authority("c", issuer=A), A), "that another one signed"),
    "a predecessor that is no CA": (lambda: whole(A, made()), "found a certificate that is no CA's"),
    "another identifier": (
        lambda: whole(authority(identified=B.key.public_key())), "found a certificate with another key identifier",
    ),
    "RSA": (lambda: whole(authority(key=rsa.generate_private_key(65537, 2048))), "a key that is not of P-256"),
    "P-384": (lambda: whole(authority(key=ec.generate_private_key(ec.SECP384R1()))), "a key that is not of P-256"),
    "Ed25519": (
        lambda: Made(A.certificate, ed25519.Ed25519PrivateKey.generate()).key_pem + A.pem,
        "neither of RSA nor of an elliptic curve",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", list(CASES))
def test_what_is_no_ca_is_refused_and_left_alone(tmp_path: Path, case: str) -> None:
    path = tmp_path / KEY
    raw = CASES[case][0]()
    path.write_bytes(raw)
    path.chmod(0o600)
    for call in (
        lambda: Authority.load(path),
        lambda: Authority.create(path, NOW),
        lambda: Authority.create(path, NOW, rotate=True),
    ):
        with pytest.raises(
            ArtifactError, match=r"needed the key and the certificate.*Restore it, or move it"
        ) as caught:
            call()
        assert CASES[case][1] in str(caught.value)
        assert "BEGIN" not in f"{caught.value}{caught.value.__cause__}"
    assert path.read_bytes() == raw
    assert not path.with_name("ca.pem").exists()


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o602, 0o666])
def test_a_key_that_others_may_read_or_write_is_not_used(tmp_path: Path, mode: int) -> None:
    path = A.write(tmp_path / KEY)
    path.chmod(mode)
    with pytest.raises(ArtifactError, match=r"may be read or written by others.*chmod 600.*--rotate --retire"):
        Authority.load(path)


@pytest.mark.parametrize("kind", ["link", "dangling", "folder", "itself"])
def test_what_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / KEY
    if kind == "folder":
        path.mkdir(mode=0o700)
    else:
        target = A.write(tmp_path / "elsewhere.pem") if kind == "link" else tmp_path / "nowhere"
        path.symlink_to(path if kind == "itself" else target)
    with pytest.raises(ArtifactError, match=r"found Too many levels|is no file"):
        Authority.load(path)


def test_where_there_is_none_it_is_said_how_one_is_made(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"found no CA in .*needed one: make it with 'phi4-edge trust ca'"):
        Authority.load(tmp_path / KEY)


def test_one_that_was_made_elsewhere_in_the_same_way_is_good(tmp_path: Path) -> None:
    """What is refused above is not refused for another reason than that which is said."""
    assert Authority.load(A.write(tmp_path / KEY, B)).trusted == (A.pem + B.pem).decode()
