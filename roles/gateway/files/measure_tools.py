"""Tools, and calls of them, as Ollama writes them into a prompt: the keys that it knows, in JSON as Go writes it.

Python 3.8, standard library. From Ollama 0.35.0: api/types.go and template/template.go.
"""

from __future__ import annotations

import json
from typing import Any, Dict, List, Optional

Json = Dict[str, Any]
# Go's encoder writes these so that JSON may stand inside HTML, or JavaScript.
_ESCAPED = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_TABLE = str.maketrans(_ESCAPED)
# Above it Go writes a number with an exponent.
_PLAIN = 1e21


def encoded(value: Any, ordered: bool = False) -> str:
    """JSON as Go writes it: no blanks, and no sign that HTML knows. A map's keys are sorted unless `ordered`."""
    text = json.dumps(_numbers(value), separators=(",", ":"), ensure_ascii=False, sort_keys=not ordered)
    return text.translate(_TABLE)


def _numbers(value: Any) -> Any:
    """The value with whole numbers as Go has them, which knows no others than floats here."""
    if isinstance(value, dict):
        return {str(key): _numbers(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_numbers(one) for one in value]
    if isinstance(value, float) and abs(value) < _PLAIN and value.is_integer():
        return int(value)
    return value


def named(name: str) -> str:
    """The name of a function that was called."""
    return encoded(name)


def arguments(given: Any) -> Optional[str]:
    """What a function was called with, which is JSON within a text; None for what is none."""
    if given is None or given == "":
        return "{}"
    if not isinstance(given, str):
        return None
    try:
        found = json.loads(given)
    except (ValueError, RecursionError):
        return None
    return encoded(found) if isinstance(found, dict) else None


def function(given: Json) -> str:
    """A tool's function as the template announces it."""
    parameters = given.get("parameters")
    asked: Json = parameters if isinstance(parameters, dict) else {}
    kept: Json = {"type": asked.get("type") or ""}
    for key in ("$defs", "items", "required"):
        if asked.get(key):
            kept[key] = asked[key]
    properties = asked.get("properties")
    found = {name: _property(properties[name]) for name in sorted(properties)} if isinstance(properties, dict) else None
    shown = {"name": given.get("name") or "", "description": given.get("description") or ""}
    return encoded({**shown, "parameters": {**kept, "properties": found}}, ordered=True)


def _property(given: Any) -> Any:
    if not isinstance(given, dict):
        return given
    kept: Json = {}
    for key in ("anyOf", "type", "items", "description", "enum", "properties", "required"):
        value = given.get(key)
        if not value:
            continue
        if key == "anyOf" and isinstance(value, list):
            value = [_property(one) for one in value]
        elif key == "type" and isinstance(value, list) and len(value) == 1:
            value = value[0]
        elif key == "properties" and isinstance(value, dict):
            value = {name: _property(one) for name, one in value.items()}
        kept[key] = value
    return kept


def responses_tools(given: Any, prefix: str = "") -> Optional[List[str]]:
    """The functions of a request to /v1/responses; None where Ollama has a tool of its own among them."""
    found: List[str] = []
    for one in given if isinstance(given, list) else [None]:
        if not isinstance(one, dict) or str(one.get("type")).startswith("web_search"):
            return None
        name = str(one.get("name") or "")
        if one.get("type") == "namespace":
            inner = responses_tools(one.get("tools") or [], name + "." if name else "")
            if inner is None:
                return None
            found += inner
        else:
            begins = not prefix or name.startswith(prefix)
            found.append(function({**one, "name": name if begins else prefix + name}))
    return found
