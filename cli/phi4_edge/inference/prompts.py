"""What verify asks: prompts and tools as data, checked field by field. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from phi4_edge.core.catalog.fields import Row
from phi4_edge.core.text import clean, closest
from phi4_edge.errors import CatalogError

FORMAT = "phi4-edge/prompts/1"
CHOICES = ("auto", "required", "none")
MOST_TOKENS = 131_072  # the model's own context length


@dataclass(frozen=True)
class Tool:
    """A function that the model may call; `parameters` is the JSON Schema of its arguments."""

    name: str
    description: str
    parameters: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The tool as a request names it."""
        function = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": function}


@dataclass(frozen=True)
class Prompt:
    """One question. `temperature` None leaves it to the engine; `tools` empty means that none may be called."""

    name: str
    category: str
    prompt: str
    system: str
    max_tokens: int
    temperature: float | None
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"

    @property
    def ways(self) -> tuple[bool, ...]:
        """Whether it is streamed, for each time it is asked: tool calls come in two forms, and both must be right."""
        return (True, False) if self.tools else (True,)

    def request(self, model: str, stream: bool) -> dict[str, Any]:
        """The body of `POST /v1/chat/completions`."""
        messages = [{"role": "system", "content": self.system}] if self.system else []
        body: dict[str, Any] = {
            "model": model,
            "messages": [*messages, {"role": "user", "content": self.prompt}],
            "max_tokens": self.max_tokens,
            "stream": stream,
        }
        if self.temperature is not None:
            body["temperature"] = self.temperature
        if stream:
            body["stream_options"] = {"include_usage": True}
        if self.tools:
            body["tools"] = [tool.to_dict() for tool in self.tools]
            named = {"type": "function", "function": {"name": self.tool_choice}}
            body["tool_choice"] = self.tool_choice if self.tool_choice in CHOICES else named
        return body


def parse(data: object, where: str) -> tuple[Prompt, ...]:
    """The prompts of a file's content, in its order. Raises CatalogError that names the field; `where` is the file."""
    top = Row(where, data)
    top.only("format", "tools", "prompts")
    if top.data.get("format") != FORMAT:
        top.fail("format", FORMAT)
    tools = dict(_tools(top))
    prompts = tuple(_prompt(name, row, tools) for name, row in top.rows("prompts").items())
    if not prompts:
        top.fail("prompts", "at least one prompt")
    return prompts


def _tools(top: Row) -> Iterator[tuple[str, Tool]]:
    if "tools" not in top.data:
        return
    for name, row in top.rows("tools").items():
        row.only("description", "parameters")
        parameters = row.row("parameters").data
        if parameters.get("type") != "object":
            row.row("parameters").fail("type", "object: the arguments of a tool are one")
        try:
            json.dumps(parameters, allow_nan=False)
        except (TypeError, ValueError, RecursionError):  # YAML has dates, NaN, and mappings that hold themselves
            row.fail("parameters", "what JSON can hold: texts, finite numbers, true, false, null, lists and mappings")
        yield name, Tool(name, row.text("description"), parameters)


def _prompt(name: str, row: Row, tools: Mapping[str, Tool]) -> Prompt:
    row.only("category", "system", "prompt", "max_tokens", "temperature", "tools", "tool_choice")
    wanted = row.texts("tools", ())
    if unknown := [tool for tool in wanted if tool not in tools]:
        row.fail("tools", f"names from the file's tools ({', '.join(tools) or 'it has none'}), not {unknown[0]}")
    choice = row.text("tool_choice", "auto")
    if choice not in (*CHOICES, *wanted):
        row.fail("tool_choice", f"one of {', '.join((*CHOICES, *wanted))}")
    tokens = row.integer("max_tokens")
    if not 1 <= tokens <= MOST_TOKENS:
        row.fail("max_tokens", f"a whole number from 1 to {MOST_TOKENS}")
    return Prompt(
        name=name,
        category=row.text("category"),
        prompt=row.text("prompt"),
        system=row.text("system", ""),
        max_tokens=tokens,
        temperature=row.number("temperature", most=2.0) if "temperature" in row.data else None,
        tools=tuple(tools[tool] for tool in wanted),
        tool_choice=choice,
    )


def choose(prompts: Sequence[Prompt], only: Sequence[str], max_tokens: int | None = None) -> tuple[Prompt, ...]:
    """Those whose name or category is in `only` (all without any), none longer than `max_tokens`.

    Raises CatalogError for a word that is neither.
    """
    known = dict.fromkeys([prompt.category for prompt in prompts] + [prompt.name for prompt in prompts])
    for word in only:
        if word not in known:
            hint = closest(word, list(known))
            raise CatalogError(f"found no prompt or category {clean(word, 60)}{hint}, needed one of {', '.join(known)}")
    chosen = [prompt for prompt in prompts if not only or {prompt.name, prompt.category} & set(only)]
    most = max_tokens or MOST_TOKENS
    return tuple(replace(prompt, max_tokens=min(prompt.max_tokens, most)) for prompt in chosen)
