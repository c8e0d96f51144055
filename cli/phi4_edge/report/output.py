"""Documents for programs: JSON and YAML that hold no byte a terminal obeys, and JSON Lines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def to_json(document: object, indent: int | None = 2) -> str:
    """ASCII JSON; control characters and everything above ASCII are escaped, so that it is safe on a terminal too."""
    text = json.dumps(document, indent=indent, ensure_ascii=True, default=_plain)
    return text.replace("\x7f", "\\u007f")


def to_line(document: object) -> str:
    """One line of JSON Lines."""
    return to_json(document, indent=None)


def to_yaml(document: object) -> str:
    """YAML with the same data as `to_json`, keys in the given order."""
    import yaml

    plain = json.loads(json.dumps(document, default=_plain))
    return str(yaml.safe_dump(plain, sort_keys=False, allow_unicode=False, width=120)).rstrip("\n")


def dump(document: object, output: str) -> str:
    """The document as `output` ('json' or 'yaml') asks."""
    return to_yaml(document) if output == "yaml" else to_json(document)


def _plain(value: object) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"cannot write a {type(value).__name__} as JSON")
