"""The messages between the web process and the model process: one JSON object per line, both ways."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NotRequired, TypedDict

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
class Sampling:
    """How tokens are drawn, in the API's words; `loop.sampling` says what each does. `logit_bias`: token and bias."""

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    top_k: int | None = None
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Job:
    """One generation, from `messages` in the template's form, or from `texts` or tokens as they are.

    `max_tokens` None means to the end of the context.
    `n` answers are given to each prompt, the answers to the first prompt first; the seed of each is its index more than
    the job's. `prompts`: all as tokens, from the answer to "tokenize"; () where nobody has asked for them.
    `logprobs`: how many of the likeliest tokens are told with each token of an answer; None: no logprobs.
    """

    id: str
    messages: tuple[dict[str, Any], ...] = ()
    max_tokens: int | None = None
    sampling: Sampling = Sampling()
    stop: tuple[str, ...] = ()
    prompts: tuple[tuple[int, ...], ...] = ()
    logprobs: int | None = None
    n: int = 1
    texts: tuple[str, ...] = ()
    field: str = "messages"
    """The field of the request that holds what is read."""
    form: Form | None = None

    @property
    def width(self) -> int:
        """Answers that are generated at once."""
        return self.n * max(len(self.prompts), len(self.texts), 1)


class TokenLogprob(TypedDict):
    """One token of the answer in OpenAI's form; the alternatives of `top_logprobs` have the first three keys."""

    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: NotRequired[list[TokenLogprob]]


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
    """How many tokens each prompt of the job has, and which; `prompts` is empty where one leaves no room to answer."""

    id: str
    counts: list[int]
    prompts: list[list[int]]


@dataclass(frozen=True)
class Spelt:
    """Tokens as text, together and one by one."""

    id: str
    text: str
    words: list[str]


@dataclass(frozen=True)
class Compiled:
    """The job's form can be had."""

    id: str


@dataclass(frozen=True)
class Started:
    """The job fits; prefill begins."""

    id: str
    prompt_tokens: int
    """Of all its prompts."""


@dataclass(frozen=True)
class Text:
    """More of an answer, or nothing yet; `tokens` generated so far. `logprobs`: of tokens whose text is complete."""

    id: str
    text: str
    tokens: int
    logprobs: list[TokenLogprob] = field(default_factory=list)
    index: int = 0


@dataclass(frozen=True)
class Finished:
    """An answer is complete. `tool_text` is what stood between the model's tool-call tokens, None without any.

    So many tokens of the prompt were `cached`: an earlier prompt began with the same, and they were not read again.
    `last`: no other answer of the job is left.
    """

    id: str
    reason: FinishReason
    completion_tokens: int
    tool_text: str | None = None
    cached_tokens: int = 0
    index: int = 0
    last: bool = True


@dataclass(frozen=True)
class Refused:
    """The job could not be run; `code` is OpenAI's error code, "generation_failed" or INVALID_SCHEMA.

    `param`: the field of the request that is to blame, None where the request is not, or its form is.
    """

    id: str
    code: str
    message: str
    param: str | None = None


Event = Ready | LoadFailed | Alive | Tokenized | Spelt | Compiled | Started | Text | Finished | Refused
JobEvent = Tokenized | Spelt | Compiled | Started | Text | Finished | Refused

_EVENTS: dict[str, type[Event]] = {
    kind.__name__: kind
    for kind in (Ready, LoadFailed, Alive, Tokenized, Spelt, Compiled, Started, Text, Finished, Refused)
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
    """What the web process asks for: tokenize, encode, compile or generate (job), spell (tokens), cancel (id) or ping.

    To encode is to tokenize what need not fit the context.
    """

    name: Literal["tokenize", "encode", "compile", "generate", "spell", "cancel", "ping"]
    id: str = ""
    job: Job | None = None
    tokens: tuple[int, ...] = ()


def encode_command(command: Command) -> bytes:
    """One line, newline included."""
    fields: dict[str, Any] = {"name": command.name, "id": command.id, "tokens": command.tokens}
    if command.job is not None:
        fields["job"] = asdict(command.job)
    return _line(fields)


def decode_command(line: bytes) -> Command:
    """Raises ValueError for a line that no web process of this version writes."""
    fields = json.loads(line)
    try:
        job = fields.get("job")
        if job is not None:
            lists = {name: tuple(job[name]) for name in ("messages", "texts", "stop")}
            prompts, form = tuple(map(tuple, job["prompts"])), job.get("form")
            form = form and Form(**{**form, "places": tuple(form["places"])})
            job = Job(**{**job, **lists, "prompts": prompts, "sampling": _sampling(job["sampling"]), "form": form})
        return Command(name=fields["name"], id=fields["id"], job=job, tokens=tuple(fields["tokens"]))
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"not a command: {line[:80]!r}") from error


def _sampling(fields: dict[str, Any]) -> Sampling:
    return Sampling(**{**fields, "logit_bias": tuple((token, bias) for token, bias in fields["logit_bias"])})


def _line(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode("ascii") + b"\n"
