"""What programs do with OpenAI's client, one behaviour each, asked of the taught tiny model."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal

import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel

MODEL, PARIS = "tiny", "The capital of France is Paris."
ASKED = [{"role": "user", "content": "What is the capital of France?"}]
WEATHER = [{"role": "user", "content": "What is the weather in Rome?"}]
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "The name of the city"}},
            "required": ["city"],
        },
    },
}
Behaviour = Callable[[OpenAI], None]
BEHAVIOURS: dict[str, Behaviour] = {}


class City(BaseModel):
    """A place, in words that any model can write within the form."""

    name: Literal["Paris", "Rome"]
    big: bool


SCHEMA = {"name": "city", "schema": City.model_json_schema(), "strict": True}


def behaviour(function: Behaviour) -> Behaviour:
    """A row of the table."""
    BEHAVIOURS[function.__name__] = function
    return function


def ask(client: OpenAI, messages: list[Any] = ASKED, **fields: Any) -> Any:
    """A chat completion, greedy unless it is asked otherwise."""
    return client.chat.completions.create(
        **{"model": MODEL, "messages": messages, "temperature": 0, "max_tokens": 24} | fields
    )


def said(client: OpenAI, messages: list[Any] = ASKED, **fields: Any) -> str:
    """The text of the first answer."""
    return str(ask(client, messages, **fields).choices[0].message.content)


def streamed(chunks: Any) -> str:
    """The text of a stream's first answer."""
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


@behaviour
def lists_models(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]


@behaviour
def retrieves_a_model(client: OpenAI) -> None:
    assert client.models.retrieve(MODEL).object == "model"


@behaviour
def is_told_that_there_is_no_such_model(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        ask(client, model="gpt-4o")


@behaviour
def asks_a_question(client: OpenAI) -> None:
    answer = ask(client)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (PARIS, "stop")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


@behaviour
def sends_a_system_message(client: OpenAI) -> None:
    assert said(client, [{"role": "system", "content": "Answer briefly."}, *ASKED]) == PARIS


@behaviour
def sends_a_developer_message(client: OpenAI) -> None:
    assert said(client, [{"role": "developer", "content": "Answer briefly."}, *ASKED]) == PARIS


@behaviour
def goes_on_with_a_conversation(client: OpenAI) -> None:
    turns = (("user", "My name is Carla."), ("assistant", "Nice to meet you, Carla!"))
    before = [{"role": role, "content": content} for role, content in turns]
    assert said(client, [*before, {"role": "user", "content": "What is my name?"}]) == "Your name is Carla."


@behaviour
def sends_text_in_parts(client: OpenAI) -> None:
    assert said(client, [{"role": "user", "content": [{"type": "text", "text": ASKED[0]["content"]}]}]) == PARIS


@behaviour
def streams(client: OpenAI) -> None:
    assert streamed(ask(client, stream=True)) == PARIS


@behaviour
def streams_with_usage(client: OpenAI) -> None:
    *_, last = ask(client, stream=True, stream_options={"include_usage": True})
    assert last.choices == [] and last.usage.completion_tokens > 3


@behaviour
def streams_with_the_clients_own_helper(client: OpenAI) -> None:
    with client.chat.completions.stream(model=MODEL, messages=ASKED, temperature=0) as stream:
        assert stream.until_done().get_final_completion().choices[0].message.content == PARIS


@behaviour
def leaves_a_stream(client: OpenAI) -> None:
    stream = ask(client, stream=True)
    next(stream)
    stream.close()
    assert said(client) == PARIS


@behaviour
def stops_at_a_text(client: OpenAI) -> None:
    assert said(client, stop=" Paris") == PARIS.removesuffix(" Paris.")


@behaviour
def stops_at_one_of_several(client: OpenAI) -> None:
    assert said(client, stop=["Rome", " is"]) == "The capital of France"


@behaviour
def limits_tokens(client: OpenAI) -> None:
    answer = ask(client, max_tokens=3)
    assert (answer.choices[0].finish_reason, answer.usage.completion_tokens) == ("length", 3)


@behaviour
def limits_completion_tokens(client: OpenAI) -> None:
    assert ask(client, max_tokens=None, max_completion_tokens=2).usage.completion_tokens == 2


@behaviour
def is_answered_alike_with_a_seed(client: OpenAI) -> None:
    first, second = (said(client, temperature=1.5, seed=7) for _ in range(2))
    assert first == second


@behaviour
def draws_from_the_likely(client: OpenAI) -> None:
    assert said(client, temperature=1, top_p=0.01) == PARIS


@behaviour
def gets_several_answers(client: OpenAI) -> None:
    assert [choice.index for choice in ask(client, n=3).choices] == [0, 1, 2]


@behaviour
def streams_several_answers(client: OpenAI) -> None:
    chunks = list(ask(client, n=2, stream=True))
    assert {choice.index for chunk in chunks for choice in chunk.choices} == {0, 1}


@behaviour
def reads_logprobs(client: OpenAI) -> None:
    found = ask(client, logprobs=True, top_logprobs=3).choices[0].logprobs.content
    assert "".join(one.token for one in found) == PARIS
    assert all(len(one.top_logprobs) == 3 and one.logprob <= 0 for one in found)


@behaviour
def forbids_a_token(client: OpenAI) -> None:
    tokens = client.post("/../tokenize", body={"prompt": " Paris"}, cast_to=object)["tokens"]  # type: ignore[index]
    assert "Paris" not in said(client, logit_bias={str(token): -100 for token in tokens})


@behaviour
def penalizes_frequency(client: OpenAI) -> None:
    assert ask(client, frequency_penalty=1.5).choices[0].finish_reason in ("stop", "length")


@behaviour
def penalizes_presence(client: OpenAI) -> None:
    assert ask(client, presence_penalty=-1.5).choices[0].finish_reason in ("stop", "length")


@behaviour
def gets_json(client: OpenAI) -> None:
    answer = ask(client, response_format={"type": "json_object"}, max_tokens=200)
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(answer.choices[0].message.content), dict)


@behaviour
def gets_json_of_a_schema(client: OpenAI) -> None:
    text = said(client, response_format={"type": "json_schema", "json_schema": SCHEMA}, max_tokens=100)
    City.model_validate_json(text)


@behaviour
def parses_an_answer(client: OpenAI) -> None:
    parsed = client.chat.completions.parse(model=MODEL, messages=ASKED, response_format=City, max_tokens=100)
    assert isinstance(parsed.choices[0].message.parsed, City)


@behaviour
def is_called_back(client: OpenAI) -> None:
    answer = ask(client, WEATHER, tools=[TOOL]).choices[0]
    (call,) = answer.message.tool_calls
    assert (answer.finish_reason, call.function.name) == ("tool_calls", "get_weather")
    assert json.loads(call.function.arguments) == {"city": "Rome"}


@behaviour
def forces_a_call(client: OpenAI) -> None:
    answer = ask(client, tools=[TOOL], tool_choice="required", max_tokens=200).choices[0].message
    assert answer.tool_calls[0].function.name == "get_weather"


@behaviour
def forces_one_function(client: OpenAI) -> None:
    named = {"type": "function", "function": {"name": "get_weather"}}
    (call,) = ask(client, tools=[TOOL], tool_choice=named, max_tokens=200).choices[0].message.tool_calls
    assert isinstance(json.loads(call.function.arguments)["city"], str)


@behaviour
def forbids_calls(client: OpenAI) -> None:
    assert not ask(client, WEATHER, tools=[TOOL], tool_choice="none").choices[0].message.tool_calls


@behaviour
def wants_one_call_at_a_time(client: OpenAI) -> None:
    assert len(ask(client, WEATHER, tools=[TOOL], parallel_tool_calls=False).choices[0].message.tool_calls) == 1


@behaviour
def tells_what_a_function_gave(client: OpenAI) -> None:
    (call,) = ask(client, WEATHER, tools=[TOOL]).choices[0].message.tool_calls
    turns = [
        *WEATHER,
        {"role": "assistant", "content": None, "tool_calls": [call.model_dump()]},
        {"role": "tool", "tool_call_id": call.id, "content": '{"degrees": 7}'},
    ]
    assert said(client, turns, tools=[TOOL])


@behaviour
def streams_calls(client: OpenAI) -> None:
    chunks = [chunk.choices[0] for chunk in ask(client, WEATHER, tools=[TOOL], stream=True) if chunk.choices]
    assert chunks[-1].finish_reason == "tool_calls"
    assert [call.function.name for chunk in chunks for call in chunk.delta.tool_calls or ()] == ["get_weather"]


@behaviour
def sends_what_means_nothing_here(client: OpenAI) -> None:
    extra: dict[str, Any] = {"user": "somebody", "metadata": {"a": "b"}, "store": False, "service_tier": "auto"}
    assert said(client, **extra, reasoning_effort="low") == PARIS
