"""The keys file on a controller, as text: who may use the gateways, by digest of the key.

    # phi4-edge/gateway-keys/1: name, SHA-256, requests per minute and at once (0: any number), last day (UTC; -: none)
    north 5e3b… 60 2 2027-01-31
    south 0d1f… 0 0 -

One line for each key, in the order of the names, so that two versions of it can be compared and merged. Where any key
has so many tokens per day it is gateway-keys/2, with those before the last day of every key; without, it stays what
older versions read.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable

from phi4_edge.core.gateway.key_map import MOST, Key, require_distinct

FORMAT, FORMAT_TOKENS = "# phi4-edge/gateway-keys/1", "# phi4-edge/gateway-keys/2"
_REQUESTS, _DAY_LAST = "name, SHA-256, requests per minute and at once", "last day (UTC; -: none)"
_HEAD = f"{FORMAT}: {_REQUESTS} (0: any number), {_DAY_LAST}"
_HEAD_TOKENS = f"{FORMAT_TOKENS}: {_REQUESTS}, tokens per day (0: any number), {_DAY_LAST}"
# Words of a line.
_WORDS = {FORMAT: 5, FORMAT_TOKENS: 6}
# Bytes of a file with as many keys as there may be.
LONGEST = MOST * 176 + 256
_NO_DAY = "-"
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_NUMBER = re.compile(r"0|[1-9][0-9]{0,9}", re.ASCII)
_DAY_SECONDS = 86_400


def expiry(day: str) -> int:
    """Return the seconds since 1970 at which a last day, such as 2027-01-31, is over in UTC. Raises ValueError."""
    try:
        if not _DAY.fullmatch(day):
            raise ValueError
        begin = datetime.datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=datetime.UTC)
    except ValueError:
        raise ValueError(f"found {day[:40]!r}, needed a day such as 2027-01-31") from None
    return int(begin.timestamp()) + _DAY_SECONDS


def last_day(key: Key) -> str:
    """Return the last day on which a key is good, "" where it has none."""
    if not key.expires:
        return ""
    return datetime.datetime.fromtimestamp(key.expires - 1, datetime.UTC).strftime("%Y-%m-%d")


def encode(keys: Iterable[Key]) -> str:
    """Return the text of the file. Raises ValueError for keys of which no map could be made."""
    found = sorted(require_distinct(keys), key=lambda key: key.name)
    counted = any(key.tokens_per_day for key in found)
    lines = [_line(key, counted) for key in found]
    return "".join(f"{line}\n" for line in [_HEAD_TOKENS if counted else _HEAD, *lines])


def decode(raw: bytes) -> tuple[Key, ...]:
    """Return the keys in the file. Raises ValueError, with the line, for any other text."""
    if len(raw) > LONGEST:
        raise ValueError(f"found more than {LONGEST} bytes, needed at most {MOST} keys")
    try:
        head, *lines = raw.decode("ascii").splitlines() or [""]
    except UnicodeDecodeError:
        raise ValueError("found bytes that are no ASCII text") from None
    words = _WORDS.get(head.partition(":")[0])
    if words is None:
        raise ValueError(f"found the first line {head[:60]!r}, needed {FORMAT} or {FORMAT_TOKENS}")
    return require_distinct([_key(line, number, words) for number, line in enumerate(lines, 2)])


def _line(key: Key, counted: bool) -> str:
    limits = [key.per_minute, key.at_once, *((key.tokens_per_day,) if counted else ())]
    return " ".join([key.name, key.digest, *map(str, limits), last_day(key) or _NO_DAY])


def _key(line: str, number: int, words: int) -> Key:
    parts = line.split(" ")
    try:
        if len(parts) != words:
            raise ValueError(f"found {len(parts)} words, needed {words}")
        name, digest, *limits, day = parts
        for text in limits:
            if not _NUMBER.fullmatch(text):
                raise ValueError(f"found {text[:20]!r}, needed a number")
        per_minute, at_once, tokens = (*map(int, limits), 0)[:3]
        return Key(name, digest, per_minute, 0 if day == _NO_DAY else expiry(day), at_once, tokens)
    except ValueError as error:
        raise ValueError(f"line {number}: {error}") from None
