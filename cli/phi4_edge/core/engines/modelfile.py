"""Variants of the model under Ollama: a name, what it is made from, parameters, and a system prompt.

Those of the catalog come first; the inventory adds its own, replaces one by the same name, or takes one away (null).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from phi4_edge.core.text import clean, closest

# The name that every model of the catalog is served under; a test holds it to that.
BASE = "phi-4-mini-instruct"
MOST_SYSTEM = 8000
MOST_VARIANTS = 32
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,60}")
_FIELDS = ("from", "parameters", "system")
# Ollama's parameters of a request, with the type and the range that we let through.
PARAMETERS: Mapping[str, tuple[type, float, float]] = {
    "mirostat": (int, 0, 2),
    "mirostat_eta": (float, 0, 1),
    "mirostat_tau": (float, 0, 20),
    "num_ctx": (int, 512, 131072),
    "num_predict": (int, -2, 131072),
    "num_keep": (int, -1, 131072),
    "repeat_last_n": (int, -1, 131072),
    "repeat_penalty": (float, 0, 10),
    "presence_penalty": (float, -2, 2),
    "frequency_penalty": (float, -2, 2),
    "temperature": (float, 0, 5),
    "seed": (int, 0, 2**31 - 1),
    "stop": (list, 0, 16),
    "top_k": (int, 0, 200064),
    "top_p": (float, 0, 1),
    "min_p": (float, 0, 1),
    "typical_p": (float, 0, 1),
}

ModelfileVariant = dict[str, Any]


def parse(value: Any) -> dict[str, ModelfileVariant | None]:
    """Return the inventory's variants; raises ValueError that says what is needed. None takes a variant away."""
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else {}
        except (ValueError, RecursionError) as error:
            raise ValueError(f"a mapping of names, or JSON text of one ({clean(str(error), 80)})") from None
    if not isinstance(value, Mapping):
        raise ValueError("a mapping of names to {from, parameters, system}, or JSON text of one")
    if len(value) > MOST_VARIANTS:
        raise ValueError(f"at most {MOST_VARIANTS} variants, found {len(value)}")
    return {_name(name): None if item is None else _variant(str(name), item) for name, item in value.items()}


def check(value: Any, known: Mapping[str, ModelfileVariant | None]) -> dict[str, ModelfileVariant]:
    """Return the variants in `value` over those that are `known`; raises ValueError, also for a circle."""
    merged = {**known, **parse(value)}
    found = {name: item for name, item in merged.items() if item is not None}
    for name in found:
        _rooted(name, found)
    return found


def planned(wanted: Mapping[str, Mapping[str, Any] | None], context: int) -> dict[str, Any]:
    """Return the variants of one host by name; None for one that is taken away.

    None may ask for more context than memory was counted for, nor for answers that come to no end.
    """
    found = {}
    for name in sorted(wanted):
        item = wanted[name]
        if item is not None:
            parameters = dict(item["parameters"])
            if "num_ctx" in parameters:
                parameters["num_ctx"] = min(parameters["num_ctx"], context)
            if "num_predict" in parameters:
                most = parameters["num_predict"]
                # Below 0 Ollama goes on for ten contexts, or until the context is full.
                parameters["num_predict"] = min(most, context) if most >= 0 else context
            found[name] = {"from": item["from"], "parameters": parameters, "system": item["system"]}
    return found


def _rooted(name: str, found: Mapping[str, ModelfileVariant]) -> None:
    way = [name]
    while (parent := found[way[-1]]["from"]) != BASE:
        if parent not in found:
            raise ValueError(f"{name}.from: {BASE} or another variant, found {parent}{closest(parent, [BASE, *found])}")
        if parent in way:
            raise ValueError(f"variants without a circle, found {' from '.join([*way, parent])}")
        way.append(parent)


def _name(name: Any) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(
            f"names of small letters, digits, dot, dash and underscore (at most 61), found {clean(str(name), 70)!r}"
        )
    if name == BASE:
        raise ValueError(f"another name than {BASE}, which is the model itself")
    return name


def _variant(name: str, item: Any) -> ModelfileVariant:
    if not isinstance(item, Mapping):
        raise ValueError(f"{name}: a mapping with {', '.join(_FIELDS)}")
    for field in item:
        if field not in _FIELDS:
            known = f"{', '.join(_FIELDS)}, found {clean(str(field), 40)}{closest(str(field), list(_FIELDS))}"
            raise ValueError(f"{name}: only {known}")
    parameters = item.get("parameters") or {}
    if not isinstance(parameters, Mapping):
        raise ValueError(f"{name}.parameters: a mapping")
    origin = item.get("from") or BASE
    if not isinstance(origin, str):
        raise ValueError(f"{name}.from: {BASE} or the name of another variant")
    checked = {str(key): _parameter(f"{name}.parameters", key, given) for key, given in parameters.items()}
    return {"from": clean(origin, 61), "parameters": checked, "system": _system(name, item.get("system") or "")}


def _parameter(where: str, key: Any, given: Any) -> Any:
    if key not in PARAMETERS:
        hint = closest(str(key), list(PARAMETERS))
        raise ValueError(f"{where}: parameters of Ollama, found {clean(str(key), 40)}{hint}")
    kind, least, most = PARAMETERS[key]
    if kind is list:
        return _stop(f"{where}.{key}", given)
    whole = kind is int
    right = isinstance(given, int) if whole else isinstance(given, (int, float))
    if isinstance(given, bool) or not right or not least <= given <= most:
        raise ValueError(f"{where}.{key}: a {'whole ' if whole else ''}number from {least:g} to {most:g}")
    return int(given) if whole else float(given)


def _stop(where: str, given: Any) -> list[str]:
    words = [given] if isinstance(given, str) else given
    if not isinstance(words, Sequence) or len(words) > 16 or not all(isinstance(word, str) for word in words):
        raise ValueError(f"{where}: a text, or a list of at most 16 texts")
    if not all(0 < len(word) <= 100 for word in words):
        raise ValueError(f"{where}: texts of 1 to 100 characters")
    return list(words)


def _system(name: str, text: Any) -> str:
    if not isinstance(text, str) or len(text) > MOST_SYSTEM:
        raise ValueError(f"{name}.system: a text of at most {MOST_SYSTEM} characters")
    lines = [line.rstrip() for line in text.strip().splitlines()]
    if not all(line.isprintable() for line in lines):
        raise ValueError(f"{name}.system: printable text")
    return "\n".join(lines)
