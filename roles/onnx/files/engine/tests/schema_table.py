"""Schemas that answers are asked to have: usual ones, and those of clients that mean harm."""

from __future__ import annotations

from typing import Any

POINT = {
    "type": "object",
    "properties": {"x": {"type": "integer", "minimum": -9, "maximum": 99}},
    "required": ["x"],
    "additionalProperties": False,
}
NODE = {
    "type": "object",
    "properties": {
        "v": {"type": "integer", "minimum": 0, "maximum": 9},
        "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]},
    },
    "required": ["v", "next"],
    "additionalProperties": False,
}


def closed(**properties: Any) -> dict[str, Any]:
    """An object with exactly these properties."""
    required = list(properties)
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


USUAL: dict[str, dict[str, Any]] = {
    "nested": closed(
        host=closed(name={"type": "string", "maxLength": 8}, up={"type": "boolean"}),
        loads={"type": "array", "items": {"type": "number", "minimum": 0, "maximum": 64}, "minItems": 1, "maxItems": 3},
    ),
    "enum": closed(at={"enum": ["日本", "🎉", "naïve", 'a"b\\c']}, n={"const": None}),
    "reference": {**closed(start={"$ref": "#/$defs/point"}, end={"$ref": "#/$defs/point"}), "$defs": {"point": POINT}},
    "recursion": {"$ref": "#/$defs/node", "$defs": {"node": NODE}},
    "patterns": closed(
        id={"type": "string", "pattern": "^[A-Z]{2}-[0-9]{1,4}$"},
        day={"type": "string", "format": "date"},
        to={"type": "string", "pattern": "^(日本|[ä-ü]{2,3})🎉?$"},
    ),
    "choice": {
        "anyOf": [
            {"type": "integer", "minimum": 1, "maximum": 12},
            {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 2},
        ]
    },
}


def _deep(levels: int) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "integer"}
    for _ in range(levels):
        found = {"type": "array", "items": found}
    return found


def _chain(length: int, **how: Any) -> dict[str, Any]:
    """A definition that means the next one, and so on."""
    links = {f"a{at}": {**how, "$ref": f"#/$defs/a{at + 1}"} for at in range(length)}
    return {"$ref": "#/$defs/a0", "$defs": {**links, f"a{length}": {"type": "integer"}}}


HOSTILE: dict[str, dict[str, Any]] = {
    "no type": {"type": "strin"},
    "no pointer": {"$ref": "#/nope"},
    "another host": {"$ref": "http://example.com/x"},
    "look-ahead": {"type": "string", "pattern": "(?=a)b"},
    "no solution": {"allOf": [{"type": "string"}, {"type": "integer"}]},
    "keyword": {"type": "array", "uniqueItems": True},
    "itself": {"$ref": "#"},
    "depth": _deep(200),
    "chain": _chain(6000),
    "products": {"allOf": [{"anyOf": [closed(p={"enum": [at]}) for at in range(4)]} for _ in range(40)]},
    "intersection": {"allOf": [{"type": "string", "pattern": f".*a.{{{at}}}b.*"} for at in range(30)]},
    "literal": {"const": "x" * 5000},
    "name": {"type": "object", "properties": {"x" * 5000: {"type": "integer"}}},
    "size": {"enum": [f"{at:08d}" for at in range(25_000)]},
}
"""None of them can be had, for one reason or another."""
COSTLY: dict[str, dict[str, Any]] = {
    "shortest": {"type": "string", "minLength": 10**6},
    "repeated": {"type": "string", "pattern": "^((a{1,1000}){1,1000}){1,1000}$"},
    "counted": {"type": "string", "pattern": "^(.*a.{1000}){5}$"},
    "long": {"const": "x" * 4000},
    "words": {"enum": [f"v{at:06d}" for at in range(20_000)]},
    "multiples": {"allOf": [{"type": "integer", "multipleOf": prime} for prime in (7919, 7907, 7901, 7883)]},
    "properties": {
        "type": "object",
        "properties": {f"k{at}": {"type": "string"} for at in range(5000)},
        "additionalProperties": True,
    },
    "items": {"type": "array", "minItems": 10**9, "items": {"type": "integer"}},
}
"""They compile, or so it seems at first; answers to them are slow, long, or fail on the way."""
