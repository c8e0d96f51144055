"""An operator's own certificate: what clients and the server would refuse later is refused here, in words."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from phi4_edge.artifacts.certificates import pem
from phi4_edge.artifacts.certificates.operator import read_operator
from phi4_edge.errors import ArtifactError
from tests.unit.artifacts.certificates.crafted import DAY, NOW, Made, authority, made

ROOT = authority("root")
MIDDLE = authority("middle", issuer=ROOT)
LEAF = made(names=("gw1.example", "192.0.2.7", "2001:db8::7"), issuer=MIDDLE)
ALONE = made()


def both(folder: Path, one: Made, *chain: Made) -> tuple[Path, Path]:
    """Certificates and key in files of their own."""
    certificate, key = folder / "gw.crt", folder / "gw.key"
    certificate.write_bytes(b"".join(each.pem for each in (one, *chain)))
    certificate.chmod(0o644)
    key.write_bytes(one.key_pem)
    key.chmod(0o600)
    return certificate, key


def refusal(certificate: Path, key: Path | None) -> str:
    """What is said of them."""
    with pytest.raises(ArtifactError) as caught:
        read_operator(certificate, key, NOW)
    said = str(caught.value)
    assert "needed" in said
    assert "BEGIN" not in said
    assert caught.value.exit_code == 3
    return said


def test_a_chain_and_its_key_are_taken_as_they_are(tmp_path: Path) -> None:
    certificate, key = both(tmp_path, LEAF, MIDDLE)
    found = read_operator(certificate, key, NOW)
    assert found.pem == LEAF.pem + MIDDLE.pem + LEAF.key_pem
    assert found.names == ("gw1.example", "192.0.2.7", "2001:db8::7")
    assert (found.issuer, found.not_after) == ("", NOW + 90 * DAY)
    assert found.digest == pem.digest([LEAF.certificate, MIDDLE.certificate])
    assert read_operator(LEAF.write(tmp_path / "whole.pem", MIDDLE), None, NOW) == found


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 2048),
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP521R1()),
    ],
    ids=["rsa-2048", "p-256", "p-384", "p-521"],
)
def test_keys_that_every_client_takes(tmp_path: Path, key: object) -> None:
    one = made(key=key, uses=[ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])
    assert read_operator(*both(tmp_path, one), NOW).pem == one.pem + one.key_pem


def test_keys_in_older_files_are_read(tmp_path: Path) -> None:
    certificate, key = both(tmp_path, ALONE)
    old = ALONE.key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    key.write_bytes(b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n" + old)
    assert read_operator(certificate, key, NOW).pem == ALONE.pem + ALONE.key_pem


def test_links_to_the_newest_are_followed(tmp_path: Path) -> None:
    certificate, key = both(tmp_path, ALONE)
    for path in (certificate, key):
        (tmp_path / f"live-{path.name}").symlink_to(path)
    assert read_operator(tmp_path / "live-gw.crt", tmp_path / "live-gw.key", NOW).names == ("gw1.example",)


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (lambda: made(ends=NOW), "found a certificate that expired at 2027-01-15T08:00:00Z, needed one that is valid"),
        (lambda: made(ends=NOW - DAY), "expired at"),
        (lambda: made(begins=NOW + 1), "is not valid before 2027-01-15T08:00:01Z"),
        (lambda: made(names=()), "without a subjectAltName"),
        (lambda: made(uses=[ExtendedKeyUsageOID.CLIENT_AUTH]), "is not for servers"),
        (lambda: made(uses=[ExtendedKeyUsageOID.CODE_SIGNING]), "is not for servers"),
        (lambda: made(key=rsa.generate_private_key(65537, 1024)), "a key of RSA with 1024 bits"),
        (lambda: made(key=ec.generate_private_key(ec.SECP224R1())), "a key of the curve secp224r1"),
        (lambda: made(key=ec.generate_private_key(ec.SECP256K1())), "a key of the curve secp256k1"),
    ],
)
def test_what_clients_would_refuse(tmp_path: Path, one: Callable[[], Made], said: str) -> None:
    assert said in refusal(*both(tmp_path, one()))


@pytest.mark.parametrize(
    ("chain", "said"),
    [
        ((LEAF, ROOT), "found certificate 2, which is not the CA of the one before it"),
        ((LEAF, ROOT, MIDDLE), "found certificate 2"),
        ((LEAF, MIDDLE, MIDDLE), "found certificate 3"),
        ((LEAF, authority("middle")), "found certificate 2"),
        ((LEAF, authority("middle", issuer=ROOT, signs=False, key=MIDDLE.key)), "found certificate 2"),
        ((LEAF, authority("middle", issuer=ROOT, ends=NOW - 1, key=MIDDLE.key)), "expired at"),
        ((LEAF, *[MIDDLE] * 10), "found 11 certificates"),
    ],
)
def test_a_chain_is_in_order(tmp_path: Path, chain: tuple[Made, ...], said: str) -> None:
    assert said in refusal(*both(tmp_path, *chain))


def test_the_servers_own_comes_first(tmp_path: Path) -> None:
    certificate, key = both(tmp_path, LEAF)
    certificate.write_bytes(MIDDLE.pem + LEAF.pem)
    assert "found a first certificate that is not the key's" in refusal(certificate, key)
    key.write_bytes(ALONE.key_pem)
    certificate.write_bytes(LEAF.pem)
    assert "found a first certificate that is not the key's" in refusal(certificate, key)


def _locked(form: PrivateFormat) -> bytes:
    return bytes(ALONE.key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"secret")))


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "found 0 private keys"),
        (ALONE.key_pem[:90], "found 0 private keys"),
        (ALONE.pem, "found 0 private keys"),
        (ALONE.key_pem * 2, "found 2 private keys"),
        (_locked(PrivateFormat.PKCS8), "found a private key with a password, needed one private key without"),
        (_locked(PrivateFormat.TraditionalOpenSSL), "found a private key with a password"),
        (ALONE.key_pem.replace(b"MIG", b"MIH"), "found a damaged private key"),
        (Made(ALONE.certificate, ed25519.Ed25519PrivateKey.generate()).key_pem, "neither of RSA nor of an elliptic"),
        (b"x" * (1 << 20), "found more than 65536 bytes"),
    ],
    ids=range(9),
)
def test_what_is_no_key(tmp_path: Path, raw: bytes, said: str) -> None:
    certificate, key = both(tmp_path, ALONE)
    key.write_bytes(raw)
    assert said in refusal(certificate, key)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "found 0 certificates"),
        (b"\0" * 100, "found 0 certificates"),
        (ALONE.pem[:-40], "found 0 certificates"),
        (ALONE.key_pem, "found 0 certificates"),
        (ALONE.pem.replace(b"MII", b"MIJ"), "found a damaged certificate"),
        (ALONE.certificate.public_bytes(Encoding.DER), "found 0 certificates"),
        (b"x" * (1 << 20), "found more than 65536 bytes"),
    ],
    ids=range(7),
)
def test_what_is_no_certificate(tmp_path: Path, raw: bytes, said: str) -> None:
    certificate, key = both(tmp_path, ALONE)
    certificate.write_bytes(raw)
    assert said in refusal(certificate, key)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o602])
def test_a_key_is_its_owners_alone(tmp_path: Path, mode: int) -> None:
    certificate, key = both(tmp_path, ALONE)
    key.chmod(mode)
    assert f"chmod 600 {key}" in refusal(certificate, key)
    whole = ALONE.write(tmp_path / "whole.pem")
    whole.chmod(mode)
    assert f"chmod 600 {whole}" in refusal(whole, None)


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o602])
def test_a_certificate_is_written_by_its_owner_alone(tmp_path: Path, mode: int) -> None:
    certificate, key = both(tmp_path, ALONE)
    certificate.chmod(mode)
    assert f"chmod 644 {certificate}" in refusal(certificate, key)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who may give a file away")
@pytest.mark.parametrize("which", [0, 1])
def test_another_users_file_is_not_taken(tmp_path: Path, which: int) -> None:
    pair = both(tmp_path, ALONE)
    os.chown(pair[which], 12345, 12345)
    assert "by others than its owner" in refusal(*pair)


def test_what_is_not_there_or_no_file(tmp_path: Path) -> None:
    certificate, key = both(tmp_path, ALONE)
    assert f"found no file {tmp_path / 'none'}" in refusal(tmp_path / "none", key)
    assert f"found no file {tmp_path / 'none'}" in refusal(certificate, tmp_path / "none")
    (tmp_path / "itself").symlink_to(tmp_path / "itself")
    for odd in (tmp_path / "itself", tmp_path / "a\0b", key / "below"):
        assert "needed a PEM file" in refusal(odd, key)
    assert "is no file" in refusal(tmp_path, key)


def test_an_extension_that_is_there_twice_is_damage(tmp_path: Path) -> None:
    """It is found only when somebody asks for the extensions."""
    certificate, key = both(tmp_path, ALONE)
    raw = ALONE.certificate.public_bytes(Encoding.DER)
    # The OID of basicConstraints becomes that of keyUsage, of which there is one already.
    twice = x509.load_der_x509_certificate(raw.replace(b"\x06\x03\x55\x1d\x13", b"\x06\x03\x55\x1d\x0f"))
    certificate.write_bytes(twice.public_bytes(Encoding.PEM))
    assert "found a damaged certificate" in refusal(certificate, key)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl, which still signs with SHA-1")
def test_a_certificate_signed_with_sha_1_is_refused(tmp_path: Path) -> None:
    certificate, key = tmp_path / "gw.crt", tmp_path / "gw.key"
    options = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3000 -sha1 -subj /CN=gw1"
    named = ["-addext", "subjectAltName=DNS:gw1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", "req", "-x509", *options.split(), *named], check=True, capture_output=True)
    key.chmod(0o600)
    assert "found a certificate signed with SHA1" in refusal(certificate, key)
