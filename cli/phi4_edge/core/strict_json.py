"""JSON that others wrote: bounded before it is parsed, and with one meaning only."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any

# Deeper than any document of ours, of a registry or of a model; far above it Python's own parser gives up.
DEEPEST = 32
# Bytes of memory that the values of one document may take; a fleet of 5,000 hosts has plans of 120 MB.
MOST_MEMORY = 192 * 1024 * 1024
# As CPython 3.11 takes them: an empty list, a small mapping, a value in one, a character of text outside ASCII.
_LIST, _MAPPING, _VALUE, _WIDE = 72, 240, 60, 4
# Digits of the largest number that a 64-bit counter holds.
_DIGITS = 20
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def loads(raw: bytes, parts: int | None = None, deepest: int = DEEPEST) -> Any:
    """The document in `raw`, UTF-8 text of at most `parts` values and `deepest` levels.

    Raises ValueError, with what was found, for anything else: a name that is there twice, numbers of more than
    20 digits, NaN, infinities and half characters are refused too. Without `parts`, what parsing would take is bounded
    by MOST_MEMORY.
    """
    _require_size(raw, parts)
    try:
        found = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_no_number,
        )
    except UnicodeDecodeError as error:
        raise ValueError("found no JSON (it is not UTF-8 text)") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"found no JSON (line {error.lineno}: {error.msg})") from error
    except RecursionError as error:
        raise ValueError(_too_deep(deepest)) from error
    _require_depth(found, deepest)
    if _SURROGATE.search(raw):
        _require_text(found)
    return found


def _require_size(raw: bytes, parts: int | None) -> None:
    """What stands within texts is counted too: it is as fast as that, and too much by a little."""
    lists, mappings = raw.count(b"["), raw.count(b"{")
    found = raw.count(b",") + lists + mappings
    if parts is not None and found > parts:
        raise ValueError(f"it has {found} parts, at most {parts} are accepted")
    memory = len(raw) * (1 if raw.isascii() else _WIDE) + _LIST * lists + _MAPPING * mappings + _VALUE * found
    if parts is None and memory > MOST_MEMORY:
        raise ValueError(f"it has about {found:,} parts in {len(raw):,} bytes, which is too much for one document")


def _require_depth(found: object, deepest: int) -> None:
    level: list[Any] = [found] if isinstance(found, (dict, list)) else []
    for _ in range(deepest):
        inside = (value for each in level for value in (each.values() if isinstance(each, dict) else each))
        level = [value for value in inside if isinstance(value, (dict, list))]
        if not level:
            return
    raise ValueError(_too_deep(deepest))


def _too_deep(deepest: int) -> str:
    return f"it is nested more than {deepest} levels deep"


def _require_text(found: object) -> None:
    """Half of a pair of surrogates is no character: it could not be written anywhere."""
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError("it has half of a character in a text") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"it names {twice[:80]!a} twice")
    return found


def _integer(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(f"it has a number of {len(digits)} digits")
    return int(digits)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"it has the number {text[:40]}")
    return value


def _no_number(name: str) -> float:
    raise ValueError(f"it has the number {name}")
