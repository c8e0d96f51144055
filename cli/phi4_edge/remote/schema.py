"""Checks that plain data is made of: each takes a value and returns it, as we use it, or raises MismatchError.

A check never lets through what it does not name: no key, no type, no length that is not written down.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from phi4_edge.core.text import printable

Check = Callable[[Any], Any]
# JSON has no larger whole number that every reader understands.
LARGEST = (1 << 53) - 1


class MismatchError(ValueError):
    """What was found, and `path`: where in the data, outermost first."""

    def __init__(self, found: str, *path: str) -> None:
        super().__init__(found)
        self.found, self.path = found, path

    def __str__(self) -> str:
        return f"{'.'.join(self.path)}: {self.found}" if self.path else self.found


def _below(name: str, check: Check, value: Any) -> Any:
    """The value of a key or place; what does not fit there is told with the name in front."""
    try:
        return check(value)
    except MismatchError as error:
        raise MismatchError(error.found, name, *error.path) from None


def kind(value: Any) -> str:
    """What JSON calls the type of a value."""
    names = {
        bool: "a truth value",
        int: "a number",
        float: "a number",
        str: "a text",
        list: "a list",
        dict: "an object",
    }
    names |= dict.fromkeys((int, float), "a number")
    return "nothing" if value is None else names.get(type(value), "no JSON value")


def raw(most: int, like: str = "") -> Check:
    """A text of at most `most` characters, exactly as it came; all of it matches `like` where that is given."""
    pattern = re.compile(like, re.ASCII) if like else None

    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise MismatchError(f"{kind(value)}, needed a text")
        if len(value) > most:
            raise MismatchError(f"a text of {len(value)} characters, needed at most {most}")
        if pattern is not None and not pattern.fullmatch(value):
            raise MismatchError(f"{printable(value, 60)!r}, which is none of the texts that can be there")
        return value

    return check


def text(most: int = 4000, least: int = 0) -> Check:
    """Words for people, `least` to `most` characters; what a terminal would obey is a question mark afterwards."""
    inner = raw(most)

    def check(value: Any) -> str:
        said = printable(inner(value))[:most]
        if len(said.strip()) < least:
            raise MismatchError("a text without a word, needed one")
        return said

    return check


def choice(*values: str) -> Check:
    """One of these texts."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in values:
            found = repr(printable(value, 60)) if isinstance(value, str) else kind(value)
            raise MismatchError(f"{found}, needed one of {', '.join(repr(one) for one in values)}")
        return value

    return check


def flag(value: Any) -> bool:
    """True or false, and nothing that only looks like it."""
    if not isinstance(value, bool):
        raise MismatchError(f"{kind(value)}, needed a truth value")
    return value


def integer(low: int = 0, high: int = LARGEST) -> Check:
    """A whole number from `low` to `high`."""

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise MismatchError(f"{kind(value)}, needed a whole number")
        if not low <= value <= high:
            raise MismatchError(f"a number out of range, needed {low} to {high}")
        return value

    return check


def number(low: float = 0.0, high: float = 1e12) -> Check:
    """A finite number from `low` to `high`."""

    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise MismatchError(f"{kind(value)}, needed a number")
        if (isinstance(value, float) and not math.isfinite(value)) or not low <= value <= high:
            raise MismatchError(f"a number out of range, needed {low:g} to {high:g}")
        return value

    return check


def listing(item: Check, most: int) -> Check:
    """A list of at most `most` such values."""

    def check(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise MismatchError(f"{kind(value)}, needed a list")
        if len(value) > most:
            raise MismatchError(f"a list of {len(value)}, needed at most {most}")
        return [_below(f"[{place}]", item, one) for place, one in enumerate(value)]

    return check


def mapping(key: Check, item: Check, most: int) -> Check:
    """An object whose keys are data, at most `most` of them."""

    def check(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise MismatchError(f"{kind(value)}, needed an object")
        if len(value) > most:
            raise MismatchError(f"an object of {len(value)} keys, needed at most {most}")
        return {key(name): _below(printable(name, 60), item, one) for name, one in value.items()}

    return check


def record(must: Mapping[str, Check], may: Mapping[str, Check] | None = None, others: bool = False) -> Check:
    """An object with the keys of `must`, perhaps those of `may`, and no other. `others`: any other is left out."""
    known = {**(may or {}), **must}

    def check(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise MismatchError(f"{kind(value)}, needed an object")
        for name in value:
            if name not in known and not others:
                raise MismatchError(f"key {printable(str(name), 60)!r} is not one of ours")
        for name in must:
            if name not in value:
                raise MismatchError(f"key {name!r} is missing")
        return {name: _below(name, known[name], one) for name, one in value.items() if name in known}

    return check


def nullable(inner: Check) -> Check:
    """Nothing, or what `inner` lets through."""

    def check(value: Any) -> Any:
        return None if value is None else inner(value)

    return check


def tree(most: int, depth: int = 6, letters: int = 4000) -> Check:
    """Plain data of any shape: at most `most` values in `depth` levels, texts and keys of at most `letters`."""

    def check(value: Any) -> Any:
        left = [most]

        def walk(one: Any, levels: int) -> Any:
            left[0] -= 1
            if left[0] < 0 or levels < 0:
                raise MismatchError(f"more than {most} values or {depth} levels")
            if isinstance(one, dict):
                return {raw(letters)(name): walk(item, levels - 1) for name, item in one.items()}
            if isinstance(one, list):
                return [walk(item, levels - 1) for item in one]
            if isinstance(one, str):
                return raw(letters)(one)
            return one if one is None or isinstance(one, bool) else number(-1e15, 1e15)(one)

        return walk(value, depth)

    return check
