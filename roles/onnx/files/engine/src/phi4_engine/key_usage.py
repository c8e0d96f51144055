"""How many tokens each key of a gateway has used on this day of UTC: counted, held to its limit, kept in a file.

The gateway in front of this engine knows the keys; it deletes these headers from what clients send, and says with its
own whose request it is. Without a directory for the counts there is no gateway, and nobody looks at them.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from phi4_engine.errors import ApiError

log = logging.getLogger("phi4_engine")

KEY_HEADER, TOKENS_HEADER = "phi4-key", "phi4-tokens-per-day"
FILE = "tokens.json"
FORMAT = "phi4-engine/key-usage/1"
MOST_KEYS = 1024
"""A gateway has no more keys at a time. Of more in a day, those that have used least are forgotten."""
SAVE_SECONDS = 5.0
_MOST_BYTES = 256 * 1024
_MOST_TOKENS = 10**15
_DAY_SECONDS = 86_400
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)
_NUMBER = re.compile(r"[1-9][0-9]{0,11}", re.ASCII)


@dataclass(frozen=True)
class Caller:
    """The key that a request came with; `tokens_per_day`: of prompts and answers together, None for any number."""

    key: str
    tokens_per_day: int | None = None


def caller(headers: Mapping[str, str]) -> Caller | None:
    """Whose request it is, None where no gateway says so."""
    key, tokens = headers.get(KEY_HEADER, ""), headers.get(TOKENS_HEADER, "")
    if not _NAME.fullmatch(key):
        return None
    return Caller(key, int(tokens) if _NUMBER.fullmatch(tokens) else None)


class KeyUsage:
    """The counts of one day. `folder`: where they are kept; None: nothing is counted, and no header believed."""

    def __init__(self, folder: Path | None, clock: Callable[[], float] = time.time) -> None:
        self._file = None if folder is None else folder / FILE
        self._clock = clock
        self._day = self._today()
        self._tokens = {} if self._file is None else _read(self._file, self._day)
        self._changed = False
        self._told = False
        # A card may take a second for it. One thread, so that what was said last is written last.
        self._writer = ThreadPoolExecutor(1, "key-usage")
        self._writing: Future[None] | None = None

    def caller(self, headers: Mapping[str, str]) -> Caller | None:
        """Whose request it is, None where nobody asks for it to be counted."""
        return None if self._file is None else caller(headers)

    @property
    def tokens(self) -> Mapping[str, int]:
        """Tokens of this day by key."""
        self._turn()
        return self._tokens

    def require(self, who: Caller | None) -> None:
        """Raises ApiError 429 where the key has used all that it may on this day; what has begun is never cut."""
        if who is None or who.tokens_per_day is None:
            return
        used = self.tokens.get(who.key, 0)
        if used >= who.tokens_per_day:
            raise self._spent(who, used, who.tokens_per_day)

    def add(self, who: Caller | None, tokens: int) -> None:
        """The key has used so many more, now."""
        if who is None or tokens <= 0:
            return
        self._turn()
        if who.key not in self._tokens and len(self._tokens) >= MOST_KEYS:
            del self._tokens[min(self._tokens, key=self._tokens.__getitem__)]
        self._tokens[who.key] = self._tokens.get(who.key, 0) + tokens
        self._changed = True

    async def keep(self) -> None:
        """Saves what has changed every few seconds, until it is cancelled."""
        while True:
            await asyncio.sleep(SAVE_SECONDS)
            if self._writing is None or self._writing.done():
                self._save()

    def close(self) -> None:
        """The file has all counts, where it can be written."""
        self._save()
        self._writer.shutdown()

    def _save(self) -> None:
        if self._file is not None and self._changed:
            self._changed = False
            text = json.dumps({"format": FORMAT, "day": self._day, "tokens": self._tokens})
            self._writing = self._writer.submit(self._store, self._file, text)

    def _store(self, file: Path, text: str) -> None:
        """In the thread. Where the file cannot be written the counts go on in memory, and that is said once."""
        try:
            _write(file, text)
        except OSError as error:
            self._changed = True
            if not self._told:
                log.warning("what keys have used cannot be kept in %s: %s", file, error.strerror or error)
            self._told = True
        else:
            self._told = False

    def _turn(self) -> None:
        """Another day, later or earlier, begins without counts."""
        if (today := self._today()) != self._day:
            self._day, self._tokens, self._changed = today, {}, True

    def _today(self) -> str:
        return time.strftime("%Y-%m-%d", time.gmtime(self._clock()))

    def _spent(self, who: Caller, used: int, limit: int) -> ApiError:
        left = math.ceil(_DAY_SECONDS - self._clock() % _DAY_SECONDS)
        return ApiError(
            429,
            f"This key has used {used} tokens today, of {limit} that it may use in a day of UTC. The next one begins "
            f"in {left} s.",
            type_="insufficient_quota",
            code="insufficient_quota",
            # OpenAI's clients would try again twice within seconds; the second header tells them not to.
            headers={"Retry-After": str(max(left, 1)), "x-should-retry": "false"},
        )


def _read(file: Path, day: str) -> dict[str, int]:
    """What the file says of this day. One of another day says nothing; one that cannot be used is told of besides."""
    try:
        with file.open("rb") as stream:
            raw = stream.read(_MOST_BYTES + 1)
        return _counts(raw, day)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        why = getattr(error, "strerror", None) or error
        log.warning("what keys had used today is not known, and begins at 0: %s: %s", file, str(why)[:200])
        return {}


def _counts(raw: bytes, day: str) -> dict[str, int]:
    """Raises ValueError for anything but a file of ours."""
    if len(raw) > _MOST_BYTES:
        raise ValueError(f"found more than {_MOST_BYTES} bytes")
    found = json.loads(raw)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ValueError(f"found another file, needed one of format {FORMAT}")
    tokens = found.get("tokens")
    if not isinstance(tokens, dict) or len(tokens) > MOST_KEYS or not all(map(_possible, tokens, tokens.values())):
        raise ValueError(f"found counts that cannot be, needed those of at most {MOST_KEYS} keys")
    return dict(tokens) if found.get("day") == day else {}


def _possible(key: str, count: object) -> bool:
    return _NAME.fullmatch(key) is not None and type(count) is int and 0 <= count <= _MOST_TOKENS


def _write(file: Path, text: str) -> None:
    """All of it or nothing, also where the power fails."""
    fresh = file.with_name(f"{file.name}.new")
    with fresh.open("w", encoding="ascii") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    fresh.replace(file)
