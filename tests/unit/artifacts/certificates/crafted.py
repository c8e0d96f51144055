"""Certificates of any kind, good ones and others, as somebody else's tools would make them."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

NOW = 1_800_000_000
DAY = 86_400


@dataclass
class Made:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Any

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The key."""
        return bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    def write(self, path: Path, *chain: Made) -> Path:
        """Key, certificate and those of `chain` in one file, which is its owner's alone."""
        path.write_bytes(self.key_pem + self.pem + b"".join(one.pem for one in chain))
        path.chmod(0o600)
        return path


def made(
    label: str = "gw1.example",
    names: Sequence[str] = ("gw1.example",),
    issuer: Made | None = None,
    key: Any = None,
    begins: int = NOW - DAY,
    ends: int = NOW + 90 * DAY,
    authority: bool = False,
    signs: bool | None = None,
    uses: Sequence[x509.ObjectIdentifier] = (),
    identified: Any = None,
) -> Made:
    """One with these names; it signs itself where nobody else does. `signs`: what its key usage says; `identified`: the
    public key that its identifier is of."""
    own = key or ec.generate_private_key(ec.SECP256R1())
    above = issuer.key if issuer else own
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, label)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(begins, UTC))
        .not_valid_after(datetime.fromtimestamp(ends, UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(identified or own.public_key()), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(above.public_key()), False)
        .add_extension(x509.BasicConstraints(authority, None), True)
        .add_extension(_usage(authority if signs is None else signs), True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_name(name) for name in names]), False)
    if uses:
        builder = builder.add_extension(x509.ExtendedKeyUsage(list(uses)), False)
    return Made(builder.sign(above, hashes.SHA256()), own)


def authority(label: str = "a CA", **more: Any) -> Made:
    """A CA."""
    return made(label, (), authority=True, **more)


def _usage(signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(True, False, False, False, False, signs, signs, False, False)


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
