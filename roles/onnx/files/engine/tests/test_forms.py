"""Answers of a real model that must have a form: what is asked for is what comes."""

from __future__ import annotations

import concurrent.futures
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import jsonschema_rs
import pytest
from client import Engine, healthy
from openai import OpenAI
from pydantic import BaseModel, Field
from schema_table import USUAL, closed
from shapes import events

SAMPLES = 200
CALLS = 100
LIMIT = 400
WEATHER = closed(city={"enum": ["東京", "Köln", "🎉"]}, days={"type": "integer", "minimum": 1, "maximum": 9})
RESET = {**closed(target={"$ref": "#/$defs/t"}), "$defs": {"t": {"enum": ["a", "b"]}}}
FUNCTIONS: dict[str, dict[str, Any] | None] = {"weather": WEATHER, 'reset "all" 日本': RESET, "now": None}
TOOLS = [
    {"type": "function", "function": {"name": name, **({"parameters": schema} if schema else {})}}
    for name, schema in FUNCTIONS.items()
]


def form(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}


@pytest.fixture(scope="module")
def four(model_dir: Path) -> Iterator[Engine]:
    """The tiny model with four rows."""
    environ = {"PHI4_MODEL_DIR": str(model_dir), "PHI4_MODEL_NAME": "tiny", "PHI4_CONTEXT_LENGTH": "2048"}
    with healthy(environ | {"PHI4_PARALLEL": "4", "PHI4_QUEUE": "64"}) as running:
        yield running


@pytest.fixture
def openai_client(four: Engine) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"http://127.0.0.1:{four.port}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


def ask(engine: Engine, seed: int, **fields: Any) -> Any:
    """The one choice of a sampled answer."""
    answer = engine.chat(f"Number {seed}.", seed=seed, **{"temperature": 1.3, "max_tokens": LIMIT, **fields})
    assert answer.status == 200, answer.body
    return answer.json()["choices"][0]


def sampled(engine: Engine, count: int, **fields: Any) -> list[Any]:
    """So many answers, each with another seed, four at a time."""
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda seed: ask(engine, seed, **fields), range(count)))


@pytest.mark.parametrize("name", USUAL)
def test_sampled_answers_are_valid(four: Engine, name: str) -> None:
    validator = jsonschema_rs.validator_for(USUAL[name], validate_formats=True)
    choices = sampled(four, SAMPLES, response_format=form(USUAL[name]))
    ended = [choice["message"]["content"] for choice in choices if choice["finish_reason"] == "stop"]
    assert len(ended) >= 0.9 * SAMPLES
    for text in ended:
        validator.validate(json.loads(text))
    assert len(set(ended)) > 2
    if name == "enum":
        assert {"日本", "🎉"} <= {json.loads(text)["at"] for text in ended}


def test_any_json_object_is_an_object(four: Engine) -> None:
    for choice in sampled(four, 12, response_format={"type": "json_object"}, max_tokens=100):
        text = choice["message"]["content"]
        assert text.startswith(('{"', "{}"))
        assert choice["finish_reason"] == "length" or isinstance(json.loads(text), dict)


def test_an_answer_that_is_cut_says_so(four: Engine) -> None:
    choice = ask(four, 1, response_format=form({"type": "string", "minLength": 500}), max_tokens=20)
    assert choice["finish_reason"] == "length"
    assert choice["message"]["content"].startswith('"')


def test_a_stop_string_ends_it_as_any_answer(four: Engine) -> None:
    choice = ask(four, 1, response_format=form(USUAL["reference"]), stop=[',"end"'])
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["content"].startswith('{"start":{"x":')
    assert choice["message"]["content"].endswith("}")


def test_a_seed_gives_the_same_text_with_any_neighbours_and_as_a_stream(four: Engine) -> None:
    asked = form(USUAL["nested"])
    alone = [ask(four, seed, response_format=asked)["message"]["content"] for seed in range(8)]
    assert [choice["message"]["content"] for choice in sampled(four, 8, response_format=asked)] == alone
    fields = {"seed": 3, "temperature": 1.3, "max_tokens": LIMIT, "response_format": asked}
    found = [event["choices"][0]["delta"].get("content") or "" for event in events(four, "Number 3.", **fields)[:-1]]
    assert "".join(found) == alone[3]
    assert len([text for text in found if text]) > 3


def test_free_answers_beside_them_are_as_they_were(four: Engine) -> None:
    before = ask(four, 5)["message"]["content"]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        forms = [pool.submit(ask, four, seed, response_format=form(USUAL["nested"])) for seed in range(3)]
        assert pool.submit(ask, four, 5).result()["message"]["content"] == before
        assert all(one.result()["finish_reason"] == "stop" for one in forms)


class City(BaseModel):
    name: Literal["東京", "Köln"]
    people: Literal[1, 2, 3]


class Trip(BaseModel):
    # Without a bound a model that was taught to repeat itself does so up to the limit.
    stops: Annotated[list[City], Field(max_length=3)]
    back: bool


def test_openai_parses_it_into_a_model(openai_client: OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "A trip."}]
    for seed in range(5):
        made = openai_client.chat.completions.parse(
            model="tiny", messages=messages, response_format=Trip, max_tokens=LIMIT, seed=seed
        )
        assert isinstance(made.choices[0].message.parsed, Trip)


def test_a_response_is_parsed_into_a_model_whole_and_streamed(openai_client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": "tiny", "input": "A trip.", "text_format": Trip, "max_output_tokens": LIMIT}
    for seed in range(3):
        made = openai_client.responses.parse(**asked, extra_body={"seed": seed})
        assert isinstance(made.output_parsed, Trip)
        with openai_client.responses.stream(**asked, extra_body={"seed": seed}) as stream:
            texts = [event.delta for event in stream if event.type == "response.output_text.delta"]
            final = stream.get_final_response()
        assert final.output_parsed == made.output_parsed
        assert "".join(texts) == made.output_text


@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "weather"}])
def test_calls_of_a_response_have_valid_arguments(openai_client: OpenAI, choice: Any) -> None:
    tools: Any = [{"type": "function", **tool["function"]} for tool in TOOLS]
    for seed in range(6):
        made = openai_client.responses.create(
            model="tiny", input="Go.", tools=tools, tool_choice=choice, temperature=1.3, extra_body={"seed": seed}
        )
        assert made.output
        for item in made.output:
            assert item.type == "function_call"
            schema = FUNCTIONS[item.name] or {"type": "object", "maxProperties": 0}
            jsonschema_rs.validator_for(schema).validate(json.loads(item.arguments))
        assert choice == "required" or [item.name for item in made.output] == ["weather"]  # type: ignore[union-attr]


def test_nothing_is_invented_beside_what_a_schema_names(four: Engine) -> None:
    schema = {"type": "object", "properties": {"city": {"enum": ["a", "b"]}, "n": {"enum": [1, 2]}}, "required": ["n"]}
    function = {"name": "f", "parameters": schema}
    fields = {"tools": [{"type": "function", "function": function}], "tool_choice": "required"}
    called = [choice["message"]["tool_calls"] for choice in sampled(four, 24, **fields)]
    found = [json.loads(call["function"]["arguments"]) for calls in called for call in calls]
    found += [json.loads(one["message"]["content"]) for one in sampled(four, 24, response_format=form(schema))]
    assert len(found) >= 48
    assert all({"n"} <= one.keys() <= {"city", "n"} for one in found), found


def checked_calls(choice: Any) -> list[str]:
    """The names of its calls, whose arguments are valid."""
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    calls = [call["function"] for call in choice["message"]["tool_calls"]]
    for call in calls:
        schema = FUNCTIONS[call["name"]] or {"type": "object", "maxProperties": 0}
        jsonschema_rs.validator_for(schema).validate(json.loads(call["arguments"]))
    return [call["name"] for call in calls]


def test_forced_calls_are_calls_with_valid_arguments(four: Engine) -> None:
    found = [checked_calls(choice) for choice in sampled(four, CALLS, tools=TOOLS, tool_choice="required")]
    assert {name for names in found for name in names} == set(FUNCTIONS)
    assert max(map(len, found)) > 1


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_named_function_is_called_once(four: Engine, name: str) -> None:
    choice = {"type": "function", "function": {"name": name}}
    for one in sampled(four, 12, tools=TOOLS, tool_choice=choice):
        assert checked_calls(one) == [name]


def test_without_parallel_calls_there_is_one(four: Engine) -> None:
    fields = {"tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": False}
    assert {len(checked_calls(choice)) for choice in sampled(four, 24, **fields)} == {1}


def test_a_streamed_call_is_the_same(four: Engine) -> None:
    fields = {"tools": TOOLS, "tool_choice": "required", "seed": 4, "temperature": 1.3, "max_tokens": LIMIT}
    whole = ask(four, 4, tools=TOOLS, tool_choice="required")["message"]["tool_calls"]
    found = events(four, "Number 4.", **fields)
    [streamed] = [
        event["choices"][0]["delta"]["tool_calls"]
        for event in found[:-1]
        if "tool_calls" in event["choices"][0]["delta"]
    ]
    assert [call["function"] for call in streamed] == [call["function"] for call in whole]
    assert found[-2]["choices"][0]["finish_reason"] == "tool_calls"


def test_with_a_form_and_tools_the_model_chooses(four: Engine) -> None:
    validator = jsonschema_rs.validator_for(USUAL["choice"])
    kinds = set()
    for choice in sampled(four, 24, tools=TOOLS, response_format=form(USUAL["choice"])):
        kinds.add(choice["finish_reason"])
        if choice["finish_reason"] == "tool_calls":
            checked_calls(choice)
        else:
            validator.validate(json.loads(choice["message"]["content"]))
    assert "stop" in kinds
