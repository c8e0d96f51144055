"""The fleet's certificate authority on this controller.

<configuration>/ca-key.pem   its private key and certificate, and its predecessors' certificates: for its owner alone
<configuration>/ca.pem       the certificates again, for clients; written anew where it is missing or another
"""

from __future__ import annotations

import contextlib
import ipaddress
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from phi4_edge.artifacts.certificates import pem
from phi4_edge.artifacts.signing.statement import moment
from phi4_edge.artifacts.store import files
from phi4_edge.core.gateway.certificate import DAY_SECONDS, DAYS, RENEWED_SECONDS, usable
from phi4_edge.errors import ArtifactError

KEY, PUBLIC = "ca-key.pem", "ca.pem"
_PRIVATE = 0o600
_OWN_SECONDS = 3650 * DAY_SECONDS
# More are rotations that were never brought to an end.
_PREVIOUS_MOST = 4
# Clients' clocks may be behind by this much.
_BACK_SECONDS = 300
_COMMON_NAME_LONGEST = 64  # ub-common-name of RFC 5280


@dataclass(frozen=True)
class Authority:
    """A CA, its own certificate first, then those of its predecessors; nothing shows its private key."""

    certificates: tuple[x509.Certificate, ...]
    _key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def load(cls, path: Path) -> Authority:
        """The CA in `path`. Raises ArtifactError where there is none, or one that cannot be used."""
        if (found := _read(path)) is None:
            raise ArtifactError(f"found no CA in {path}, needed one: make it with 'phi4-edge trust ca'")
        return found

    @classmethod
    def create(cls, path: Path, now: int, rotate: bool = False, retire: bool = False) -> Authority:
        """The CA in `path`, which is made where there is none. Raises ArtifactError.

        `now`: seconds since 1970. `rotate`: a new one takes the place of one that is there, of which the certificate
        remains among its `certificates` until it expires. `retire`: no certificate of a predecessor remains.
        """
        with _alone(path):
            found = before = _read(path)
            if found is None or rotate:
                known = found.certificates if found else ()
                found = _made(now, tuple(one for one in known if now < pem.ends(one)))
            if retire:
                found = cls(found.certificates[:1], found._key)
            if len(found.certificates) > 1 + _PREVIOUS_MOST:
                raise ArtifactError(
                    f"found {_PREVIOUS_MOST} certificates of earlier CAs in {path}, needed room for one: once every "
                    "host has a certificate of the newest ('phi4-edge provision'), forget them with --retire"
                )
            if found != before:
                files.write_text(path, pem.key_text(found._key) + found.trusted, _PRIVATE)
            public = path.with_name(PUBLIC)
            if files.read_plain(public, pem.FILE_MOST) != found.trusted.encode():
                files.write_text(public, found.trusted)
        return found

    @property
    def digest(self) -> str:
        """The SHA-256 of its certificate, in hex."""
        return pem.digest(self.certificates[:1])

    @property
    def certificate(self) -> str:
        """Its certificate as PEM."""
        return pem.text(self.certificates[0])

    @property
    def ends(self) -> int:
        """Until when it is valid, in seconds since 1970."""
        return pem.ends(self.certificates[0])

    @property
    def trusted(self) -> str:
        """As PEM what clients are to trust: its certificate and those of its predecessors."""
        return "".join(map(pem.text, self.certificates))

    def require_valid(self, now: int, seconds: int = 0) -> None:
        """Raises ArtifactError where it is not valid at `now`, in seconds since 1970, and for `seconds` from then."""
        begins, ends = pem.begins(self.certificates[0]), self.ends
        if now < begins:
            raise ArtifactError(
                f"found a CA that is not valid before {moment(begins)}, and {moment(now)} on this controller's clock: "
                "set the clock, or make another CA with 'phi4-edge trust ca --rotate'"
            )
        if now >= ends or ends - now < seconds:
            needed = f"one with {seconds // DAY_SECONDS} days left" if seconds else "one that is valid"
            raise ArtifactError(
                f"found a CA that {'expired' if now >= ends else 'expires'} at {moment(ends)}, needed {needed}: make "
                "another with 'phi4-edge trust ca --rotate', and give clients its certificate"
            )

    def issue(self, names: Iterable[str], now: int, days: int = DAYS) -> pem.Issued:
        """A certificate for a server of these DNS names and addresses, with a key of its own that is nowhere else.

        It is valid from `now`, in seconds since 1970, for so many days, but never longer than the CA. Names that no
        certificate can have are left out. Raises InventoryError where none is left, ArtifactError where the CA is not
        valid for another 30 days.
        """
        found = usable(names)
        self.require_valid(now, RENEWED_SECONDS)  # else it would issue what is due at once
        own, key = self.certificates[0], ec.generate_private_key(ec.SECP256R1())
        label = next((name for name in found if len(name) <= _COMMON_NAME_LONGEST), "phi4-edge gateway")
        begins = max(now - _BACK_SECONDS, pem.begins(own))
        ends = min(now + days * DAY_SECONDS, self.ends)
        above = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = (
            _builder(label, own.subject, key.public_key(), begins, ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName(list(map(_general_name, found))), critical=False)
            .add_extension(above, critical=False)
        )
        return pem.issued((builder.sign(self._key, hashes.SHA256()),), key, self.digest)


def _made(now: int, previous: tuple[x509.Certificate, ...]) -> Authority:
    """A new CA. Its name is its own, so that clients that trust its predecessors too take the right one."""
    key = ec.generate_private_key(ec.SECP256R1())
    label = f"phi4-edge CA {moment(now)[:10]} {secrets.token_hex(4)}"
    begins, ends = now - _BACK_SECONDS, now + _OWN_SECONDS
    builder = (
        _builder(label, None, key.public_key(), begins, ends)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    return Authority((builder.sign(key, hashes.SHA256()), *previous), key)


def _builder(
    label: str, issuer: x509.Name | None, key: ec.EllipticCurvePublicKey, begins: int, ends: int
) -> x509.CertificateBuilder:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, label)])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(begins, UTC))
        .not_valid_after(datetime.fromtimestamp(ends, UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(authority: bool) -> x509.KeyUsage:
    """A CA signs certificates and nothing else; a server signs what the handshake asks for."""
    never = (
        *("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
        *("encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(
        digital_signature=not authority, key_cert_sign=authority, crl_sign=authority, **dict.fromkeys(never, False)
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _read(path: Path) -> Authority | None:
    """The CA in `path`, None where there is no file."""
    try:
        raw = files.read_own(path, pem.FILE_MOST, private=True)
    except files.NotOwnError as error:
        raise ArtifactError(
            f"{error}, so that others may have the CA's key: look at who could, then chmod 600 {path}, and make "
            "another with 'phi4-edge trust ca --rotate --retire' where somebody did"
        ) from error
    except OSError as error:
        raise _refused(path, error.strerror or str(error)) from error
    if raw is None:
        return None
    if len(raw) > pem.FILE_MOST:
        raise _refused(path, f"more than {pem.FILE_MOST} bytes")
    try:
        key, certificates = pem.private_key(raw), pem.certificates(raw)
    except ValueError as error:
        raise _refused(path, str(error)) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _refused(path, "a key that is not of P-256")
    if not pem.belongs(key, certificates[0]):
        raise _refused(path, "a first certificate that is not the key's")
    if not all(pem.is_authority(one) and pem.signed_by(one, one) for one in certificates):
        raise _refused(path, "a certificate that is no CA's, or that another one signed")
    if pem.key_identifier(certificates[0]) != x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest:
        raise _refused(path, "a certificate with another key identifier")
    return Authority(certificates, key)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with files.locked(path.with_suffix(".lock")):
            yield
    except OSError as error:
        raise ArtifactError(
            f"{path} cannot be written: {error.strerror}; give it space and rights, or name another folder in "
            "PHI4_EDGE_CONFIG"
        ) from error


def _refused(path: Path, found: str) -> ArtifactError:
    return ArtifactError(
        f"{path} cannot be used as the fleet's CA: found {found}, needed the key and the certificate that 'phi4-edge "
        "trust ca' wrote. Restore it, or move it away and make another CA with 'phi4-edge trust ca'"
    )
