"""A certificate that an operator brings, with its key: held to what every client will ask of it."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from phi4_edge.artifacts.certificates import given, pem
from phi4_edge.artifacts.certificates.given import UnfitError
from phi4_edge.errors import ArtifactError

_OLD_HASHES = ("md5", "sha1")


def read_operator(certificate: Path, key: Path | None, now: int) -> pem.Issued:
    """The certificate in a file, the CAs between it and the one that clients trust, and its private key.

    `key`: the file of the key, None where it is in the same one. `now`: seconds since 1970. Raises ArtifactError, with
    what was found, needed, and what to do, for what a server could not use or clients would refuse.
    """
    try:
        chain, private = given.chain_with_key(certificate, key, now)
        _require_server(certificate, chain[0])
    except UnfitError as error:
        raise ArtifactError(
            f"{error.path} cannot be a gateway's certificate: found {error.found}, needed {error.needed}. Bring "
            "another one, or leave phi4_gateway_certificate out, so that the fleet's CA issues one"
        ) from error
    return pem.issued(chain, private, "")


def _require_server(path: Path, leaf: x509.Certificate) -> None:
    if not pem.names(leaf):
        needed = "DNS names or addresses there: clients look at no other name"
        raise UnfitError(path, "a certificate without a subjectAltName", needed)
    method = leaf.signature_hash_algorithm
    if method is not None and method.name in _OLD_HASHES:
        raise UnfitError(path, f"a certificate signed with {method.name.upper()}", "SHA-256 or better")
    given.require_use(path, leaf, ExtendedKeyUsageOID.SERVER_AUTH, "servers", "serverAuth")
