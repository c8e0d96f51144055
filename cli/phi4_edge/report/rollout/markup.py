"""HTML from parts. Whatever is not Markup is text: cleaned and escaped. Nothing becomes markup by being forgotten."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import TypeAlias

from phi4_edge.report.text import clean

_VOID = frozenset({"meta", "rect", "br"})


class Markup(str):
    """Text that is HTML already; made by `tag` and `join` alone."""

    __slots__ = ()


Part: TypeAlias = "Markup | str | int | float | Iterable[Part] | None"


def tag(name: str, /, *parts: Part, **attributes: str | int | float | bool | None) -> Markup:
    """An element. `class_` is class and `aria_label` is aria-label; None and False leave an attribute out."""
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(*parts)}</{name}>")


def _attribute(key: str, value: str | int | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{html.escape(clean(value, lines=False))}"'


def join(*parts: Part) -> Markup:
    """Parts after each other; None is nothing."""
    return Markup("".join(_text(part) for part in parts))


def _text(part: Part) -> str:
    if part is None:
        return ""
    if isinstance(part, Markup):
        return part
    if isinstance(part, str | int | float):
        return html.escape(clean(part, lines=False))
    return join(*part)


def lines(texts: Iterable[str]) -> Markup:
    """Lines of a log or a command, with their line breaks."""
    return Markup("\n".join(html.escape(clean(text, lines=False)) for text in texts))


def isolated(text: object) -> Markup:
    """A name or message that may be written from right to left, without any effect on what stands beside it."""
    return tag("bdi", clean(text, lines=False))


def bar(parts: Iterable[tuple[float, float]], whole: float, class_: str = "bar") -> Markup:
    """A bar as wide as its place: rectangles from … as long as …, in units of `whole`. The number stands beside it."""
    unit = 100 / whole if whole > 0 else 0.0
    drawn = [
        tag("rect", x=_short(first * unit), width=_short(max(length * unit, 0.6)), height="8")
        for first, length in parts
    ]
    return tag("svg", drawn, viewBox="0 0 100 8", preserveAspectRatio="none", aria_hidden="true", class_=class_)


def _short(value: float) -> str:
    return f"{min(max(value, 0.0), 100.0):.1f}".removesuffix(".0")
