"""The form that a request wants its answer to have, as a grammar of llguidance.

Plain JSON is written without spaces: nobody reads them, and each would be a token. Calls are in the model's own form,
a list between its tool-call tokens.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from phi4_engine.closing import closed
from phi4_engine.errors import ApiError, unsupported
from phi4_engine.modeldir import TOOL_TOKENS
from phi4_engine.protocol import NamedChoice, ResponseFormat, Tool
from phi4_engine.wire import INVALID_SCHEMA, Form

MAX_SCHEMA = 256 * 1024
"""Bytes of all schemas of one request."""
MAX_STRING = 4096
"""Characters of a value, name or pattern: an answer that follows a long one keeps the rest of it at each token."""
MOST_CALLS = 16
"""In one answer that must be calls: a model that finds no end would fill its context with them."""
_COMPACT = {"whitespace_flexible": False}
_AT_LINE = re.compile(r"at (\d{1,3})\(\d+\): (?:failed to compile JSON schema: )?")
_READ_BY_PEOPLE = frozenset({"description", "title", "$comment"})
_NO_ARGUMENTS = {"type": "object", "properties": {}, "additionalProperties": False}


@dataclass(frozen=True)
class Wish:
    """What a request says of the form of its answer, and under which names: each API has its own.

    `arguments`: where the schema of a function's arguments stands, with `{}` for the function's place in `tools`.
    `allowed`: the names of those that may be called, where not all may.
    """

    tools: Sequence[Tool]
    choice: str | NamedChoice | None
    parallel: bool | None
    format: ResponseFormat | None
    format_name: str
    schema_name: str
    arguments: str
    allowed: frozenset[str] | None = None

    @property
    def offered(self) -> list[tuple[int, Tool]]:
        """The functions that may be called, with their places in the request."""
        places = () if self.choice == "none" else enumerate(self.tools)
        return [(at, tool) for at, tool in places if self.allowed is None or tool.function.name in self.allowed]

    @property
    def shown(self) -> list[Tool]:
        """The functions that the model is told of: not those that it may not call, for it might try."""
        return [tool for _, tool in self.offered]

    @property
    def single(self) -> bool:
        """Whether there may be one call and no other."""
        return self.parallel is False or isinstance(self.choice, NamedChoice)


def wanted(wish: Wish) -> Form | None:
    """None where the answer is free. Raises ApiError 400 for a form that makes no sense, or is too large."""
    tools = called(wish)
    if isinstance(wish.choice, NamedChoice) or wish.choice == "required":
        return _form([], _calls(wish, tools))
    schema = _schema(wish)
    if schema is not None:
        place = wish.format_name
        return _form([(place, f"answer: %json {_text(schema, place)}")], _calls(wish, tools) if tools else [])
    if any(tool.function.strict for _, tool in tools):
        return _form([], _calls(wish, tools), lazy=True)
    return None


def called(wish: Wish) -> list[tuple[int, Tool]]:
    """The tools that may be called, with their places in the request. Raises ApiError 400 where none can be."""
    choice, tools = wish.choice, wish.offered
    missing = (wish.allowed or frozenset()) - {tool.function.name for _, tool in tools}
    if isinstance(choice, NamedChoice):
        tools = [(at, tool) for at, tool in tools if tool.function.name == choice.function.name][:1]
    if missing or (not tools and choice not in (None, "auto", "none")):
        raise ApiError(
            400,
            "tool_choice: found no such function in tools, needed one that may be called",
            param="tool_choice",
            code="invalid_value",
        )
    return tools


def _schema(wish: Wish) -> dict[str, Any] | None:
    form, place = wish.format, wish.format_name
    if form is None or form.type == "text":
        return None
    if form.type == "json_object":
        return {"type": "object"} if form.schema_ is None else form.schema_
    if form.type != "json_schema":
        raise unsupported(place, f"{place} {form.type[:40]!r} is none of text, json_object and json_schema.")
    if form.json_schema is None or form.json_schema.schema_ is None:
        raise ApiError(400, f"{place}: {wish.schema_name} is missing", param=place, code="invalid_value")
    return form.json_schema.schema_


def _calls(wish: Wish, tools: Sequence[tuple[int, Tool]]) -> list[tuple[str, str]]:
    """The rules of a list of calls, each with the place in the request that it is made of."""
    more = "" if wish.single else f' ("," call){{0,{MOST_CALLS - 1}}}'
    rules = [
        ("tools", f'calls: {TOOL_TOKENS[0]} "[" call{more} "]" {TOOL_TOKENS[1]}'),
        ("tools", f"call: {' | '.join(f'call_{at}' for at, _ in tools)}"),
    ]
    for at, tool in tools:
        place = wish.arguments.format(at)
        opening = f'{{"name":{json.dumps(tool.function.name)},"arguments":'
        rules.append((place, f'call_{at}: {json.dumps(opening)} %json {_text(_arguments(tool, place), place)} "}}"'))
    return rules


def _arguments(tool: Tool, place: str) -> dict[str, Any]:
    """The schema of a function's arguments, which are an object in any case."""
    schema = tool.function.parameters
    if not schema:
        return _NO_ARGUMENTS if schema is None else {"type": "object"}
    if schema.get("type", "object") != "object":
        raise ApiError(400, f"{place}: must be the schema of an object", param=place, code="invalid_value")
    return schema if {"$ref", "allOf", "anyOf"} & schema.keys() else {"type": "object", **schema}


def _form(answer: list[tuple[str, str]], calls: list[tuple[str, str]], *, lazy: bool = False) -> Form:
    starts = [name for name, rules in (("answer", answer), ("calls", calls)) if rules]
    rules = [*answer, *calls]
    # The first line is no schema's.
    form = Form(
        text="\n".join([f"start: {' | '.join(starts)}", *(rule for _, rule in rules)]),
        places=(rules[0][0], *(place for place, _ in rules)),
        lazy=lazy,
    )
    if len(form.text) > MAX_SCHEMA:
        raise refused(form, f"found {len(form.text)} bytes of schemas, needed at most {MAX_SCHEMA}")
    return form


def _require_short(schema: Any, place: str) -> None:
    """Raises ApiError 400 for a string that is too long, where it is none of those that only people read."""
    found = list(schema.items() if isinstance(schema, dict) else enumerate(schema if isinstance(schema, list) else ()))
    for name, value in found:
        if name in _READ_BY_PEOPLE and isinstance(value, str):
            continue
        if any(isinstance(text, str) and len(text) > MAX_STRING for text in (name, value)):
            message = f"{place}: found a string of more than {MAX_STRING} characters, needed shorter ones"
            raise ApiError(400, message, param=place, code=INVALID_SCHEMA)
        _require_short(value, place)


def _text(schema: dict[str, Any], place: str) -> str:
    _require_short(schema, place)
    # A schema could loosen itself with this keyword of llguidance's.
    return json.dumps({**closed(schema), "x-guidance": _COMPACT})


def refused(form: Form, message: str) -> ApiError:
    """A form that cannot be had, with the schema that is meant, where llguidance says the line."""
    place, told = form.places[0], message
    if match := _AT_LINE.match(message):
        place, told = form.places[min(int(match[1]), len(form.places)) - 1], message[match.end() :]
    return ApiError(400, f"{place}: {told}", param=place, code=INVALID_SCHEMA)
