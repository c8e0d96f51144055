"""Whether a value is what a JSON Schema asks for, as far as the parameters of tools go. Pure.

Knows type, enum, const, properties, required, additionalProperties, items, minimum and maximum; what else a schema
says is left to the engine.
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
    allowed = schema.get("enum") or ([schema["const"]] if "const" in schema else None)
    if isinstance(allowed, list) and value not in allowed:
        return f"{name}: found {value!r}, needed one of {allowed!r}"
    if isinstance(value, dict):
        return _object(value, schema, name)
    if isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        found = (problem(item, schema["items"], f"{name}[{index}]") for index, item in enumerate(value))
        return next(filter(None, found), "")
    return _bounds(value, schema, name)


def _object(value: Mapping[str, Any], schema: Mapping[str, Any], name: str) -> str:
    properties = schema.get("properties")
    known: Mapping[str, Any] = properties if isinstance(properties, Mapping) else {}
    required = schema.get("required")
    for key in required if isinstance(required, list) else ():
        if isinstance(key, str) and key not in value:
            return f"{name}: {key} is missing"
    for key, item in value.items():
        if key in known and isinstance(known[key], Mapping):
            if found := problem(item, known[key], f"{name}.{key}"):
                return found
        elif key not in known and schema.get("additionalProperties") is False:
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
