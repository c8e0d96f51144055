"""Reading numbers and names from text that a host controls, and writing sizes for people."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

# Larger than any memory, disk or counter that is real; anything above is nonsense, not a number.
LARGEST = 1 << 60

_INTEGER = re.compile(r"[0-9]{1,19}")
_VERSION = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9}){0,7}")
# Control, format (bidirectional overrides), surrogate, private use, unassigned, line and paragraph separators.
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def clean(value: object, limit: int = 120) -> str:
    """Return `value` as one printable line of at most `limit` characters; "" when it is no string.

    White space collapses to single spaces. Everything a terminal could act upon is dropped.
    """
    if not isinstance(value, str):
        return ""
    spaced = (" " if char in "\t\n\r\v\f" else char for char in value[: limit * 4])
    kept = "".join(char for char in spaced if unicodedata.category(char) not in _UNPRINTABLE)
    return " ".join(kept.split())[:limit]


def integer(text: object) -> int | None:
    """Return the whole of `text` as a non-negative integer up to `LARGEST`, or None."""
    if not isinstance(text, str) or not _INTEGER.fullmatch(text.strip()):
        return None
    value = int(text.strip())
    return value if value <= LARGEST else None


def version_of(text: object) -> tuple[int, ...]:
    """Return the first dotted number in `text` as integers; () when there is none."""
    found = _VERSION.search(text[:4096]) if isinstance(text, str) else None
    return tuple(int(part) for part in found.group().split(".")) if found else ()


def dotted(version: tuple[int, ...], parts: int = 3) -> str:
    """Return a version as text with at most `parts` numbers."""
    return ".".join(str(number) for number in version[:parts])


def gb(size: float) -> str:
    """Return a size in bytes as decimal gigabytes with one digit, as weights and disks are quoted."""
    return f"{size / 1e9:.1f} GB"


def gib(size: float) -> str:
    """Return a size in bytes as gibibytes with one digit, as memory is reported."""
    return f"{size / (1 << 30):.1f} GiB"


def closest(word: str, known: list[str]) -> str:
    """Return " (did you mean X?)" for the nearest of `known`, or ""."""
    from difflib import get_close_matches

    match = get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    return f" (did you mean {match[0]}?)" if match else ""


def canonical(data: Mapping[str, Any]) -> str:
    """Return JSON text that is equal for equal data: sorted keys, no spaces, ASCII."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
