"""What was signed, as a gateway reads it: the statement of a bundle, and rotations of keys. Closed and bounded.

The controller writes them (`phi4_edge.artifacts.signing.statement` and `rotation`); a document that is not byte for
byte as it writes them is refused. Sent in front of the script that uses it; Python 3.8 or newer, standard library only.
"""

from __future__ import annotations

import calendar
import json
import re
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Pattern

from hostsign import Key, RefusedError, public_key

FORMAT, ROTATION_FORMAT = "phi4-edge/statement/1", "phi4-edge/rotation/1"
LIST_FORMAT = "phi4-edge/rotations/1"
MOST, ROTATION_MOST, LIST_MOST, CHAIN = 1 << 20, 4096, 128 << 10, 8
COUNTER_MOST, ENTRIES, YEARS_MOST = 2**53 - 1, 4096, 10 * 366 * 86400

SHA256 = re.compile(r"[0-9a-f]{64}")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
KEY_ID = re.compile(r"[0-9A-F]{16}")
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,254}")
SITE = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
VERSION = re.compile(r"[0-9A-Za-z.+-]{1,64}")


class Statement(NamedTuple):
    """What was signed: times in seconds since 1970, the counter, who signs, and the names of what may be installed."""

    site: str
    created: int
    expires: int
    counter: int
    keys: List[str]
    names: Dict[str, Any]


class Rotation(NamedTuple):
    """What the key `signer` says: trust `key` too (None for no other), and, where it `retires`, me no more."""

    signer: str
    key: Optional[Key]
    line: str
    retires: bool
    created: int
    expires: int


def moment(seconds: int) -> str:
    """The time in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def seconds(text: Any) -> int:
    """Seconds since 1970 of a time in UTC; ValueError for any other text, and for a day that no calendar has."""
    found = calendar.timegm(time.strptime(a(text, TIME), "%Y-%m-%dT%H:%M:%SZ"))
    if moment(found) != text:
        raise ValueError("a time that no calendar has")
    return found


def statement(raw: bytes, where: str) -> Statement:
    """What the bytes say. Raises RefusedError where the controller would not have written exactly them."""
    try:
        if len(raw) > MOST:
            raise ValueError("%d bytes, needed at most %d" % (len(raw), MOST))
        found = json.loads(raw)
        keys = {"format", "phi4_edge_version", "site", "created", "expires", "counter", "keys", "manifest", "names"}
        closed(found, keys, FORMAT)
        a(found["phi4_edge_version"], VERSION)
        a(found["manifest"], SHA256)
        a(found["site"], SITE)
        names = found["names"]
        closed(names, {"artifacts", "wheelhouses", "images", "code", "weights"})
        for kind in ("artifacts", "wheelhouses", "code"):
            mapping(names[kind], lambda one: a(one, SHA256))
        mapping(names["images"], image)
        ordered(names["weights"], ENTRIES, SHA256)
        ordered(found["keys"], 4, KEY_ID)
        counter = found["counter"]
        if type(counter) is not int or not 0 < counter <= COUNTER_MOST:
            raise ValueError("not a counter")
        created, expires = span(found)
        same(found, raw)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise RefusedError("malformed", "%s: its statement cannot be used (%.200s)" % (where, error)) from None
    return Statement(found["site"], created, expires, counter, found["keys"], names)


def rotations(raw: bytes, where: str) -> List[Dict[str, bytes]]:
    """The rotations of a list of them, with their signatures, in their order; nothing of them was verified."""
    try:
        found = json.loads(raw) if len(raw) <= LIST_MOST else {}
        closed(found, {"format", "rotations"}, LIST_FORMAT)
        lines = found["rotations"]
        if not isinstance(lines, list) or not 0 < len(lines) <= CHAIN:
            raise ValueError("not a list, or one that is too long")
        for line in lines:
            closed(line, {"rotation", "signature"})
        same(found, raw)
        return [
            {"rotation": line["rotation"].encode(), "signature": line["signature"].encode("latin-1")} for line in lines
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RefusedError("malformed", "%s: found no rotation of keys (%.200s)" % (where, error)) from None


def rotation(raw: bytes, where: str) -> Rotation:
    """What the bytes say. Raises RefusedError where the controller would not have written exactly them."""
    try:
        found = json.loads(raw) if len(raw) <= ROTATION_MOST else {}
        closed(found, {"format", "signer", "key", "retires", "created", "expires"}, ROTATION_FORMAT)
        if type(found["retires"]) is not bool or not (found["key"] or found["retires"]):
            raise ValueError("it changes nothing")
        key = public_key(found["key"]) if found["key"] != "" else None
        created, expires = span(found)
        same(found, raw)
        return Rotation(str(found["signer"]), key, found["key"], found["retires"], created, expires)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise RefusedError("malformed", "%s: found no rotation of keys (%.200s)" % (where, error)) from None


def span(found: Dict[str, Any]) -> List[int]:
    """When it was made and until when it holds."""
    created, expires = seconds(found["created"]), seconds(found["expires"])
    if not 0 < expires - created <= YEARS_MOST:
        raise ValueError("it expires before it was made, or ten years later")
    return [created, expires]


def same(found: Any, raw: bytes) -> None:
    """Raises ValueError unless `raw` is the one way in which the controller writes the document."""
    if (json.dumps(found, sort_keys=True, indent=1, ensure_ascii=True) + "\n").encode() != raw:
        raise ValueError("it is not written as phi4-edge writes it")


def closed(found: Any, keys: Any, form: str = "") -> None:
    """Raises ValueError unless it is a document with exactly these keys."""
    if not isinstance(found, dict) or set(found) != set(keys) or (form and found["format"] != form):
        raise ValueError("another format")


def mapping(found: Any, value: Callable[[Any], Any]) -> None:
    """Raises ValueError unless it is a document of plain names, each with a right value."""
    if not isinstance(found, dict) or len(found) > ENTRIES:
        raise ValueError("not a list of names, or one that is too long")
    for name, one in found.items():
        a(name, NAME)
        value(one)


def image(found: Any) -> None:
    """Raises ValueError unless it is the pair of digests of an image."""
    closed(found, {"digest", "id"})
    a(found["digest"], DIGEST)
    a(found["id"], DIGEST)


def ordered(found: Any, most: int, shape: Pattern[str]) -> None:
    """Raises ValueError unless it is a sorted list of such texts."""
    if not isinstance(found, list) or len(found) > most:
        raise ValueError("not a list, or one that is too long")
    if [a(one, shape) for one in found] != sorted(found):
        raise ValueError("a list that is not in order")


def a(value: Any, shape: Pattern[str]) -> str:
    """The text, when it has this shape; ValueError otherwise."""
    if not isinstance(value, str) or not shape.fullmatch(value):
        raise ValueError("%.80r where something else was needed" % (value,))
    return value
