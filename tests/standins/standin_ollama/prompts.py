"""From messages to a prompt and from a model's words to calls of tools, as Ollama does both for Phi-4-mini.

The prompt has Phi-4-mini's form whatever the template says; what Ollama does around the template is the same.
"""

from __future__ import annotations

import json
from typing import Any

Json = dict[str, Any]
CALL, CALL_END = "<|tool_call|>", "<|/tool_call|>"
# Go's encoder writes these so that JSON may stand inside HTML.
ESCAPED = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}
# With these words a test says what the model shall say, or that it shall come to no end.
EXACTLY, ENDLESS = "Say exactly: ", "for ever"


def encoded(document: Any) -> str:
    """JSON as Go writes it: no blanks, and no sign that HTML knows."""
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    for sign, code in ESCAPED.items():
        text = text.replace(sign, code)
    return text


def rendered(system: str, messages: list[Json], tools: list[Json]) -> str:
    """The prompt. System messages are joined and come first; a last message of the assistant is left open."""
    given = [one.get("content", "") for one in messages if one.get("role") == "system"]
    first = "\n\n".join(given) if given else system
    announced = f"<|tool|>[{','.join(encoded(one['function']) for one in tools)}]<|/tool|>" if tools else ""
    parts = [f"<|system|>{first or 'You are a helpful assistant with some tools.'}{announced}<|end|>"]
    parts = parts if first or tools else []
    rest = [one for one in messages if one.get("role") != "system"]
    for number, one in enumerate(rest):
        role, said = one.get("role", "user"), one.get("content", "")
        last = number == len(rest) - 1
        if role == "tool":
            role = "tool_response"
        parts.append(f"<|{role}|>{said}" + ("" if role == "assistant" and last else "<|end|>"))
    if not rest or rest[-1].get("role") != "assistant":
        parts.append("<|assistant|>")
    return "".join(parts)


def script(messages: list[Json], tools: list[Json], call: Json | None) -> tuple[str | None, bool]:
    """What the model says word for word (None: what its hash picks), and whether it comes to no end by itself."""
    asked = str(messages[-1].get("content", ""))
    if asked.startswith(EXACTLY):
        return asked[len(EXACTLY) :], False
    if tools and call and messages[-1].get("role") not in ("tool", "assistant"):
        return f"{CALL}[{encoded(call)}]{CALL_END}", False
    return None, ENDLESS in asked


def parsed(text: str, tools: list[Json]) -> tuple[str, list[Json]]:
    """The text before the calls, and the calls; one of a tool that nobody announced vanishes without a word."""
    content, sign, rest = text.partition(CALL)
    if not sign:
        return text, []
    known = {one["function"]["name"] for one in tools}
    found = []
    for said in objects(rest):
        one = said["function"] if isinstance(said.get("function"), dict) else said
        if one.get("name") in known:
            arguments = one.get("arguments", one.get("parameters", {}))
            found.append({"function": {"index": len(found), "name": one["name"], "arguments": arguments}})
    return content.strip(), found


def objects(text: str) -> list[Json]:
    """The JSON objects in a text, those of a list one by one; what is no JSON is passed over."""
    decoder, found, place = json.JSONDecoder(), [], 0
    while place < len(text):
        if text[place] not in "{[":
            place += 1
            continue
        try:
            value, place = decoder.raw_decode(text, place)
        except ValueError:
            place += 1
            continue
        found += [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, dict)]
    return found
