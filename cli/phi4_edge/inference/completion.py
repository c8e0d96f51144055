"""One answer of an OpenAI-compatible engine, put together from its JSON body or from the events of its stream. Pure.

Engines differ here: some give no usage, some send a whole tool call in one event, some an error in the middle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from phi4_edge.core.text import LARGEST, clean

MOST_CALLS = 64  # more than any model asks for; the rest of a longer list is not read


@dataclass
class Call:
    """A tool call as far as it has come. `arguments` is text, unless the engine sent something else in its place."""

    name: str = ""
    arguments: Any = ""

    def add(self, function: Mapping[str, Any]) -> int:
        """A further piece of the call: names and texts of arguments grow, by so many characters."""
        name, arguments = function.get("name"), function.get("arguments")
        if isinstance(name, str):
            self.name += name
        if isinstance(arguments, str) and isinstance(self.arguments, str):
            self.arguments += arguments
        elif arguments is not None:
            self.arguments = arguments
        return sum(len(part) for part in (name, arguments) if isinstance(part, str))


@dataclass
class Completion:
    """What was said so far. `pieces` counts events that held text or a part of a call; `error` is the engine's own.

    `latest` is what the last piece said, without reasoning. `length` counts characters: of the text, and of the names
    and arguments of calls.
    """

    latest: str = ""
    calls: dict[int, Call] = field(default_factory=dict)
    finish_reason: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    pieces: int = 0
    length: int = 0
    done: bool = False
    error: str = ""
    # Joined once: text that grew by each of a hundred thousand pieces would be copied as often.
    _texts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All that was said, reasoning too."""
        return "".join(self._texts)

    @property
    def complete(self) -> bool:
        """Whether the engine said that this is all."""
        return self.done or bool(self.finish_reason)

    @property
    def empty(self) -> bool:
        """Whether nothing at all was generated."""
        return not (any(self._texts) or self.calls or self.completion_tokens)

    def take(self, data: Mapping[str, Any], part: str) -> bool:
        """Adds a body (`part` "message") or an event ("delta"); returns whether it held text or a part of a call."""
        self.error = self.error or complaint(data)
        self._count(data.get("usage"))
        choices = data.get("choices")
        first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        reason = first.get("finish_reason")
        if isinstance(reason, str):
            self.finish_reason = clean(reason, 40)
        found = first.get(part)
        self.latest = ""
        held = isinstance(found, dict) and self._say(found)
        self.pieces += held
        return held

    def _say(self, found: Mapping[str, Any]) -> bool:
        # Reasoning is generated text too, wherever the engine puts it.
        reasoning, content = found.get("reasoning_content"), found.get("content")
        self.latest = content if isinstance(content, str) else ""
        said = (reasoning if isinstance(reasoning, str) else "") + self.latest
        self._texts.append(said)
        self.length += len(said)
        calls = found.get("tool_calls")
        parts = [call for call in calls if isinstance(call, dict)][:MOST_CALLS] if isinstance(calls, list) else []
        for position, call in enumerate(parts):
            index = call.get("index")
            number = index if isinstance(index, int) and 0 <= index < MOST_CALLS else position
            function = call.get("function")
            self.length += self.calls.setdefault(number, Call()).add(function if isinstance(function, dict) else {})
        return bool(said or parts)

    def _count(self, usage: object) -> None:
        if isinstance(usage, dict):
            self.prompt_tokens = _tokens(usage.get("prompt_tokens"), self.prompt_tokens)
            self.completion_tokens = _tokens(usage.get("completion_tokens"), self.completion_tokens)


def complaint(data: Mapping[str, Any]) -> str:
    """The message of an error object, in any of the forms that engines have; empty without one."""
    error = data.get("error")
    if isinstance(error, dict):
        return _words(error.get("message")) or "an error without a message"
    if error:
        return _words(error) or "an error without a message"
    return _words(data.get("message")) if data.get("object") == "error" else ""


def _words(value: object) -> str:
    """A text or a number; "" for anything deeper, whose text may have no end."""
    return clean(str(value), 300) if isinstance(value, (str, int, float)) else ""


def read(text: bytes | str) -> dict[str, Any] | None:
    """A JSON object; None when it is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _tokens(value: object, otherwise: int | None) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST else otherwise
