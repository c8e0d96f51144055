"""What POST /v1/responses takes, and the job that it is."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from phi4_engine import chat, forms
from phi4_engine.errors import ApiError, unsupported
from phi4_engine.forms import Wish
from phi4_engine.parameters import TokenCount, TopLogprobs
from phi4_engine.protocol import (
    Body,
    ContentPart,
    FunctionCall,
    FunctionDefinition,
    FunctionName,
    JsonSchema,
    Message,
    NamedChoice,
    ResponseFormat,
    Sampled,
    Tool,
    ToolCall,
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


class ChosenTool(Body):
    """The one tool that must be called; only a function can be."""

    type: str
    name: str | None = None


class AllowedFunctions(Body):
    """Only these functions may be called; whether one must be."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"] = "auto"
    tools: Annotated[list[ChosenTool], Field(min_length=1, max_length=128)]


class TextFormat(JsonSchema):
    """The form of the text, without the level that chat completions have between."""

    type: str
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


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
    tool_choice: Literal["auto", "none", "required"] | AllowedFunctions | ChosenTool | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    top_logprobs: TopLogprobs | None = None
    include: Annotated[list[str], Field(max_length=32)] | None = None
    metadata: Annotated[dict[str, str], Field(max_length=16)] | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    """Told again in the answer, as is what identifies the client: prompts that begin alike need no key here."""
    previous_response_id: str | None = None
    conversation: Any = None
    prompt: Any = None
    background: bool | None = None
    store: bool | None = None
    """Ignored: nothing is stored, and the answer says so."""


def response_job(request: ResponsesRequest, job_id: str, max_tokens: int) -> Job:
    """The job of a checked request, of at most `max_tokens` where it sets no limit of its own.

    Raises ApiError 400 for what this engine does not do.
    """
    _refuse_unsupported(request)
    wanted, asked = LOGPROBS in (request.include or ()), wish(request)
    return Job(
        id=job_id,
        messages=chat.rendered(_messages(request), asked.shown),
        max_tokens=max_tokens if request.max_output_tokens is None else request.max_output_tokens,
        sampling=chat.sampling(request),
        logprobs=(request.top_logprobs or 0) if wanted else None,
        field="input",
        form=forms.wanted(asked),
    )


def wish(request: ResponsesRequest) -> Wish:
    """What a checked request says of the form of its answer."""
    form = request.text.format if request.text else None
    choice, allowed = _choice(request)
    functions = [FunctionDefinition(**tool.model_dump(exclude={"type"})) for tool in request.tools or ()]
    return Wish(
        tools=[Tool(type="function", function=one) for one in functions],
        choice=choice,
        parallel=request.parallel_tool_calls,
        format=_format(form) if form else None,
        format_name="text.format",
        schema_name="schema",
        arguments="tools[{}].parameters",
        allowed=allowed,
    )


def _format(form: TextFormat) -> ResponseFormat:
    schema = {"schema": form.schema_}
    return ResponseFormat.model_validate({"type": form.type, "json_schema": schema, **schema})


def _choice(request: ResponsesRequest) -> tuple[str | NamedChoice | None, frozenset[str] | None]:
    """What must be called, and the names of those that may be where not all may."""
    said = request.tool_choice
    if isinstance(said, AllowedFunctions):
        return said.mode, frozenset(one.name or "" for one in said.tools)
    if isinstance(said, ChosenTool):
        return NamedChoice(type="function", function=FunctionName(name=said.name or "")), None
    return said, None


def _refuse_unsupported(request: ResponsesRequest) -> None:
    for name in ("previous_response_id", "conversation", "prompt"):
        if getattr(request, name) is not None:
            raise unsupported(name, f"{name} is not supported: nothing is stored here, send the whole input.")
    if request.background:
        raise unsupported("background", "background is not supported: nothing is stored here.")
    choice = request.tool_choice
    for chosen in choice.tools if isinstance(choice, AllowedFunctions) else [choice]:
        if isinstance(chosen, ChosenTool) and chosen.type != "function":
            told = "only auto, none, required, a function by its name, and allowed_tools with a list of functions."
            raise unsupported("tool_choice", f"tool_choice of type {chosen.type[:40]!r} is not supported: {told}")
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
