"""From a request to what the model's chat template takes, and from the model's text back to tool calls."""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NoReturn

from phi4_engine import forms
from phi4_engine.errors import ApiError, unsupported
from phi4_engine.forms import Wish
from phi4_engine.protocol import AllowedChoice, ChatRequest, Completed, Message, ReasoningRequest, Sampled, Tool
from phi4_engine.wire import Job, Sampling

TASK_PROMPTS: Mapping[str, str] = {
    "reasoning": "Think step by step and show your reasoning clearly:",
    "math": "Solve this mathematical problem step by step:",
    "coding": "Write clean, well-commented code for this task:",
}
_TOOLS_WITHOUT_SYSTEM = "You are a helpful assistant with some tools."
"""The system message of the tool example on the model card of microsoft/Phi-4-mini-instruct."""
_FOREIGN_FORMS = ("grammar", "json_schema", "guided_json", "structured_outputs")
"""llama.cpp's and vLLM's own ways to ask for a form."""
_ROLES = {"developer": "system", "tool": "tool_response"}
"""OpenAI's roles that the template would render as a token of another meaning (<|tool|> opens tool definitions)."""


def chat_job(request: ChatRequest, job_id: str, max_tokens: int) -> Job:
    """The job of a checked request, of at most `max_tokens` where it sets no limit of its own.

    Raises ApiError 400 for what this engine does not do.
    """
    refuse_unsupported(request)
    asked = wish(request)
    return Job(
        id=job_id,
        messages=rendered(request.messages, asked.shown),
        max_tokens=max_tokens if request.limit is None else request.limit,
        sampling=sampling(request),
        stop=tuple(request.stop or ()),
        logprobs=(request.top_logprobs or 0) if request.logprobs else None,
        n=request.n or 1,
        form=forms.wanted(asked),
    )


def wish(request: ChatRequest) -> Wish:
    """What the request says of the form of its answer."""
    said = request.tool_choice
    allowed = said.allowed_tools if isinstance(said, AllowedChoice) else None
    return Wish(
        tools=request.tools or (),
        choice=said.allowed_tools.mode if isinstance(said, AllowedChoice) else said,
        parallel=request.parallel_tool_calls,
        format=request.response_format,
        format_name="response_format",
        schema_name="json_schema.schema",
        arguments="tools[{}].function.parameters",
        allowed=frozenset(one.function.name for one in allowed.tools) if allowed else None,
    )


def rendered(messages: Sequence[Message], tools: Sequence[Tool]) -> tuple[dict[str, Any], ...]:
    """The messages as the chat template takes them. Raises ApiError 400 for what the model cannot read."""
    return tuple(with_tools([_message(at, one) for at, one in enumerate(messages)], tools))


def sampling(request: Sampled) -> Sampling:
    """What the request says of how tokens are drawn; OpenAI's defaults for what it leaves out."""
    names = ("temperature", "top_p", "top_k", "min_p", "seed", "frequency_penalty", "presence_penalty")
    said = {name: getattr(request, name) for name in (*names, "repeat_penalty", "repetition_penalty")}
    repetition = said.pop("repeat_penalty")
    if said["repetition_penalty"] is None:
        said["repetition_penalty"] = repetition
    bias = tuple((int(token), value) for token, value in (request.logit_bias or {}).items() if value)
    return Sampling(**{name: value for name, value in said.items() if value is not None}, logit_bias=bias)


def reasoning_job(request: ReasoningRequest, job_id: str) -> Job:
    """The task's prompt as system message, the caller's as user message."""
    messages = (
        {"role": "system", "content": TASK_PROMPTS[request.task_type]},
        {"role": "user", "content": clean(request.prompt, "prompt")},
    )
    return Job(id=job_id, messages=messages, max_tokens=request.max_length, sampling=Sampling(request.temperature))


def refuse_unsupported(request: ChatRequest) -> None:
    """Raises ApiError 400 for a request that would otherwise get something else than it asks for."""
    if request.modalities not in (None, ["text"]):
        raise unsupported("modalities", "only the modality 'text' is supported.")
    if request.top_logprobs and not request.logprobs:
        raise ApiError(400, "top_logprobs needs logprobs to be true.", param="top_logprobs", code="invalid_value")
    refuse_foreign_forms(request)
    for name in ("functions", "function_call", "audio"):
        if getattr(request, name) is not None:
            raise unsupported(name, f"{name} is not supported by this engine: leave it out, or use tools.")


def refuse_foreign_forms(request: Completed) -> None:
    """Raises ApiError 400 where an answer in a form is asked for in a way that would get one without it."""
    for name in _FOREIGN_FORMS:
        # Some clients send an empty text for none.
        if getattr(request, name) not in (None, ""):
            raise unsupported(name, f"{name} is not supported by this engine: use response_format of chat completions.")


def with_tools(messages: list[dict[str, Any]], tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """The template shows tools only where the system message has a `tools` key that holds JSON text."""
    if not tools:
        return messages
    told = [tool.function.model_dump(exclude_none=True, exclude={"strict"}) for tool in tools]
    text = json.dumps(told, ensure_ascii=False)
    for at, message in enumerate(messages):
        if message["role"] == "system":
            return [*messages[:at], message | {"tools": text}, *messages[at + 1 :]]
    return [{"role": "system", "content": _TOOLS_WITHOUT_SYSTEM, "tools": text}, *messages]


def permitted_calls(wish: Wish, text: str | None) -> list[dict[str, Any]]:
    """The calls that a client gets: of several, one that asked for a single call runs no other than the first."""
    calls = tool_calls(text, {tool.function.name for _, tool in forms.called(wish)})
    return calls[:1] if wish.single else calls


def tool_calls(text: str | None, names: Collection[str]) -> list[dict[str, Any]]:
    """OpenAI tool calls from what the model wrote between its tool-call tokens, which may be several blocks.

    Empty when any of it is no call of a function in `names`: a client would run what it gets.
    """
    try:
        found = [_call(one, names) for one in _blocks(text or "")]
    except (ValueError, RecursionError):
        return []
    return [{"id": f"call_{uuid.uuid4().hex[:24]}", "type": "function", "function": call} for call in found]


def _blocks(text: str) -> list[Any]:
    """The JSON values that stand one after another, lists of them opened. Raises ValueError for anything else."""
    found: list[Any] = []
    rest = text.strip()
    while rest:
        value, end = _JSON.raw_decode(rest)
        found += value if isinstance(value, list) else [value]
        rest = rest[end:].lstrip()
    return found


def _call(written: Any, names: Collection[str]) -> dict[str, str]:
    """OpenAI's function object of one call. Raises ValueError for what is none."""
    call = written.get("function", written) if isinstance(written, dict) else None
    name = call.get("name") if isinstance(call, dict) else None
    if call is None or not isinstance(name, str) or name not in names:
        raise ValueError("no function that was offered")
    arguments = call.get("arguments", call.get("parameters"))
    if isinstance(arguments, str):
        arguments = _JSON.decode(arguments)
    if not isinstance(arguments, dict | None):
        raise ValueError("arguments that are no object")
    return {"name": name, "arguments": json.dumps(arguments or {}, ensure_ascii=False)}


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_JSON = json.JSONDecoder(parse_constant=_no_constant)


def _message(at: int, message: Message) -> dict[str, Any]:
    where = f"messages[{at}].content"
    content = clean(_content(message, where), where)
    if message.tool_calls:
        calls = [{"name": c.function.name, "arguments": _arguments(c.function.arguments)} for c in message.tool_calls]
        content += f"<|tool_call|>{json.dumps(calls, ensure_ascii=False)}<|/tool_call|>"
    return {"role": _ROLES.get(message.role, message.role), "content": content}


def _content(message: Message, where: str) -> str:
    if isinstance(message.content, str):
        return message.content
    if message.content is None:
        if message.role == "assistant":
            return ""
        raise ApiError(400, f"{where} is missing: a {message.role} message needs text.", param=where)
    for part in message.content:
        if part.type != "text" or part.text is None:
            raise unsupported(where, f"{where} has a part of type {part.type!r}: this model reads text parts only.")
    return "".join(part.text or "" for part in message.content)


def _arguments(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def clean(text: str, where: str) -> str:
    """The text as it is; raises ApiError 400 where the tokenizer could not read it."""
    if "\0" in text:
        raise ApiError(400, f"{where} contains a NUL character, which the tokenizer cannot read.", param=where)
    return text
