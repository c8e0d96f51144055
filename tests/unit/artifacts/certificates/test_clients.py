"""The CAs of clients and a balancer's own certificate, as operators bring them: what is taken, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from phi4_edge.artifacts.certificates import pem
from phi4_edge.artifacts.certificates.clients import read_authorities, read_client
from phi4_edge.errors import ArtifactError
from tests.unit.artifacts.certificates.crafted import DAY, NOW, Made, authority, made

ROOT = authority("site CA")
MIDDLE = authority("plant CA", issuer=ROOT)
CLIENT = made("north", (), ROOT)
SMALL = rsa.generate_private_key(65537, 1024)


def without_usage(ca: bool | None) -> bytes:
    """A certificate that signed itself as `openssl req -x509` makes it; `ca`: its basic constraint, None for none."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "plain")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(ROOT.certificate.not_valid_before_utc)
    builder = builder.not_valid_after(ROOT.certificate.not_valid_after_utc)
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, None), True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def written(folder: Path, raw: bytes, mode: int = 0o644) -> Path:
    path = folder / "clients.pem"
    path.write_bytes(raw)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    "raw",
    [
        ROOT.pem, ROOT.pem + authority("second").pem, MIDDLE.pem + ROOT.pem, ROOT.pem + MIDDLE.pem, without_usage(True),
    ],
    ids=["one", "two", "below first", "below last", "as openssl makes it"],
)  # fmt: skip
def test_cas_are_taken_as_they_are(tmp_path: Path, raw: bytes) -> None:
    assert read_authorities(written(tmp_path, raw), NOW) == raw.decode()


def test_what_is_beside_them_stays_here(tmp_path: Path) -> None:
    raw = b"# those of the plants\n" + ROOT.key_pem + b"subject=CN = site CA\n" + ROOT.pem
    assert read_authorities(written(tmp_path, raw), NOW) == ROOT.pem.decode()
    (tmp_path / "link.pem").symlink_to(tmp_path / "clients.pem")
    assert read_authorities(tmp_path / "link.pem", NOW) == ROOT.pem.decode()


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "found 0 certificates, needed 1 to 10 certificates of CAs, as PEM"),
        (ROOT.certificate.public_bytes(Encoding.DER), "found 0 certificates"),
        (ROOT.pem * (pem.CERTIFICATES_MOST + 1), "found 11 certificates"),
        (ROOT.pem[:200] + b"A" * 40 + ROOT.pem[240:], "found a damaged certificate"),
        (b"x" * (pem.FILE_MOST + 1), "found more than 65536 bytes"),
        (CLIENT.pem, r"found a certificate that is no CA's \(north\), needed CAs alone"),
        (ROOT.pem + CLIENT.pem, r"no CA's \(north\)"),
        (without_usage(None), r"no CA's \(plain\)"), (without_usage(False), r"no CA's \(plain\)"),
        (authority(signs=False).pem, r"no CA's \(a CA\)"),
        (authority(ends=NOW).pem, "found a certificate that expired at .*, needed one that is valid"),
        (ROOT.pem + authority(ends=NOW - DAY).pem, "expired at"),
        (authority(begins=NOW + 1, ends=NOW + DAY).pem, "found a certificate that is not valid before"),
        (authority(key=SMALL).pem, "found a key of RSA with 1024 bits, needed RSA of at least 2048 bits"),
        (authority(key=ec.generate_private_key(ec.SECP256K1())).pem, "found a key of the curve secp256k1"),
        (MIDDLE.pem, "found the CA plant CA, whose own CA is not in the file, needed all CAs up to one"),
        (MIDDLE.pem + authority("site CA").pem, "plant CA, whose own CA is not in the file"),
    ],
)  # fmt: skip
def test_what_no_gateway_could_use_is_refused_in_words(tmp_path: Path, raw: bytes, said: str) -> None:
    with pytest.raises(ArtifactError, match=f"clients.pem cannot be the CAs of clients: .*{said}") as refused:
        read_authorities(written(tmp_path, raw), NOW)
    assert "leave phi4_gateway_client_ca out" in str(refused.value)


def test_a_file_that_is_not_there_or_that_others_may_write_is_told(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"found no file .*none.pem, needed a PEM file"):
        read_authorities(tmp_path / "none.pem", NOW)
    with pytest.raises(ArtifactError, match=r"may be written by others.*chmod 644"):
        read_authorities(written(tmp_path, ROOT.pem, 0o666), NOW)
    with pytest.raises(ArtifactError, match="is no file"):
        read_authorities(tmp_path, NOW)


def test_a_balancers_own_certificate_comes_with_its_chain_and_key(tmp_path: Path) -> None:
    below = made("lb1", (), MIDDLE, uses=[ExtendedKeyUsageOID.CLIENT_AUTH])
    found = read_client(below.write(tmp_path / "client.pem", MIDDLE), NOW)
    assert found.encode() == below.pem + MIDDLE.pem + below.key_pem


@pytest.mark.parametrize(
    ("one", "chain", "said"),
    [
        (made(issuer=ROOT, ends=NOW), (), "found a certificate that expired at"),
        (made(issuer=ROOT, uses=[ExtendedKeyUsageOID.SERVER_AUTH]), (), "not for clients, needed clientAuth among"),
        (made(issuer=ROOT), (MIDDLE,), "certificate 2, which is not the CA of the one before it"),
        (Made(CLIENT.certificate, ROOT.key), (), "a first certificate that is not the key's"),
    ],
)
def test_one_that_gateways_would_refuse_is_refused_here(
    tmp_path: Path, one: Made, chain: tuple[Made, ...], said: str
) -> None:
    with pytest.raises(ArtifactError, match=f"client.pem cannot be a client's certificate: .*{said}"):
        read_client(one.write(tmp_path / "client.pem", *chain), NOW)


def test_a_key_that_others_may_read_is_not_taken(tmp_path: Path) -> None:
    path = CLIENT.write(tmp_path / "client.pem")
    path.chmod(0o640)
    with pytest.raises(ArtifactError, match=r"may be read or written by others than its owner.*chmod 600"):
        read_client(path, NOW)
