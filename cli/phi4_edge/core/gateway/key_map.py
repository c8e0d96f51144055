"""The keys of a gateway as HAProxy reads them: by digest, so that no file has a key itself."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

# A key is this mark and 256 random bits in base64url, without padding.
MARK = "p4e_"
KEY_CHARACTERS = 43
# Of one host; a map of this many takes HAProxy 1 MB.
MOST = 1024
# HAProxy's sliding counter stays at its last single event for two minutes: a limit of one would be one in two minutes.
FEWEST_PER_MINUTE, MOST_PER_MINUTE = 2, 60_000
# Keys of this name, and of those that begin so and go on with '.', '_' or '-', read metrics and nothing else.
METRICS = "metrics"
MOST_AT_ONCE = 256
# More than any gateway makes in a day.
MOST_TOKENS_PER_DAY = 1_000_000_000
# 9999-12-31; HAProxy counts in 64 bits.
LATEST = 253_402_214_400

_TOKEN = re.compile(rf"{MARK}[A-Za-z0-9_-]{{{KEY_CHARACTERS}}}", re.ASCII)
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


def digest(token: str) -> str:
    """Return the SHA-256 of a key, in lower-case hexadecimal digits. Raises ValueError, which does not repeat it."""
    if not _TOKEN.fullmatch(token):
        raise ValueError(f"found no key in {len(token)} characters, needed {MARK} and {KEY_CHARACTERS} more")
    return hashlib.sha256(token.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of one key; the key itself is only its holder's.

    `name` is for logs. `per_minute`: requests that it may make, `at_once`: those that it may have open, 0 for any
    number. `expires`: seconds since 1970 from which on it is refused, 0 for never. `tokens_per_day`: of its prompts and
    answers together, on each host and in each day of UTC, 0 for any number; held where the engine counts them. Raises
    ValueError for anything else.
    """

    name: str
    digest: str
    per_minute: int = 0
    expires: int = 0
    at_once: int = 0
    tokens_per_day: int = 0

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"found the key's name {self.name[:80]!r}, needed at most 63 lower-case letters, digits, '.', '_' and "
                "'-', the first a letter or a digit"
            )
        if not _DIGEST.fullmatch(self.digest):
            raise ValueError(f"found no digest of the key {self.name}, needed 64 lower-case hexadecimal digits")
        if self.per_minute and not FEWEST_PER_MINUTE <= self.per_minute <= MOST_PER_MINUTE:
            raise ValueError(
                f"found {self.per_minute} requests per minute for the key {self.name}, needed {FEWEST_PER_MINUTE} to "
                f"{MOST_PER_MINUTE}, or 0 for any number"
            )
        if not 0 <= self.at_once <= MOST_AT_ONCE:
            raise ValueError(
                f"found {self.at_once} requests at once for the key {self.name}, needed 1 to {MOST_AT_ONCE}, or 0 for "
                "any number"
            )
        if not 0 <= self.tokens_per_day <= MOST_TOKENS_PER_DAY:
            raise ValueError(
                f"found {self.tokens_per_day} tokens per day for the key {self.name}, needed 1 to "
                f"{MOST_TOKENS_PER_DAY}, or 0 for any number"
            )
        if not 0 <= self.expires <= LATEST:
            raise ValueError(f"found the key {self.name} to expire at {self.expires}, needed 0 to {LATEST}")


def require_distinct(keys: Iterable[Key]) -> tuple[Key, ...]:
    """Return the keys. Raises ValueError where two share a name or a digest, or there are more than `MOST`."""
    found = tuple(keys)
    if len(found) > MOST:
        raise ValueError(f"found {len(found)} keys, needed at most {MOST}")
    for what, values in (("name", {key.name for key in found}), ("digest", {key.digest for key in found})):
        if len(values) < len(found):
            raise ValueError(f"found two keys with the same {what}, needed one of its own for each")
    return found


def key_map(keys: Iterable[Key]) -> str:
    """Return the map: a line for each key, its digest, then the rest with colons between.

    That is name, requests per minute, expiry, requests at once, tokens per day. A gateway reads maps without the last
    one too, as older versions made them. The lines are in the order of the names. Raises ValueError as
    `require_distinct` does.
    """
    found = sorted(require_distinct(keys), key=lambda key: key.name)
    return "".join(
        f"{key.digest} {key.name}:{key.per_minute}:{key.expires}:{key.at_once}:{key.tokens_per_day}\n" for key in found
    )
