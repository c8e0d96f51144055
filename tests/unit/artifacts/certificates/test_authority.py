"""The fleet's CA: made once, replaced without a gap, and what its certificates say."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from phi4_edge.artifacts.certificates import pem
from phi4_edge.artifacts.certificates.authority import KEY, PUBLIC, Authority
from phi4_edge.errors import ArtifactError, InventoryError
from tests.unit.artifacts.certificates.crafted import DAY, NOW


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config" / KEY


def secret_of(raw: bytes) -> str:
    """A line out of the middle of a private key."""
    return raw.decode().split("-----BEGIN PRIVATE KEY-----")[1].split("\n")[2]


def test_it_is_made_once(path: Path) -> None:
    first = Authority.create(path, NOW)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    raw = path.read_bytes()
    assert Authority.create(path, NOW + DAY).digest == Authority.load(path).digest == first.digest
    assert path.read_bytes() == raw
    assert path.with_name(PUBLIC).read_text() == first.certificate == first.trusted
    assert sorted(each.name for each in path.parent.iterdir()) == ["ca-key.lock", KEY, PUBLIC]


def test_many_at_a_time_make_one(path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len({one.digest for one in pool.map(lambda _: Authority.create(path, NOW), range(16))}) == 1


def test_nothing_but_its_file_has_the_key(path: Path) -> None:
    found = Authority.create(path, NOW)
    secret = secret_of(path.read_bytes())
    assert "PRIVATE" not in path.with_name(PUBLIC).read_text()
    assert secret not in repr(found) + str(found) + found.trusted
    issued = found.issue(["gw1"], NOW)
    assert secret_of(issued.pem) not in repr(issued)
    assert "BEGIN" not in repr(issued)


def test_its_own_certificate_says_what_it_may(path: Path) -> None:
    found = x509.load_pem_x509_certificate(Authority.create(path, NOW).certificate.encode())
    limits = found.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = found.extensions.get_extension_for_class(x509.KeyUsage)
    assert (limits.critical, limits.value) == (True, x509.BasicConstraints(ca=True, path_length=0))
    assert usage.critical
    assert usage.value.key_cert_sign
    assert not usage.value.digital_signature
    subject = found.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert found.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier == subject
    assert pem.ends(found) - NOW == 3650 * DAY
    assert NOW - pem.begins(found) == 300


def test_what_it_issues_is_for_these_names_and_for_a_server(path: Path) -> None:
    authority = Authority.create(path, NOW)
    issued = authority.issue(["GW1.Example", "gw_1", "192.0.2.7", "2001:db8::7", "gw1.example."], NOW + DAY)
    assert issued.names == ("gw1.example", "192.0.2.7", "2001:db8::7")
    assert issued.issuer == authority.digest
    assert issued.not_after == NOW + 91 * DAY
    (leaf,) = x509.load_pem_x509_certificates(issued.pem)
    assert issued.digest == hashlib.sha256(leaf.public_bytes(Encoding.DER)).hexdigest()
    assert load_pem_private_key(issued.pem, None).public_key() == leaf.public_key()
    found = leaf.extensions
    names = found.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["gw1.example"]
    assert names.get_values_for_type(x509.IPAddress) == [
        ipaddress.ip_address("192.0.2.7"),
        ipaddress.ip_address("2001:db8::7"),
    ]
    assert list(found.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert not found.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not found.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    assert pem.begins(leaf) == NOW + DAY - 300
    assert pem.label(leaf) == "gw1.example"


def test_serials_and_keys_are_never_the_same(path: Path) -> None:
    authority = Authority.create(path, NOW)
    issued = [authority.issue(["gw1"], NOW) for _ in range(8)]
    leaves = [x509.load_pem_x509_certificate(one.pem) for one in issued]
    assert len({leaf.serial_number for leaf in leaves}) == 8
    assert len({secret_of(one.pem) for one in issued}) == 8
    assert min(leaf.serial_number.bit_length() for leaf in leaves) > 100


def test_a_long_name_is_no_label(path: Path) -> None:
    long = f"{'a' * 60}.{'b' * 60}.example"
    issued = Authority.create(path, NOW).issue([long], NOW)
    assert issued.names == (long,)
    assert pem.label(x509.load_pem_x509_certificate(issued.pem)) == "phi4-edge gateway"


@pytest.mark.parametrize("names", [[], ["gw_1"], ["", "gw_1", "0.0.0.0"], ["é", "x" * 300]])
def test_without_a_usable_name_nothing_is_issued(path: Path, names: list[str]) -> None:
    with pytest.raises(InventoryError, match=r"found no name .*phi4_gateway_names"):
        Authority.create(path, NOW).issue(names, NOW)


def test_nothing_outlives_the_ca(path: Path) -> None:
    authority = Authority.create(path, NOW)
    assert authority.issue(["gw1"], authority.ends - 40 * DAY).not_after == authority.ends
    assert authority.issue(["gw1"], authority.ends - 30 * DAY).not_after == authority.ends


@pytest.mark.parametrize(
    ("left", "said"),
    [(30 * DAY - 1, "expires at .* 30 days left"), (0, "expired at"), (-DAY, "expired at")],
)
def test_a_ca_that_ends_issues_no_more(path: Path, left: int, said: str) -> None:
    authority = Authority.create(path, NOW)
    with pytest.raises(ArtifactError, match=f"found a CA that {said}.*trust ca --rotate"):
        authority.issue(["gw1"], authority.ends - left)


def test_a_clock_that_was_set_back_is_said_and_a_little_is_borne(path: Path) -> None:
    authority = Authority.create(path, NOW)
    leaf = x509.load_pem_x509_certificate(authority.issue(["gw1"], NOW - 200).pem)
    assert pem.begins(leaf) == NOW - 300
    with pytest.raises(ArtifactError, match=r"not valid before 2027-01-15T07:55:00Z.*set the clock"):
        authority.issue(["gw1"], NOW - DAY)


def test_a_new_one_takes_over_and_the_old_certificate_stays_until_it_is_retired(path: Path) -> None:
    old = Authority.create(path, NOW)
    new = Authority.create(path, NOW + DAY, rotate=True)
    assert new.digest != old.digest
    assert new.trusted == new.certificate + old.certificate == path.with_name(PUBLIC).read_text()
    assert Authority.load(path) != old
    assert new.certificates[0].subject != old.certificates[0].subject
    assert path.read_bytes().count(b"PRIVATE KEY-----\n") == 2  # one key: its begin and its end
    retired = Authority.create(path, NOW + DAY, retire=True)
    assert retired.digest == new.digest
    assert path.with_name(PUBLIC).read_text() == new.certificate
    assert Authority.create(path, NOW, rotate=True, retire=True).trusted.count("BEGIN") == 1


def test_an_expired_predecessor_is_dropped(path: Path) -> None:
    old = Authority.create(path, NOW)
    assert len(Authority.create(path, old.ends, rotate=True).certificates) == 1


def test_rotations_that_never_end_are_refused_and_leave_what_is_there(path: Path) -> None:
    Authority.create(path, NOW)
    for _ in range(4):
        last = Authority.create(path, NOW, rotate=True)
    raw = path.read_bytes()
    with pytest.raises(ArtifactError, match=r"found 4 certificates of earlier CAs .*--retire"):
        Authority.create(path, NOW, rotate=True)
    assert path.read_bytes() == raw
    assert Authority.load(path).digest == last.digest


@pytest.mark.parametrize("there", [None, b"", b"garbage\xff", b"-----BEGIN CERTIFICATE-----\n"])
def test_the_public_file_is_written_anew(path: Path, there: bytes | None) -> None:
    found = Authority.create(path, NOW)
    public = path.with_name(PUBLIC)
    if there is None:
        public.unlink()
    else:
        public.write_bytes(there)
    Authority.create(path, NOW)
    assert public.read_text() == found.certificate


def test_a_link_at_the_public_file_is_replaced_and_not_followed(path: Path, tmp_path: Path) -> None:
    found = Authority.create(path, NOW)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    path.with_name(PUBLIC).unlink()
    path.with_name(PUBLIC).symlink_to(elsewhere)
    Authority.create(path, NOW)
    assert elsewhere.read_text() == "mine"
    assert path.with_name(PUBLIC).read_text() == found.certificate


def test_where_it_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("a file")
    with pytest.raises(ArtifactError, match=r"cannot be written: .*PHI4_EDGE_CONFIG"):
        Authority.create(tmp_path / "config" / KEY, NOW)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who may give a file away")
def test_another_users_file_is_not_believed(path: Path) -> None:
    Authority.create(path, NOW)
    os.chown(path, 12345, 12345)
    with pytest.raises(ArtifactError, match=r"by others than its owner"):
        Authority.load(path)
