"""Keys, statements and rotations for the tests of signatures, and the same trust in the words of both verifiers."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from typing import Any

import hosttrust
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from phi4_edge.artifacts.signing import rotation
from phi4_edge.artifacts.signing.judge import Presented
from phi4_edge.artifacts.signing.minisign import LEGACY, Signature
from phi4_edge.artifacts.signing.rotation import Rotation, Signed
from phi4_edge.artifacts.signing.secret import SecretKey
from phi4_edge.artifacts.signing.statement import Named, Statement
from phi4_edge.artifacts.signing.trust import Seen, Trust, Trusted
from tests.ansible import host_scripts  # noqa: F401 - puts the modules of hosts on the path

DAY = 86400
NOW = 1_900_000_000
MANIFEST = b'{"format": "phi4-edge/bundle/1"}\n'
FIRST, SECOND, THIRD, STRANGER = (SecretKey(bytes([n]) * 8, bytes([n]) * 32) for n in (1, 2, 3, 9))


def statement(**changes: Any) -> Statement:
    """A statement of yesterday that holds for a year, signed by the first key."""
    names = Named({"tiny/gguf-q4_0": "a" * 64}, {}, {}, {"phi4_engine": "b" * 64}, ("c" * 64,))
    made = Statement(
        "1.0.0",
        "default",
        NOW - DAY,
        NOW + 365 * DAY,
        7,
        (FIRST.public.id,),
        hashlib.sha256(MANIFEST).hexdigest(),
        names,
    )
    return replace(made, **changes)


def signed(*keys: SecretKey, rotations: tuple[Signed, ...] = (), **changes: Any) -> Presented:
    """A statement that these keys (the first one without any) signed, as it travels."""
    signers = keys or (FIRST,)
    made = statement(**{"keys": tuple(key.public.id for key in signers), **changes})
    return presented(made, *signers, rotations=rotations)


def presented(made: Statement, *keys: SecretKey, rotations: tuple[Signed, ...] = ()) -> Presented:
    """This statement with the signatures of these keys, whatever it says of them."""
    raw = made.encode()
    signature = b"".join(key.sign(raw, made.comment).encode() for key in keys)
    return Presented(raw, signature, rotation.packed(rotations) if rotations else b"")


def legacy(key: SecretKey, raw: bytes, comment: bytes = b"by hand") -> bytes:
    """The four lines of a signature over the file itself, as minisign made them before it hashed first."""
    private = Ed25519PrivateKey.from_private_bytes(key.seed)
    value = private.sign(raw)
    return Signature(LEGACY, key.number, value, comment, private.sign(value + comment)).encode()


def rotated(
    old: SecretKey, new: SecretKey | None, retires: bool = False, by: SecretKey | None = None, **changes: Any
) -> Signed:
    """`old` says: trust `new`. `by` signs in its place."""
    made = Rotation(old.public.id, new.public if new else None, retires, NOW - DAY, NOW + 30 * DAY)
    made = replace(made, **changes)
    return Signed(made.encode(), (by or old).sign(made.encode(), made.comment).encode())


def trusting(
    *keys: SecretKey, removed: tuple[SecretKey, ...] = (), seen: Seen | None = None, site: str = "default"
) -> Trust:
    """A controller that trusts these keys, and how far its one site has come."""
    lines = tuple(Trusted(key.public, "test", NOW - 400 * DAY) for key in keys)
    return Trust(lines, tuple(key.public.id for key in removed), {site: seen} if seen else {})


def on_host(trust: Trust, last: Presented | None = None) -> dict[str, Any]:
    """The same on a host; `last` is what it accepted last, where that matters."""
    sites = trust.sites or {}
    site = next(iter(sites), "")
    seen = sites.get(site, Seen())
    return {
        **hosttrust.EMPTY,
        "keys": [{"key": one.key.text, "name": one.name} for one in trust.keys], "removed": list(trust.removed),
        "site": site, "counter": seen.counter, "created": seen.created,
        "statement": last.statement.decode() if last else "", "signature": last.signature.decode() if last else "",
    }  # fmt: skip


def recoded(signature: bytes, line: int, change: Any) -> bytes:
    """The .minisig text with the bytes behind one of its lines of base64 changed."""
    lines = signature.split(b"\n")
    lines[line] = base64.b64encode(change(base64.b64decode(lines[line])))
    return b"\n".join(lines)
