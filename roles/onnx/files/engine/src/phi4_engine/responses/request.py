"""What POST /v1/responses takes, and the job that it is."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from phi4_engine import chat
from phi4_engine.errors import ApiError, unsupported
from phi4_engine.protocol import (
    Body,
    ContentPart,
    FunctionCall,
    FunctionDefinition,
    Message,
    Sampled,
    TokenCount,
    Tool,
    ToolCall,
    TopLogprobs,
)
from phi4_engine.wire import Job

LOGPROBS = "message.output_text.logprobs"
"""The value of `include` that asks for logprobs."""
_TEXT_PARTS = ("input_text", "output_text", "text")


class Item(Body):
    """One item of the input: a message, a function call that the model made earlier, or what came of it."""

    type: str = "message"
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: str | list[ContentPart] | None = None
    name: str | None = None
    arguments: str = "{}"
    output: str | list[ContentPart] | None = None


def _listed(value: object) -> object:
    """A text is what a user says."""
    return [{"role": "user", "content": value}] if isinstance(value, str) else value


class ResponseTool(FunctionDefinition):
    """A function, without the level that chat completions have between."""

    type: str


class TextFormat(Body):
    """The form of the text."""

    type: str


class TextOptions(Body):
    """What is said of the text of an answer."""

    format: TextFormat | None = None


class ResponsesRequest(Sampled):
    """POST /v1/responses."""

    input: Annotated[
        list[Item],
        BeforeValidator(_listed, json_schema_input_type=str | list[Item]),
        Field(min_length=1, max_length=4096),
    ]
    instructions: str | None = None
    max_output_tokens: TokenCount | None = None
    tools: Annotated[list[ResponseTool], Field(max_length=128)] | None = None
    tool_choice: Any = None
    text: TextOptions | None = None
    top_logprobs: TopLogprobs | None = None
    include: Annotated[list[str], Field(max_length=32)] | None = None
    metadata: Annotated[dict[str, str], Field(max_length=16)] | None = None
    previous_response_id: str | None = None
    conversation: Any = None
    prompt: Any = None
    background: bool | None = None
    store: bool | None = None
    """Ignored: nothing is stored, and the answer says so."""

    @property
    def offered(self) -> list[Tool]:
        """The functions that the model may call."""
        if self.tool_choice == "none":
            return []
        return [Tool(type="function", function=FunctionDefinition(**tool.model_dump())) for tool in self.tools or ()]


def response_job(request: ResponsesRequest, job_id: str, max_tokens: int) -> Job:
    """The job of a checked request, of at most `max_tokens` where it sets no limit of its own.

    Raises ApiError 400 for what this engine does not do.
    """
    _refuse_unsupported(request)
    wanted = LOGPROBS in (request.include or ())
    return Job(
        id=job_id,
        messages=chat.rendered(_messages(request), request.offered),
        max_tokens=max_tokens if request.max_output_tokens is None else request.max_output_tokens,
        sampling=chat.sampling(request),
        logprobs=(request.top_logprobs or 0) if wanted else None,
        field="input",
    )


def _refuse_unsupported(request: ResponsesRequest) -> None:
    for name in ("previous_response_id", "conversation", "prompt"):
        if getattr(request, name) is not None:
            raise unsupported(name, f"{name} is not supported: nothing is stored here, send the whole input.")
    if request.background:
        raise unsupported("background", "background is not supported: nothing is stored here.")
    if request.tool_choice not in (None, "auto", "none"):
        raise unsupported("tool_choice", "only tool_choice 'auto' and 'none' are supported: no call can be forced.")
    if request.text is not None and request.text.format is not None and request.text.format.type != "text":
        raise unsupported(
            "text.format", f"text.format {request.text.format.type[:40]!r} is not supported: only 'text'."
        )
    for at, tool in enumerate(request.tools or ()):
        if tool.type != "function":
            raise unsupported(
                f"tools[{at}].type", f"tools of type {tool.type[:40]!r} are not supported: only functions."
            )


def _messages(request: ResponsesRequest) -> list[Message]:
    found = []
    if request.instructions is not None:
        found.append(Message(role="system", content=_text(request.instructions, "instructions")))
    for at, item in enumerate(request.input):
        found.append(_message(item, f"input[{at}]"))
        if item.type == "function_call" and len(found) > 1 and found[-2].tool_calls:
            # Calls that the model made together are one turn of it.
            calls = [*(found[-2].tool_calls or ()), *(found[-1].tool_calls or ())]
            found[-2:] = [found[-2].model_copy(update={"tool_calls": calls})]
    return found


def _message(item: Item, where: str) -> Message:
    if item.type == "message" and item.role is not None:
        return Message(role=item.role, content=_text(item.content, f"{where}.content"))
    if item.type == "function_call" and item.name:
        call = ToolCall(function=FunctionCall(name=item.name, arguments=item.arguments))
        return Message(role="assistant", tool_calls=[call])
    if item.type == "function_call_output":
        return Message(role="tool", content=_text(item.output, f"{where}.output"))
    if item.type in ("message", "function_call"):
        missing = "role" if item.type == "message" else "name"
        raise ApiError(400, f"{where}.{missing} is missing.", param=f"{where}.{missing}", code="invalid_value")
    told = "this engine reads messages, function_call and function_call_output."
    raise unsupported(f"{where}.type", f"{where} has the type {item.type[:40]!r}: {told}")


def _text(content: str | list[ContentPart] | None, where: str) -> str:
    if content is None:
        raise ApiError(400, f"{where} is missing.", param=where, code="invalid_value")
    if isinstance(content, str):
        return chat.clean(content, where)
    for part in content:
        if part.type not in _TEXT_PARTS or part.text is None:
            raise unsupported(where, f"{where} has a part of type {part.type[:40]!r}: this model reads text only.")
    return chat.clean("".join(part.text or "" for part in content), where)
