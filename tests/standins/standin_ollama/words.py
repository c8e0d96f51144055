"""What the stand-in says: words that a hash picks, always the same for the same model and prompt."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

WORDS = (
    "the model answers with words that a hash has picked and gateway counts them one by until its budget of tokens is "
    "spent or sentence ends because nothing more left to say about edge small fast quiet local"
)
CHOICE = WORDS.split()
# An answer that comes to its end by itself is this long at most, and at least a fourth of it.
LONGEST = 48


def split(text: str) -> list[str]:
    """The tokens of a text: a word in groups of four characters."""
    return [word[place : place + 4] for word in text.split() for place in range(0, len(word), 4)]


def tokens(seed: str, stop: list[str], text: str | None = None, endless: bool = False) -> Iterator[str]:
    """The pieces of an answer: of `text` where it is given. A stop sequence is never said; `endless` has no end."""
    said = ""
    for piece in spelled(text) if text is not None else picked(seed, endless):
        if any(mark and mark in said + piece for mark in stop):
            return
        said = (said + piece)[-400:]
        yield piece


def spelled(text: str) -> Iterator[str]:
    for place in range(0, len(text), 4):
        yield text[place : place + 4]


def picked(seed: str, endless: bool) -> Iterator[str]:
    """Words that a hash picks."""
    length = LONGEST // 4 + hashlib.sha256(seed.encode()).digest()[0] % (LONGEST * 3 // 4)
    index = 0
    while endless or index < length:
        number = int.from_bytes(hashlib.sha256(f"{seed}\0{index}".encode()).digest()[:4], "big")
        yield ("" if index == 0 else " ") + CHOICE[number % len(CHOICE)]
        index += 1


def tool_call(tools: list[dict[str, Any]], asked: str) -> dict[str, Any]:
    """The first tool's name, with an argument of the right type for every required property."""
    function = tools[0]["function"]
    schema = function.get("parameters") or {}
    properties = schema.get("properties") or {}
    wanted = schema.get("required") or list(properties)
    arguments = {name: argument(properties.get(name) or {}, asked) for name in wanted}
    return {"name": function["name"], "arguments": arguments}


def argument(schema: dict[str, Any], asked: str) -> Any:
    """A value that the schema allows; a text is the last word of what was asked."""
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type", "string")
    kind = kind[0] if isinstance(kind, list) else kind
    last = (asked.split() or ["nothing"])[-1].strip(".?!")
    if kind == "object":
        return {name: argument(one, asked) for name, one in (schema.get("properties") or {}).items()}
    return {"integer": 2, "number": 2.5, "boolean": True, "array": []}.get(kind, last)


def seed(*parts: Any) -> str:
    return json.dumps(parts, sort_keys=True)
