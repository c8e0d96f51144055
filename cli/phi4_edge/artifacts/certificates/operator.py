"""A certificate that an operator brings, with its key: held to what every client will ask of it."""

from __future__ import annotations

import itertools
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from phi4_edge.artifacts.certificates import pem
from phi4_edge.artifacts.signing.statement import moment
from phi4_edge.artifacts.store import files
from phi4_edge.errors import ArtifactError

_RSA_LEAST = 2048
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_OLD_HASHES = ("md5", "sha1")


def read_operator(certificate: Path, key: Path | None, now: int) -> pem.Issued:
    """The certificate in a file, the CAs between it and the one that clients trust, and its private key.

    `key`: the file of the key, None where it is in the same one. `now`: seconds since 1970. Raises ArtifactError, with
    what was found, needed, and what to do, for what a server could not use or clients would refuse.
    """
    raw = _read(certificate, private=key is None)
    try:
        chain = pem.certificates(raw)
    except ValueError as error:
        raise _refused(certificate, str(error), "its certificate and those of the CAs above it, as PEM") from error
    held = raw if key is None else _read(key, private=True)
    try:
        private = pem.private_key(held)
    except ValueError as error:
        needed = "one private key without a password, as PEM ('openssl pkey -in OLD -out NEW' takes a password away)"
        raise _refused(key or certificate, str(error), needed) from error
    _require_match(certificate, chain[0], private)
    _require_strong(key or certificate, private)
    _require_chain(certificate, chain)
    for one in chain:
        _require_time(certificate, one, now)
    _require_server(certificate, chain[0])
    return pem.issued(chain, private, "")


def _read(path: Path, private: bool) -> bytes:
    """The file, or the one that a link leads to: certbot gives out links."""
    try:
        raw = files.read_own(path.resolve(), pem.FILE_MOST, private)
    except files.NotOwnError as error:
        raise ArtifactError(
            f"{error}, needed one that only its owner may {'read' if private else 'write'}: look at who could, then "
            f"chmod {'600' if private else '644'} {path}"
        ) from error
    except (OSError, RuntimeError, ValueError) as error:  # the latter for a circle of links, and for a NUL in the name
        why = getattr(error, "strerror", None) or error
        raise ArtifactError(
            f"{path} cannot be read ({why}), needed a PEM file that this user may read: name another"
        ) from error
    if raw is None:
        raise ArtifactError(f"found no file {path}, needed a PEM file: give its path on this controller")
    if len(raw) > pem.FILE_MOST:
        raise _refused(path, f"more than {pem.FILE_MOST} bytes", "a PEM file of one certificate with its chain")
    return raw


def _require_match(path: Path, leaf: x509.Certificate, key: pem.PrivateKey) -> None:
    if not pem.belongs(key, leaf):
        raise _refused(
            path, "a first certificate that is not the key's", "the server's own first, then its CAs in order"
        )


def _require_strong(path: Path, key: pem.PrivateKey) -> None:
    if isinstance(key, rsa.RSAPrivateKey):
        good, found = key.key_size >= _RSA_LEAST, f"a key of RSA with {key.key_size} bits"
    else:
        good, found = isinstance(key.curve, _CURVES), f"a key of the curve {key.curve.name}"
    if not good:
        raise _refused(path, found, f"RSA of at least {_RSA_LEAST} bits, or P-256, P-384 or P-521")


def _require_chain(path: Path, chain: tuple[x509.Certificate, ...]) -> None:
    for number, (one, above) in enumerate(itertools.pairwise(chain), 2):
        if not pem.is_authority(above) or not pem.signed_by(one, above):
            raise _refused(
                path,
                f"certificate {number}, which is not the CA of the one before it",
                "each followed by the CA that signed it",
            )


def _require_time(path: Path, one: x509.Certificate, now: int) -> None:
    if now >= pem.ends(one):
        raise _refused(path, f"a certificate that expired at {moment(pem.ends(one))}", "one that is valid")
    if now < pem.begins(one):
        needed = f"one that is valid now, which is {moment(now)} by this controller's clock"
        raise _refused(path, f"a certificate that is not valid before {moment(pem.begins(one))}", needed)


def _require_server(path: Path, leaf: x509.Certificate) -> None:
    if not pem.names(leaf):
        needed = "DNS names or addresses there: clients look at no other name"
        raise _refused(path, "a certificate without a subjectAltName", needed)
    method = leaf.signature_hash_algorithm
    if method is not None and method.name in _OLD_HASHES:
        raise _refused(path, f"a certificate signed with {method.name.upper()}", "SHA-256 or better")
    try:
        uses = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if ExtendedKeyUsageOID.SERVER_AUTH not in uses:
        raise _refused(path, "a certificate that is not for servers", "serverAuth among its extended key usages")


def _refused(path: Path, found: str, needed: str) -> ArtifactError:
    return ArtifactError(
        f"{path} cannot be a gateway's certificate: found {found}, needed {needed}. Bring another one, or leave "
        "phi4_gateway_certificate out, so that the fleet's CA issues one"
    )
