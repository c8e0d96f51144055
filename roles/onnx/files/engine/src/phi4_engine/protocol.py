"""The request bodies of the engine. Unknown fields are ignored; known ones that it cannot honour are refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from phi4_engine.parameters import (
    AnswerLimit,
    Choices,
    LogitBias,
    Penalty,
    Prompts,
    RepeatPenalty,
    RepetitionPenalty,
    Seed,
    Stops,
    Temperature,
    TokenCount,
    TokenId,
    TopK,
    TopLogprobs,
    TopP,
)


class Body(BaseModel):
    """What all of them have in common."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class ContentPart(Body):
    """One part of a message; only text can be shown to this model."""

    type: str
    text: str | None = None


class FunctionCall(Body):
    """A call that the model made earlier in the conversation; `arguments` is JSON text."""

    name: str
    arguments: str = "{}"


class ToolCall(Body):
    """A tool call in the history."""

    function: FunctionCall


class Message(Body):
    """One turn of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[ContentPart] | None = None
    tool_calls: list[ToolCall] | None = None


class FunctionDefinition(Body):
    """What the model is told about a function."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Body):
    """A tool that the model may call."""

    type: Literal["function"]
    function: FunctionDefinition


class FunctionName(Body):
    """One of the functions that are offered."""

    name: str


class NamedChoice(Body):
    """The one tool that must be called."""

    type: Literal["function"]
    function: FunctionName


class AllowedTools(Body):
    """The functions that may be called this time, of all that are offered, and whether one must be."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedChoice], Field(min_length=1, max_length=128)]


class AllowedChoice(Body):
    """Only some of the tools may be called."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


class StreamOptions(Body):
    """What a stream carries besides the answer."""

    include_usage: bool | None = None


class JsonSchema(Body):
    """What the answer must be valid against; `strict` or not, it is."""

    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None


class ResponseFormat(JsonSchema):
    """The form of the answer. `schema` beside the type is llama.cpp's way to say what a json_object must be."""

    type: str
    json_schema: JsonSchema | None = None


class Sampled(Body):
    """What all that is generated says of how its tokens are drawn."""

    model: str | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_k: TopK | None = None
    min_p: TopP | None = None
    seed: Seed | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    repetition_penalty: RepetitionPenalty | None = None
    repeat_penalty: RepeatPenalty = None
    logit_bias: LogitBias | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None


class Completed(Sampled):
    """What both kinds of completions have besides."""

    stop: Stops | None = None
    n: Choices | None = None
    grammar: Any = None
    json_schema: Any = None
    guided_json: Any = None
    structured_outputs: Any = None


class ChatRequest(Completed):
    """POST /v1/chat/completions."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=4096)]
    max_tokens: AnswerLimit | None = None
    max_completion_tokens: AnswerLimit | None = None
    tools: Annotated[list[Tool], Field(max_length=128)] | None = None
    tool_choice: Literal["auto", "none", "required"] | NamedChoice | AllowedChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None
    functions: Any = None
    function_call: Any = None
    modalities: list[str] | None = None
    audio: Any = None

    @property
    def limit(self) -> int | None:
        """Tokens to generate at most; the newer name wins."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens


class CompletionRequest(Completed):
    """POST /v1/completions."""

    prompt: Prompts
    max_tokens: AnswerLimit | None = None
    logprobs: TopLogprobs | None = None
    echo: bool | None = None
    suffix: str | None = None
    best_of: Choices | None = None


class TokenizeRequest(Body):
    """POST /tokenize: a text as it is, or messages in the chat template."""

    model: str | None = None
    prompt: Annotated[str | None, Field(validation_alias=AliasChoices("prompt", "content"))] = None
    """llama.cpp calls it content."""
    messages: Annotated[list[Message], Field(min_length=1, max_length=4096)] | None = None
    tools: Annotated[list[Tool], Field(max_length=128)] | None = None
    add_generation_prompt: bool | None = None
    return_token_strs: bool | None = None
    with_pieces: bool | None = None


class DetokenizeRequest(Body):
    """POST /detokenize."""

    model: str | None = None
    tokens: list[TokenId]


class ReasoningRequest(Body):
    """POST /reasoning: `max_length` counts new tokens."""

    prompt: Annotated[str, Field(min_length=1)]
    task_type: Literal["reasoning", "coding", "math"] = "reasoning"
    max_length: TokenCount = 200
    temperature: Temperature = 0.3
