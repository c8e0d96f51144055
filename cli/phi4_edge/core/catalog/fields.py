"""Typed access to rows of user-editable data; every complaint names the file, the row and the field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from phi4_edge.core.text import clean, closest
from phi4_edge.errors import CatalogError


class Row:
    """One mapping in a data file. Reading a field of the wrong type raises CatalogError."""

    def __init__(self, where: str, data: object) -> None:
        """Wrap `data`; `where` is what an error message calls it."""
        self.where = where
        if not isinstance(data, Mapping):
            raise CatalogError(f"{where}: found {_name(data)}, needed a mapping. Correct the file and run again.")
        self.data: Mapping[Any, Any] = data

    def fail(self, field: str, needed: str) -> NoReturn:
        """Raise CatalogError for `field`."""
        found = _name(self.data[field]) if field in self.data else "nothing"
        raise CatalogError(f"{self.where}.{field}: found {found}, needed {needed}. Correct the file and run again.")

    def only(self, *known: str) -> None:
        """Refuse fields that are not `known`: a misspelt field would otherwise be a silent default."""
        for field in self.data:
            if field not in known:
                hint = closest(str(field), list(known))
                raise CatalogError(f"{self.where}: found unknown field {clean(str(field), 60)}{hint}")

    def text(self, field: str, default: str | None = None) -> str:
        """Return a non-empty text."""
        value = self.data.get(field, default)
        if not isinstance(value, str) or (not value and default is None):
            self.fail(field, "a text")
        return value

    def number(self, field: str, default: float | None = None, *, most: float = float("inf")) -> float:
        """Return a number from 0 up to `most`."""
        value = self.data.get(field, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
            self.fail(field, "a number of 0 or more" if most == float("inf") else f"a number from 0 to {most:g}")
        return float(value)

    def integer(self, field: str, default: int | None = None) -> int:
        """Return a whole number of 0 or more."""
        value = self.data.get(field, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            self.fail(field, "a whole number of 0 or more")
        return value

    def flag(self, field: str, default: bool | None = None) -> bool:
        """Return true or false."""
        value = self.data.get(field, default)
        if not isinstance(value, bool):
            self.fail(field, "true or false")
        return value

    def texts(self, field: str, default: Sequence[str] | None = None) -> tuple[str, ...]:
        """Return a list of texts."""
        value = self.data.get(field, default)
        if not isinstance(value, Sequence) or isinstance(value, str) or not all(isinstance(v, str) for v in value):
            self.fail(field, "a list of texts")
        return tuple(value)

    def row(self, field: str) -> Row:
        """Return the mapping under `field`."""
        return Row(f"{self.where}.{field}", self.data.get(field))

    def rows(self, field: str) -> dict[str, Row]:
        """Return a mapping of mappings."""
        inner = self.row(field)
        return {str(key): Row(f"{inner.where}.{key}", value) for key, value in inner.data.items()}

    def each(self, field: str) -> Iterator[Row]:
        """Yield the mappings of a list, which may be absent."""
        value = self.data.get(field, ())
        if not isinstance(value, Sequence) or isinstance(value, str):
            self.fail(field, "a list")
        for index, item in enumerate(value):
            yield Row(f"{self.where}.{field}[{index}]", item)


def _name(value: object) -> str:
    if value is None:
        return "nothing"
    return clean(repr(value), 60) if isinstance(value, (str, int, float, bool)) else type(value).__name__
