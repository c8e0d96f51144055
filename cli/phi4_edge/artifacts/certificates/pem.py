"""PEM files of certificates and private keys, as others wrote them: bounded, and read as one thing only."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from phi4_edge.core.text import printable

# Bytes of a file: a chain of certificates with many names and a key of 8,192 bits have a quarter of that.
FILE_MOST = 64 << 10
CERTIFICATES_MOST = 10
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
# What the library raises for a certificate that is none; each names what is wrong in its own words.
UNREADABLE = (
    *(ValueError, TypeError, OverflowError, UnsupportedAlgorithm, InvalidSignature, x509.InvalidVersion),
    *(x509.DuplicateExtension, x509.ExtensionNotFound, x509.UnsupportedGeneralNameType),
)
# Keys of old have headers with a hyphen, such as DEK-Info.
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----(?:(?!-----).)*-----END \1-----", re.DOTALL)


@dataclass(frozen=True)
class Issued:
    """A certificate with its private key, as a server needs it.

    `pem`: the chain, the server's own certificate first, and the key. `not_after`: seconds since 1970. `issuer`: the
    SHA-256 of the CA's certificate, "" where an operator brought it. `names`: DNS names and addresses that it is for.
    `digest`: the SHA-256 of the certificates in `pem` (DER, one after the other).
    """

    pem: bytes = field(repr=False)
    not_after: int
    issuer: str
    names: tuple[str, ...]
    digest: str


def issued(chain: tuple[x509.Certificate, ...], key: PrivateKey, issuer: str) -> Issued:
    """The first certificate of `chain` with its key, and the CAs between it and the one that clients trust."""
    pem = "".join(map(text, chain)).encode() + key_text(key).encode()
    return Issued(pem, ends(chain[0]), issuer, names(chain[0]), digest(chain))


def certificates(raw: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates in a file, in its order. Raises ValueError, with what was found, where there are none."""
    blocks = _blocks(raw, b"CERTIFICATE")
    if not 0 < len(blocks) <= CERTIFICATES_MOST:
        raise ValueError(f"{len(blocks)} certificates")
    try:
        found = tuple(map(x509.load_pem_x509_certificate, blocks))
        for one in found:
            # Parts are parsed only when somebody asks for them.
            _ = one.subject, one.public_key(), one.extensions, one.signature_hash_algorithm, begins(one), ends(one)
    except UNREADABLE as error:
        raise ValueError("a damaged certificate") from error
    return found


def private_key(raw: bytes) -> PrivateKey:
    """The private key in a file. Raises ValueError, with what was found and nothing of the key, where there is none."""
    blocks = _blocks(raw, b"PRIVATE KEY")
    if len(blocks) != 1:
        raise ValueError(f"{len(blocks)} private keys")
    if b"ENCRYPTED" in blocks[0]:
        raise ValueError("a private key with a password")
    try:
        key = load_pem_private_key(blocks[0], None)
    except UNREADABLE:
        raise ValueError("a damaged private key") from None
    if not isinstance(key, PrivateKey):
        raise ValueError("a private key that is neither of RSA nor of an elliptic curve")
    return key


def _blocks(raw: bytes, kind: bytes) -> list[bytes]:
    return [found[0] for found in _BLOCK.finditer(raw) if found[1].endswith(kind)]


def names(certificate: x509.Certificate) -> tuple[str, ...]:
    """The DNS names and addresses that a certificate is for; () for none."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = map(str, found.get_values_for_type(x509.IPAddress))
    return (*found.get_values_for_type(x509.DNSName), *addresses)


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether a certificate says that it may sign others."""
    try:
        found = certificate.extensions
        signs = found.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
        return signs and found.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def key_identifier(certificate: x509.Certificate) -> bytes:
    """By what those that it signed refer to its key, b"" for nothing."""
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        return b""


def signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether the holder of another certificate signed this one."""
    try:
        certificate.verify_directly_issued_by(authority)
    except UNREADABLE:
        return False
    return True


def belongs(key: PrivateKey, certificate: x509.Certificate) -> bool:
    """Whether a key is that of the certificate."""
    return bool(key.public_key() == certificate.public_key())


def begins(certificate: x509.Certificate) -> int:
    """From when on it is valid, in seconds since 1970."""
    return int(certificate.not_valid_before_utc.timestamp())


def ends(certificate: x509.Certificate) -> int:
    """Until when it is valid, in seconds since 1970."""
    return int(certificate.not_valid_after_utc.timestamp())


def label(certificate: x509.Certificate) -> str:
    """What people call it: its common name, "" for none."""
    found = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return printable(str(found[0].value), lines=False) if found else ""


def text(certificate: x509.Certificate) -> str:
    """A certificate as PEM."""
    return certificate.public_bytes(Encoding.PEM).decode()


def key_text(key: PrivateKey) -> str:
    """A private key as PEM, without a password: for a file that is its owner's alone."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def digest(chain: Iterable[x509.Certificate]) -> str:
    """The SHA-256, in hex, of certificates in DER, one after the other."""
    return hashlib.sha256(b"".join(one.public_bytes(Encoding.DER) for one in chain)).hexdigest()
