"""Files of certificates and keys that an operator names: read from this controller, and held to what all must be."""

from __future__ import annotations

import itertools
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from phi4_edge.artifacts.certificates import pem
from phi4_edge.artifacts.signing.statement import moment
from phi4_edge.artifacts.store import files
from phi4_edge.errors import ArtifactError

Chain = tuple[x509.Certificate, ...]
_RSA_LEAST = 2048
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)


class UnfitError(ValueError):
    """What is in a file cannot be what it is given for. `found`, `needed`: in words that make a sentence."""

    def __init__(self, path: Path, found: str, needed: str) -> None:
        super().__init__(found)
        self.path, self.found, self.needed = path, found, needed


def read(path: Path, private: bool) -> bytes:
    """The file, or the one that a link leads to: certbot gives out links.

    Raises ArtifactError where it is not there, or somebody else may write it, or read it where it is `private`;
    UnfitError for one that is too large.
    """
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
        raise UnfitError(path, f"more than {pem.FILE_MOST} bytes", "a PEM file of one certificate with its chain")
    return raw


def chain_with_key(certificate: Path, key: Path | None, now: int) -> tuple[Chain, pem.PrivateKey]:
    """The certificates of a file, the owner's own first, each signed by the next one and valid now; and the key.

    `key`: the file of the key, None where it is in the same one. Raises as `read`, and UnfitError for any other file.
    """
    raw = read(certificate, private=key is None)
    try:
        chain = pem.certificates(raw)
    except ValueError as error:
        needed = "its certificate and those of the CAs above it, as PEM"
        raise UnfitError(certificate, str(error), needed) from error
    held = raw if key is None else read(key, private=True)
    try:
        private = pem.private_key(held)
    except ValueError as error:
        needed = "one private key without a password, as PEM ('openssl pkey -in OLD -out NEW' takes a password away)"
        raise UnfitError(key or certificate, str(error), needed) from error
    if not pem.belongs(private, chain[0]):
        needed = "the one that the key belongs to first, then its CAs in order"
        raise UnfitError(certificate, "a first certificate that is not the key's", needed)
    require_strong(key or certificate, private.public_key())
    _require_chain(certificate, chain)
    for one in chain:
        require_time(certificate, one, now)
    return chain, private


def require_strong(path: Path, key: object) -> None:
    """Raise UnfitError for the public key of anything but RSA and the curves that servers and clients take."""
    if isinstance(key, rsa.RSAPublicKey):
        good, found = key.key_size >= _RSA_LEAST, f"a key of RSA with {key.key_size} bits"
    elif isinstance(key, ec.EllipticCurvePublicKey):
        good, found = isinstance(key.curve, _CURVES), f"a key of the curve {key.curve.name}"
    else:
        good, found = False, "a key that is neither of RSA nor of an elliptic curve"
    if not good:
        raise UnfitError(path, found, f"RSA of at least {_RSA_LEAST} bits, or P-256, P-384 or P-521")


def require_time(path: Path, one: x509.Certificate, now: int) -> None:
    """Raise UnfitError for a certificate that is not valid `now` (seconds since 1970)."""
    if now >= pem.ends(one):
        raise UnfitError(path, f"a certificate that expired at {moment(pem.ends(one))}", "one that is valid")
    if now < pem.begins(one):
        needed = f"one that is valid now, which is {moment(now)} by this controller's clock"
        raise UnfitError(path, f"a certificate that is not valid before {moment(pem.begins(one))}", needed)


def require_use(path: Path, leaf: x509.Certificate, use: x509.ObjectIdentifier, who: str, name: str) -> None:
    """Raise UnfitError for a certificate that limits its use to others. `who`: servers or clients; `name`: the use."""
    try:
        uses = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if use not in uses:
        raise UnfitError(path, f"a certificate that is not for {who}", f"{name} among its extended key usages")


def _require_chain(path: Path, chain: Chain) -> None:
    for number, (one, above) in enumerate(itertools.pairwise(chain), 2):
        if not pem.is_authority(above) or not pem.signed_by(one, above):
            found = f"certificate {number}, which is not the CA of the one before it"
            raise UnfitError(path, found, "each followed by the CA that signed it")
