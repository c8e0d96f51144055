"""Reading numbers and names from text that a host controls, making it harmless to show, and writing sizes."""

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
# ESC sequences go as a whole, so that no "[2J" stays: CSI, then OSC and other strings up to their end, then short ones.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
)
# Kinds of characters that a terminal obeys, or that reorder, hide or break a line: controls, formats (marks of
# direction, joiners, tags), halves of pairs, private and unassigned ones, separators of lines and paragraphs.
_SLY = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
MARKS = ("Mn", "Me")  # drawn over the character before them
_MOST_MARKS = 2  # on one character; more of them cover the lines above


def printable(text: object, limit: int | None = None, lines: bool = True) -> str:
    """Return `text` for people, without anything that a terminal obeys: a question mark stands in its place.

    With `lines` false line breaks become spaces. What is over `limit` characters is cut off, and shows as "…".
    """
    raw = str(text)
    if limit is not None:  # escape sequences are gone afterwards, but nobody waits for megabytes of them
        whole = printable(raw[: 4 * limit], lines=lines)
        return whole if len(whole) <= limit else whole[:limit] + "…"
    if raw.isascii() and (raw.replace("\n", "") if lines else raw).isprintable():
        return raw
    kept = _ESCAPES.sub("", raw).replace("\r\n", "\n").replace("\t", "    ")
    if not lines:
        kept = " ".join(kept.split("\n"))
    shown, marks = [], 0
    for char in kept:
        kind = unicodedata.category(char)
        marks = marks + 1 if kind in MARKS else 0
        if marks <= _MOST_MARKS:
            shown.append("?" if kind in _SLY and char != "\n" else char)
    return "".join(shown)


def clean(value: object, limit: int = 120) -> str:
    """Return what a host's `value` says as one line of at most `limit` characters; "" when it is no string.

    White space collapses to single spaces. Unlike in `printable` nothing takes the place of what a terminal obeys: a
    NUL ends many a name there.
    """
    if not isinstance(value, str):
        return ""
    spaced = (" " if char in "\t\n\r\v\f" else char for char in value[: limit * 4])
    kept = "".join(char for char in spaced if unicodedata.category(char) not in _SLY)
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


def joined(host: str, *parts: str) -> str:
    """Return one line about a host, without anything that a terminal obeys."""
    return printable(f"{host}: {' | '.join(parts)}", lines=False).strip()


def closest(word: str, known: list[str]) -> str:
    """Return " (did you mean X?)" for the nearest of `known`, or ""."""
    from difflib import get_close_matches

    typed = word.lower()
    near = get_close_matches(typed, known, n=3, cutoff=0.6)
    # Fingers swap letters more often than they mistake them: prot is port, as near as root is.
    swapped = [name for name in near if sorted(name.lower()) == sorted(typed)]
    return f" (did you mean {(swapped or near)[0]}?)" if near else ""


def parts(text: str) -> tuple[str, str, str]:
    """A sentence of "found …, needed …: next" in its parts; the last two are "" where it is none."""
    if ", needed " not in text:
        return text, "", ""
    found, _, rest = text.removeprefix("found ").partition(", needed ")
    needed, _, step = rest.partition(": ")
    return found.removeprefix("that "), needed, step


def canonical(data: Mapping[str, Any]) -> str:
    """Return JSON text that is equal for equal data: sorted keys, no spaces, ASCII."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
