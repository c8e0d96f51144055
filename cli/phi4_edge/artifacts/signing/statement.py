"""The statement of a bundle: what is signed. It names the manifest by its SHA-256, and so every file of the bundle, and
the digests of all that a gateway may be given out of it; it says when it was made, until when it holds, and in which
order: a site never goes back to a lower counter.

The signature is over its exact bytes. Nothing in a trusted comment is ever read from where there is a statement.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from phi4_edge.artifacts.signing.minisign import SignatureRefusedError

FORMAT = "phi4-edge/statement/1"
NAME, SIGNATURE, ROTATIONS = "statement.json", "statement.json.minisig", "rotations.json"
# A statement names about a dozen things for each host of a kind, 150 bytes each.
MOST = 1 << 20
COUNTER_MOST = 2**53 - 1
# Clocks of gateways without a battery are set by the network after a while; an hour is a wrong time zone, too.
SKEW = 3600
YEARS_MOST = 10 * 366 * 86400
DAYS = 365  # that a bundle holds when nobody says otherwise
SITE = "default"

_SHA256 = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_KEY = re.compile(r"[0-9A-F]{16}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,254}")
_SITE = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_VERSION = re.compile(r"[0-9A-Za-z.+-]{1,64}")
_ENTRIES = 4096  # of each kind: no fleet has more models, wheels, images or weights


@dataclass(frozen=True)
class Named:
    """What a gateway may be given, by SHA-256 in hex.

    `artifacts` are models and release archives by id, `wheelhouses` wheels by runtime, both by the digest of their
    files; `images` the digests of manifest and configuration by key; `code` our own programs by name; `weights` the
    single files that an engine copies into a store of its own.
    """

    artifacts: Mapping[str, str] = field(default_factory=dict)
    wheelhouses: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)
    weights: tuple[str, ...] = ()


@dataclass(frozen=True)
class Statement:
    """What a bundle's maker says of it. Times are seconds since 1970; `manifest` is a SHA-256, `keys` who signs."""

    version: str
    site: str
    created: int
    expires: int
    counter: int
    keys: tuple[str, ...]
    manifest: str
    names: Named = Named()

    def encode(self) -> bytes:
        """The exact bytes of statement.json."""
        document = {
            "format": FORMAT,
            "phi4_edge_version": self.version,
            "site": self.site,
            "created": moment(self.created),
            "expires": moment(self.expires),
            "counter": self.counter,
            "keys": sorted(self.keys),
            "manifest": self.manifest,
            "names": {
                "artifacts": dict(self.names.artifacts),
                "wheelhouses": dict(self.names.wheelhouses),
                "images": {key: dict(image) for key, image in self.names.images.items()},
                "code": dict(self.names.code),
                "weights": sorted(self.names.weights),
            },
        }
        return (json.dumps(document, sort_keys=True, indent=1, ensure_ascii=True) + "\n").encode()

    @property
    def comment(self) -> str:
        """The trusted comment: for the eyes of whoever uses minisign. It says what the statement says."""
        return f"timestamp:{self.created}\tfile:{NAME}\tsite:{self.site}\tcounter:{self.counter}\thashed"


def moment(seconds: int) -> str:
    """The time in UTC, as the statement has it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds(text: str) -> int:
    """Seconds since 1970 of a time in UTC; ValueError for any other text."""
    if not _TIME.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not a time such as 2027-01-31T12:00:00Z")
    return int(datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())


def decode(raw: bytes, where: str) -> Statement:
    """What the bytes say. Raises SignatureRefusedError where `encode` would not have written exactly them."""
    try:
        if len(raw) > MOST:
            raise ValueError(f"{len(raw)} bytes, needed at most {MOST}")
        document = json.loads(raw)
        if document["format"] != FORMAT:
            raise ValueError(f"format {str(document['format'])[:60]!r}, needed {FORMAT!r}")
        found = Statement(
            version=_text(document["phi4_edge_version"], _VERSION),
            site=_text(document["site"], _SITE),
            created=seconds(_text(document["created"], _TIME)),
            expires=seconds(_text(document["expires"], _TIME)),
            counter=_counter(document["counter"]),
            keys=tuple(_text(one, _KEY) for one in _list(document["keys"], 4)),
            manifest=_text(document["manifest"], _SHA256),
            names=_names(document["names"]),
        )
        if not 0 < found.expires - found.created <= YEARS_MOST:
            raise ValueError("it expires before it was made, or ten years later")
        if found.encode() != raw:
            raise ValueError("it is not written as phi4-edge writes it")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        said = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise SignatureRefusedError(
            "malformed",
            f"{where}: found a statement that cannot be used ({said[:200]}), needed one that phi4-edge wrote: create "
            "the bundle again",
        ) from error
    return found


def site(text: str) -> str:
    """`text` when it is the name of a site. Raises ValueError otherwise."""
    return _text(text, _SITE)


def _names(document: Mapping[str, Any]) -> Named:
    return Named(
        artifacts=_mapping(document["artifacts"], lambda one: _text(one, _SHA256)),
        wheelhouses=_mapping(document["wheelhouses"], lambda one: _text(one, _SHA256)),
        images=_mapping(document["images"], _image),
        code=_mapping(document["code"], lambda one: _text(one, _SHA256)),
        weights=tuple(_text(one, _SHA256) for one in _list(document["weights"], _ENTRIES)),
    )


def _image(document: Mapping[str, Any]) -> dict[str, str]:
    return {name: _text(document[name], _DIGEST) for name in ("digest", "id")}


def _mapping(document: Any, value: Callable[[Any], Any]) -> dict[str, Any]:
    if not isinstance(document, dict) or len(document) > _ENTRIES:
        raise ValueError("not a list of names, or one that is too long")
    return {_text(name, _NAME): value(one) for name, one in document.items()}


def _list(document: Any, most: int) -> list[Any]:
    if not isinstance(document, list) or len(document) > most:
        raise ValueError(f"not a list, or one with more than {most} entries")
    return document


def _counter(number: Any) -> int:
    if type(number) is not int or not 0 < number <= COUNTER_MOST:
        raise ValueError(f"counter {str(number)[:40]}")
    return number


def _text(value: Any, shape: re.Pattern[str]) -> str:
    if not isinstance(value, str) or not shape.fullmatch(value):
        raise ValueError(f"{str(value)[:80]!r} where {shape.pattern} was needed")
    return value
