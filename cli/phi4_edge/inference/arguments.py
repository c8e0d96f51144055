"""Whether a value is what a JSON Schema asks for, as far as the parameters of tools go. Pure.

Knows type, enum, const, properties, required, additionalProperties, items, minimum and maximum; what else a schema
says is left to the engine.

By hand, and held against the library `jsonschema` by the tests, because the value comes from a host. The library
follows references and tries every branch of anyOf, so that a few hundred bytes take hours where an honest schema refers
to itself, and its patterns and unique items have no end either. Here each part of the value is walked once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}


def problem(value: Any, schema: Mapping[str, Any], name: str = "arguments") -> str:
    """What is wrong with `value`, called `name`; empty when nothing is."""
    wanted = schema.get("type")
    kinds = [wanted] if isinstance(wanted, str) else wanted if isinstance(wanted, list) else []
    if kinds and not any(_is(value, kind) for kind in kinds):
        return f"{name}: found {_kind(value)}, needed {' or '.join(map(str, kinds))}"
    for allowed in (schema.get("enum"), [schema["const"]] if "const" in schema else None):
        if isinstance(allowed, list) and not any(_same(value, one) for one in allowed):
            shown = _kind(value) if isinstance(value, dict | list) else repr(value)
            return f"{name}: found {shown}, needed one of {allowed!r}"
    if isinstance(value, dict):
        return _object(value, schema, name)
    if isinstance(value, list):
        return _array(value, schema, name)
    return _bounds(value, schema, name)


def _array(value: list[Any], schema: Mapping[str, Any], name: str) -> str:
    items, prefix = schema.get("items"), schema.get("prefixItems")
    first = len(prefix) if isinstance(prefix, list) else 0  # those have schemas of their own
    if not isinstance(items, Mapping):
        return ""
    found = (problem(item, items, f"{name}[{index}]") for index, item in enumerate(value[first:], first))
    return next(filter(None, found), "")


def _object(value: Mapping[str, Any], schema: Mapping[str, Any], name: str) -> str:
    properties = schema.get("properties")
    known: Mapping[str, Any] = properties if isinstance(properties, Mapping) else {}
    closed = schema.get("additionalProperties") is False and "patternProperties" not in schema
    required = schema.get("required")
    for key in required if isinstance(required, list) else ():
        if isinstance(key, str) and key not in value:
            return f"{name}: {key} is missing"
    for key, item in value.items():
        if key in known and isinstance(known[key], Mapping):
            if found := problem(item, known[key], f"{name}.{key}"):
                return found
        elif key not in known and closed:
            return f"{name}: {key} is not one of {', '.join(known) or 'none'}"
    return ""


def _bounds(value: Any, schema: Mapping[str, Any], name: str) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    low, high = schema.get("minimum"), schema.get("maximum")
    if isinstance(low, int | float) and value < low:
        return f"{name}: found {value}, needed {low} or more"
    if isinstance(high, int | float) and value > high:
        return f"{name}: found {value}, needed {high} or less"
    return ""


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON is: true is no 1, at any depth of `other`."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return bool(one == other)


def _is(value: Any, kind: object) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES.get(str(kind), (object,)))


def _kind(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else "boolean"
    return next(name for name, types in _TYPES.items() if isinstance(value, types))
