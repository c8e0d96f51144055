"""The request bodies of the engine. Unknown fields are ignored; known ones that it cannot honour are refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

_MAX_TOKENS = 2**31 - 1
_INT64 = 2**63


def _true_number(value: object) -> object:
    """JSON's true is 1 for Python; for a caller it is a mistake."""
    if isinstance(value, bool):
        raise ValueError("must be a number, not a boolean")
    return value


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


Temperature = Annotated[float, BeforeValidator(_true_number), Field(ge=0, le=2, allow_inf_nan=False)]
TopP = Annotated[float, BeforeValidator(_true_number), Field(ge=0, le=1, allow_inf_nan=False)]
Penalty = Annotated[float, BeforeValidator(_true_number), Field(ge=-2, le=2, allow_inf_nan=False)]
TokenCount = Annotated[int, BeforeValidator(_true_number), Field(ge=1, le=_MAX_TOKENS)]
StopString = Annotated[str, Field(min_length=1, max_length=256)]
_STOP = {"type": "string", "minLength": 1, "maxLength": 256}
Stops = Annotated[
    list[StopString],
    BeforeValidator(_listed),
    Field(max_length=4),
    WithJsonSchema({"anyOf": [_STOP, {"type": "array", "items": _STOP, "maxItems": 4}]}),
]


class _Body(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class ContentPart(_Body):
    """One part of a message; only text can be shown to this model."""

    type: str
    text: str | None = None


class FunctionCall(_Body):
    """A call that the model made earlier in the conversation; `arguments` is JSON text."""

    name: str
    arguments: str = "{}"


class ToolCall(_Body):
    """A tool call in the history."""

    function: FunctionCall


class Message(_Body):
    """One turn of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[ContentPart] | None = None
    tool_calls: list[ToolCall] | None = None


class FunctionDefinition(_Body):
    """What the model is told about a function."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(_Body):
    """A tool that the model may call."""

    type: Literal["function"]
    function: FunctionDefinition


class FunctionName(_Body):
    """One of the functions that are offered."""

    name: str


class NamedChoice(_Body):
    """The one tool that must be called."""

    type: Literal["function"]
    function: FunctionName


class StreamOptions(_Body):
    """What a stream carries besides the answer."""

    include_usage: bool | None = None


class JsonSchema(_Body):
    """What the answer must be valid against; `strict` or not, it is."""

    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None


class ResponseFormat(_Body):
    """The form of the answer."""

    type: str
    json_schema: JsonSchema | None = None


class ChatRequest(_Body):
    """POST /v1/chat/completions."""

    model: str | None = None
    messages: Annotated[list[Message], Field(min_length=1, max_length=4096)]
    max_tokens: TokenCount | None = None
    max_completion_tokens: TokenCount | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    seed: Annotated[int, BeforeValidator(_true_number), Field(ge=-_INT64, lt=_INT64)] | None = None
    stop: Stops | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, BeforeValidator(_true_number)] | None = None
    tools: Annotated[list[Tool], Field(max_length=128)] | None = None
    tool_choice: Literal["auto", "none", "required"] | NamedChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    logit_bias: dict[str, float] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    functions: Any = None
    function_call: Any = None
    modalities: list[str] | None = None
    audio: Any = None

    @property
    def limit(self) -> int | None:
        """Tokens to generate at most; the newer name wins."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens


class ReasoningRequest(_Body):
    """POST /reasoning: `max_length` counts new tokens."""

    prompt: Annotated[str, Field(min_length=1)]
    task_type: Literal["reasoning", "coding", "math"] = "reasoning"
    max_length: TokenCount = 200
    temperature: Temperature = 0.3
