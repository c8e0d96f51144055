"""Objects without other properties than those that a schema names, where it says nothing of others.

JSON Schema allows any others, and a model that may go on where it would have ended the object sometimes does: a small
one invents arguments of functions, and finds no end. llama.cpp has it so too, and OpenAI where it is strict. What is
written is valid against the schema as it was.
"""

from __future__ import annotations

from typing import Any

_MOST_LEVELS = 128
"""llguidance reads no deeper ones."""
_COMBINED = frozenset({
    "allOf", "if", "not", "contains", "patternProperties", "dependentSchemas", "dependencies", "unevaluatedProperties",
    "$dynamicRef",
})  # fmt: skip
"""Several schemas may hold for one object: closed, each would forbid what the others name."""
_ELSEWHERE = frozenset({"$ref", "anyOf", "oneOf"})
_BESIDE = frozenset({
    "title", "description", "default", "examples", "deprecated", "$comment", "$schema", "$id", "$defs", "definitions",
    "type", "discriminator",
})  # fmt: skip
"""What says nothing of an object's properties: where more stands beside a reference or a choice, both hold."""
_OF_OTHERS = frozenset({"additionalProperties", "propertyNames", "minProperties"})


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with its objects closed; as it is where that could forbid what it asks for."""
    found = _closed(schema) if _is_plain(schema, 0) else schema
    return found if isinstance(found, dict) else schema


def _is_plain(value: Any, level: int) -> bool:
    """Whether one schema alone says which properties an object has. Data and names that look otherwise count too."""
    if isinstance(value, dict):
        if _COMBINED & value.keys() or (_ELSEWHERE & value.keys() and len(value.keys() - _BESIDE) > 1):
            return False
        value = list(value.values())
    if not isinstance(value, list):
        return True
    return level < _MOST_LEVELS and all(_is_plain(one, level + 1) for one in value)


def _closed(value: Any) -> Any:
    if isinstance(value, list):
        return [_closed(one) for one in value]
    if not isinstance(value, dict):
        return value
    found = dict(value)
    for name in ("items", "prefixItems", "anyOf", "oneOf", "additionalProperties"):
        if name in value:
            found[name] = _closed(value[name])
    for name in ("properties", "$defs", "definitions"):
        if isinstance(value.get(name), dict):
            found[name] = {key: _closed(one) for key, one in value[name].items()}
    if _names_all(value):
        found["additionalProperties"] = False
    return found


def _names_all(schema: dict[str, Any]) -> bool:
    """Whether it names properties, all that it requires among them, and says nothing of others."""
    named, required = schema.get("properties"), schema.get("required", [])
    if not isinstance(named, dict) or not isinstance(required, list) or _OF_OTHERS & schema.keys():
        return False
    return all(isinstance(name, str) and name in named for name in required)
