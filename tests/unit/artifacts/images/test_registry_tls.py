"""TLS towards a registry: verified with what the system or SSL_CERT_FILE says, and never given up on the way."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from phi4_edge.artifacts.fetch import http
from phi4_edge.artifacts.fetch.http import Address
from phi4_edge.artifacts.images import delivery
from phi4_edge.artifacts.store.store import Store
from phi4_edge.data import load_catalog
from phi4_edge.errors import ArtifactError
from tests.unit.artifacts.images.standin_registry import StandinRegistry, planned, serving

CATALOG = load_catalog()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a registry")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1)).add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    path = tmp_path / "registry.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def registry(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandinRegistry]:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("phi4_edge.artifacts.fetch.http.PAUSES", (0.0,))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with serving(tls) as standin:
        standin.add("site/thing", "1.0", [{"a": b"b"}])
        yield standin


def fetch(store: Path, registry: StandinRegistry) -> str:
    return delivery.ensure(Store(store), CATALOG, planned("site/thing"), f"https://{registry.host}").digest


def test_a_certificate_that_nobody_trusts_is_refused(tmp_path: Path, registry: StandinRegistry) -> None:
    with pytest.raises(ArtifactError, match=r"no certificate that this controller trusts .*SSL_CERT_FILE"):
        fetch(tmp_path / "store", registry)
    assert registry.seen == []


def test_who_is_not_trusted_is_not_asked_again_and_files_are_no_exception(
    tmp_path: Path, registry: StandinRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phi4_edge.artifacts.fetch.http.time.sleep", lambda _: pytest.fail("it asks again"))
    with pytest.raises(ArtifactError, match="found no certificate"):
        fetch(tmp_path / "store", registry)
    address = Address(f"https://{registry.host}/v2/", "Ask the site.")
    with pytest.raises(ArtifactError, match=r"found no certificate .*SSL_CERT_FILE\. Ask the site\."):
        http.text(address)


def test_the_authority_in_ssl_cert_file_is_trusted(
    tmp_path: Path, registry: StandinRegistry, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert fetch(tmp_path / "store", registry).startswith("sha256:")


def test_a_redirect_from_https_to_http_is_refused(
    tmp_path: Path, registry: StandinRegistry, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with serving() as storage:
        storage.blobs, registry.blobs_at = registry.blobs, storage.host
        with pytest.raises(ArtifactError, match="leads from https to http: refused"):
            fetch(tmp_path / "store", registry)
        plain = Address(f"https://{registry.host}/v2/site/thing/blobs/{next(iter(registry.blobs))}", "Ask the site.")
        with pytest.raises(ArtifactError, match=r"leads from https to http: refused\. Ask the site\."):
            http.text(plain)
