"""What an operator brings of clients: the CAs of their certificates, and the certificate that a balancer shows."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from phi4_edge.artifacts.certificates import given, pem
from phi4_edge.artifacts.certificates.given import UnfitError
from phi4_edge.errors import ArtifactError


def read_authorities(path: Path, now: int) -> str:
    """The CAs in a file, as PEM with nothing beside it: who has a certificate of one of them is a client.

    `now`: seconds since 1970. Raises ArtifactError, with what was found, needed, and what to do, for a file that a
    gateway could not use: each must be a CA that is valid now, and signed by itself or by another of them, for HAProxy
    trusts nobody whose chain does not end in a certificate of the file that signed itself.
    """
    try:
        found = _authorities(path)
        for one in found:
            _require_authority(path, one)
            given.require_time(path, one, now)
            given.require_strong(path, one.public_key())
            if not any(pem.signed_by(one, above) for above in found):
                raise UnfitError(
                    path, f"the CA {pem.label(one) or 'without a name'}, whose own CA is not in the file",
                    "all CAs up to one that signed itself",
                )  # fmt: skip
    except UnfitError as error:
        raise ArtifactError(
            f"{error.path} cannot be the CAs of clients: found {error.found}, needed {error.needed}. Correct the file, "
            "or leave phi4_gateway_client_ca out, so that clients need no certificate"
        ) from error
    return "".join(map(pem.text, found))


def read_client(path: Path, now: int) -> str:
    """The certificate, chain and key with which a balancer comes to gateways, as PEM.

    `path`: one file with all of it, which only its owner may read. Raises ArtifactError as `read_authorities`.
    """
    try:
        chain, key = given.chain_with_key(path, None, now)
        given.require_use(path, chain[0], ExtendedKeyUsageOID.CLIENT_AUTH, "clients", "clientAuth")
    except UnfitError as error:
        raise ArtifactError(
            f"{error.path} cannot be a client's certificate: found {error.found}, needed {error.needed}. Correct the "
            "file, or name another with phi4_balancer_client_certificate"
        ) from error
    return pem.issued(chain, key, "").pem.decode()


def _authorities(path: Path) -> tuple[x509.Certificate, ...]:
    try:
        return pem.certificates(given.read(path, private=False))
    except UnfitError:
        raise
    except ValueError as error:
        needed = f"1 to {pem.CERTIFICATES_MOST} certificates of CAs, as PEM"
        raise UnfitError(path, str(error), needed) from error


def _require_authority(path: Path, one: x509.Certificate) -> None:
    """Other than of servers' chains, no key usage is asked for: what `openssl req -x509` makes has none."""
    try:
        usage = one.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        usage = True
    try:
        signs = usage and one.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        signs = False
    if not signs:
        raise UnfitError(path, f"a certificate that is no CA's ({pem.label(one) or 'without a name'})", "CAs alone")
