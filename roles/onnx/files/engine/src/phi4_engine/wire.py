"""The messages between the web process and the model process: one JSON object per line, both ways."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

MAX_LINE = 16 * 1024 * 1024
"""Bytes. A request body is at most 1 MiB; JSON escapes of non-ASCII text make it at most six times as long."""

INVALID_SCHEMA = "invalid_schema"
FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class Form:
    """What an answer must look like: the text of a grammar, and the place in the request that each line is made of.

    `lazy`: the answer is free until the model opens a tool call, which the grammar begins with.
    """

    text: str
    places: tuple[str, ...]
    lazy: bool = False


@dataclass(frozen=True)
class Job:
    """One generation. `messages` are in the template's form; `max_tokens` None means to the end of the context.

    `prompt`: the messages as tokens, from the answer to "tokenize"; () where nobody has asked for them.
    """

    id: str
    messages: tuple[dict[str, Any], ...]
    max_tokens: int | None
    temperature: float
    top_p: float
    seed: int | None = None
    stop: tuple[str, ...] = ()
    prompt: tuple[int, ...] = ()
    form: Form | None = None


@dataclass(frozen=True)
class Ready:
    """The model is loaded and a token has been generated. `piece_seconds`: what its largest piece of work may take."""

    seconds: float
    piece_seconds: float = 0.0


@dataclass(frozen=True)
class LoadFailed:
    """The model cannot be loaded; the worker ends after this."""

    message: str


@dataclass(frozen=True)
class Alive:
    """Answer to a ping, and sign of life after a piece of work."""


@dataclass(frozen=True)
class Tokenized:
    """The job's messages as tokens; `prompt` is empty where so many leave no room for an answer."""

    id: str
    count: int
    prompt: list[int]


@dataclass(frozen=True)
class Compiled:
    """The job's form can be had."""

    id: str


@dataclass(frozen=True)
class Started:
    """The job fits; prefill begins."""

    id: str
    prompt_tokens: int


@dataclass(frozen=True)
class Text:
    """More of the answer; `tokens` generated so far."""

    id: str
    text: str
    tokens: int


@dataclass(frozen=True)
class Finished:
    """The answer is complete. `tool_text` is what stood between the model's tool-call tokens, None without any.

    So many tokens of the prompt were `cached`: an earlier prompt began with the same, and they were not read again.
    """

    id: str
    reason: FinishReason
    completion_tokens: int
    tool_text: str | None = None
    cached_tokens: int = 0


@dataclass(frozen=True)
class Refused:
    """The job could not be run; `code` is OpenAI's error code, "generation_failed" or INVALID_SCHEMA."""

    id: str
    code: str
    message: str


Event = Ready | LoadFailed | Alive | Tokenized | Compiled | Started | Text | Finished | Refused
JobEvent = Tokenized | Compiled | Started | Text | Finished | Refused

_EVENTS: dict[str, type[Event]] = {
    kind.__name__: kind for kind in (Ready, LoadFailed, Alive, Tokenized, Compiled, Started, Text, Finished, Refused)
}


def encode_event(event: Event) -> bytes:
    """One line, newline included."""
    return _line({"event": type(event).__name__, **asdict(event)})


def decode_event(line: bytes) -> Event:
    """Raises ValueError for a line that no worker of this version writes."""
    fields = json.loads(line)
    kind = _EVENTS.get(fields.pop("event", "")) if isinstance(fields, dict) else None
    if kind is None:
        raise ValueError(f"not an event: {line[:80]!r}")
    try:
        return kind(**fields)
    except TypeError as error:
        raise ValueError(f"not an event: {line[:80]!r}") from error


@dataclass(frozen=True)
class Command:
    """What the web process asks for: tokenize, compile or generate (job), cancel (job id) or ping."""

    name: Literal["tokenize", "compile", "generate", "cancel", "ping"]
    id: str = ""
    job: Job | None = None


def encode_command(command: Command) -> bytes:
    """One line, newline included."""
    fields: dict[str, Any] = {"name": command.name, "id": command.id}
    if command.job is not None:
        fields["job"] = asdict(command.job)
    return _line(fields)


def decode_command(line: bytes) -> Command:
    """Raises ValueError for a line that no web process of this version writes."""
    fields = json.loads(line)
    try:
        job = fields.get("job")
        if job is not None:
            lists = {name: tuple(job[name]) for name in ("messages", "stop", "prompt")}
            form = job.get("form") and Form(**{**job["form"], "places": tuple(job["form"]["places"])})
            job = Job(**{**job, **lists, "form": form})
        return Command(name=fields["name"], id=fields["id"], job=job)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"not a command: {line[:80]!r}") from error


def _line(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode("ascii") + b"\n"
