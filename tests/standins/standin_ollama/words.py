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
# An answer that nobody limits is this long at most, and at least a fourth of it.
LONGEST = 48


def count(text: str) -> int:
    """Tokens of a text: a word and every started group of four characters beyond it."""
    return sum(1 + (len(word) - 1) // 4 for word in text.split())


def tokens(seed: str, stop: list[str]) -> Iterator[str]:
    """The pieces of an answer, without end of its own beyond `LONGEST`; a stop sequence is never said."""
    length = LONGEST // 4 + hashlib.sha256(seed.encode()).digest()[0] % (LONGEST * 3 // 4)
    said = ""
    for index in range(length):
        number = int.from_bytes(hashlib.sha256(f"{seed}\0{index}".encode()).digest()[:4], "big")
        piece = ("" if index == 0 else " ") + CHOICE[number % len(CHOICE)]
        if any(mark and mark in said + piece for mark in stop):
            return
        said += piece
        yield piece


def tool_call(tools: list[dict[str, Any]], asked: str) -> dict[str, Any]:
    """A call of the first tool, with an argument of the right type for every required property."""
    function = tools[0]["function"]
    schema = function.get("parameters") or {}
    properties = schema.get("properties") or {}
    wanted = schema.get("required") or list(properties)
    return {
        "function": {
            "index": 0,
            "name": function["name"],
            "arguments": {name: argument(properties.get(name) or {}, asked) for name in wanted},
        }
    }


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
