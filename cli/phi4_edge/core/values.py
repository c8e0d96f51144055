"""Values as an inventory has them, text for the most part, checked and made what they mean.

Each check returns the value or raises ValueError with what was needed.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Mapping
from typing import Any

from phi4_edge.core.layout import LOOPBACK
from phi4_edge.core.text import closest

AUTO = "auto"
_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})


def one_of(*known: str) -> Callable[[Any], str]:
    """A check for one of these words, in whatever case it is written."""

    def check(value: Any) -> str:
        wanted = str(value).strip().lower()
        for name in known:
            if name.lower() == wanted:
                return name
        raise ValueError(f"one of {', '.join(known)}{closest(wanted, list(known))}")

    return check


def whole(least: int, most: int) -> Callable[[Any], int]:
    """A check for a whole number within these, as a number or as text."""

    def check(value: Any) -> int:
        text = str(value).strip() if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
        # INI inventories give numbers as text; isascii keeps other scripts' digits out.
        if text.isascii() and text.isdigit() and len(text) <= 9 and least <= int(text) <= most:
            return int(text)
        raise ValueError(f"a whole number from {least} to {most}")

    return check


def auto_or(check: Callable[[Any], int]) -> Callable[[Any], int | None]:
    """A check for "auto", which becomes None, or for what `check` takes."""

    def checked(value: Any) -> int | None:
        if isinstance(value, str) and value.strip().lower() == AUTO:
            return None
        try:
            return check(value)
        except ValueError as error:
            raise ValueError(f"auto or {error}") from None

    return checked


def flag(value: Any) -> bool:
    """True or false, as YAML and INI inventories write them."""
    text = str(value).strip().lower()
    if text not in _TRUE | _FALSE:
        raise ValueError("true or false")
    return text in _TRUE


def address(value: Any) -> str:
    """An IP address of one interface, in its shortest form."""
    try:
        found = ipaddress.ip_address(str(value).strip())
    except ValueError:
        found = None
    # A scope (fe80::1%eth0) names an interface that may have another name after a reboot.
    if found is None or found.is_multicast or "%" in str(found):
        raise ValueError(f"an IP address of the host, such as {LOOPBACK}")
    return str(found)


def seconds(value: Any) -> float:
    """Seconds, an hour at most."""
    try:
        found = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        found = float("nan")
    if not 0 <= found <= 3600:
        raise ValueError("a number of seconds from 0 to 3600")
    return found


def line(value: Any) -> str:
    """Text, or a number as text, without control characters."""
    if not isinstance(value, (str, int, float)) or not str(value).isprintable():
        raise ValueError("one line of text")
    return str(value)


def mapping(value: Any) -> Mapping[str, Any]:
    """Settings by name; INI inventories give them as JSON."""
    try:
        found = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, Mapping):
        raise ValueError('a mapping, such as {"log-driver": "json-file"}')
    return found
