"""How keys change: the old key signs the new one, and may retire itself with it. Works in a file and in a bundle."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from phi4_edge.artifacts.signing import minisign
from phi4_edge.artifacts.signing.minisign import PublicKey, Signature, SignatureRefusedError
from phi4_edge.artifacts.signing.statement import YEARS_MOST, moment, seconds

FORMAT, LIST_FORMAT = "phi4-edge/rotation/1", "phi4-edge/rotations/1"
MOST = 4096
# A gateway that slept through that many changes of keys is set up again.
CHAIN = 8
LIST_MOST = 128 << 10


@dataclass(frozen=True)
class Rotation:
    """What a key says: trust `key` too (None: no other), and, where it `retires`, me no more. Times are seconds."""

    signer: str
    key: PublicKey | None
    retires: bool
    created: int
    expires: int

    def encode(self) -> bytes:
        """The exact bytes that are signed."""
        document = {
            "format": FORMAT,
            "signer": self.signer,
            "key": self.key.text if self.key else "",
            "retires": self.retires,
            "created": moment(self.created),
            "expires": moment(self.expires),
        }
        return (json.dumps(document, sort_keys=True, indent=1) + "\n").encode()

    @property
    def comment(self) -> str:
        """The trusted comment, for the eyes of whoever uses minisign."""
        return f"timestamp:{self.created}\tfile:rotation.json\tkey:{self.key.id if self.key else 'none'}\thashed"


@dataclass(frozen=True)
class Signed:
    """A rotation as it came, with its signature; nothing of it was verified."""

    raw: bytes
    signature: bytes

    def parsed(self, where: str) -> tuple[Rotation, Signature]:
        """What it says, and who is said to have signed. Raises SignatureRefusedError for what cannot be one."""
        found = minisign.signatures(self.signature, f"{where}, its signature")
        if len(found) != 1:
            raise _unusable(where, f"{len(found)} signatures, needed one")
        rotation = decode(self.raw, where)
        if rotation.signer != found[0].id:
            raise SignatureRefusedError(
                "bad signature",
                f"{where}: found the signature of key {found[0].id}, needed that of "
                f"{rotation.signer}, for which it speaks",
            )
        return rotation, found[0]


def decode(raw: bytes, where: str) -> Rotation:
    """What the bytes say. Raises SignatureRefusedError where `encode` would not have written exactly them."""
    try:
        if len(raw) > MOST:
            raise ValueError(f"{len(raw)} bytes, needed at most {MOST}")
        document = json.loads(raw)
        if document["format"] != FORMAT or type(document["retires"]) is not bool:
            raise ValueError("another format")
        key = str(document["key"])
        found = Rotation(
            signer=str(document["signer"]),
            key=PublicKey.parse(key, where) if key else None,
            retires=document["retires"],
            created=seconds(str(document["created"])),
            expires=seconds(str(document["expires"])),
        )
        if not 0 < found.expires - found.created <= YEARS_MOST:
            raise ValueError("it expires before it was made, or ten years later")
        if not (key or found.retires):
            raise ValueError("it changes nothing")
        if found.encode() != raw:
            raise ValueError("it is not written as phi4-edge writes it")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise _unusable(where, str(error)) from error
    return found


def packed(rotations: Iterable[Signed]) -> bytes:
    """The rotations as one document, in the order in which they are to be taken."""
    lines = [{"rotation": one.raw.decode(), "signature": one.signature.decode("latin-1")} for one in rotations]
    return (json.dumps({"format": LIST_FORMAT, "rotations": lines}, sort_keys=True, indent=1) + "\n").encode()


def unpacked(raw: bytes, where: str) -> tuple[Signed, ...]:
    """The rotations of such a document. Raises SignatureRefusedError where `packed` would not have written it."""
    try:
        document: dict[str, Any] = json.loads(raw) if len(raw) <= LIST_MOST else {}
        lines = document["rotations"]
        if document["format"] != LIST_FORMAT or not isinstance(lines, list) or not 0 < len(lines) <= CHAIN:
            raise ValueError(f"needed 1 to {CHAIN} rotations")
        found = tuple(Signed(line["rotation"].encode(), line["signature"].encode("latin-1")) for line in lines)
        if packed(found) != raw:
            raise ValueError("it is not written as phi4-edge writes it")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _unusable(where, str(error)) from error
    return found


def _unusable(where: str, why: str) -> SignatureRefusedError:
    return SignatureRefusedError(
        "malformed", f"{where}: found no rotation of keys ({why[:200]}), needed one that 'phi4-edge trust rotate' wrote"
    )
