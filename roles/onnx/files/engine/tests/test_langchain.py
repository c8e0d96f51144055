"""LangChain in front of the engine: it makes requests of its own for tools and forms, and streams them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import openai
import pytest
from client import Engine
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field
from shapes import script

MODEL = "phi-4-mini-instruct"
FREE = script("Sure! Here it is:", "<|end|>")


def add(a: Annotated[int, Field(ge=0, le=9)], b: Literal[1, 2]) -> int:
    """Adds two numbers."""
    return a + b


def now() -> str:
    """Tells the time."""
    return "noon"


class City(BaseModel):
    """A place to go to."""

    name: Literal["日本", "Köln"]
    people: Literal[1, 2, 3]


class Trip(BaseModel):
    """Where it goes."""

    stops: Annotated[list[City], Field(min_length=1, max_length=2)]
    back: bool


TRIP = {"stops": [{"name": "日本", "people": 2}], "back": True}
CALL = ("<|tool_call|>", '[{"name":"add","arguments":{"a":3,"b":2}}]', "<|/tool_call|>", "<|end|>")


def given(engine: Engine, **clients: Any) -> dict[str, Any]:
    """How one is made. Its own client of HTTP would never be closed."""
    address = f"http://127.0.0.1:{engine.port}/v1"
    return {"base_url": address, "api_key": "none", "model": MODEL, "max_retries": 0, **clients}


@pytest.fixture(scope="module")
def clients(engine: Engine) -> Iterator[dict[str, ChatOpenAI]]:
    """By the API that they use."""
    with openai.DefaultHttpxClient(timeout=60) as http:
        how = given(engine, http_client=http)
        yield {
            "chat": ChatOpenAI(**how, seed=7),
            "responses": ChatOpenAI(**how, use_responses_api=True, extra_body={"seed": 7}),
        }


@pytest.fixture(params=["chat", "responses"])
def llm(request: pytest.FixtureRequest, clients: dict[str, ChatOpenAI]) -> ChatOpenAI:
    return clients[request.param]


def test_it_asks_and_reads_usage(llm: ChatOpenAI) -> None:
    said = script("Hé", "<|end|>")
    answer = llm.invoke(said)
    assert (answer.text, answer.response_metadata["model_name"]) == ("Hé", MODEL)
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["input_tokens"] == len(said.encode())
    assert answer.usage_metadata["output_tokens"] == 4
    assert [one.text for one in llm.batch([script("a", "<|end|>"), script("b", "<|end|>")])] == ["a", "b"]


@pytest.mark.parametrize("responses", [False, True])
def test_it_asks_without_waiting(engine: Engine, responses: bool) -> None:
    async def asked() -> list[str]:
        async with openai.DefaultAsyncHttpxClient(timeout=60) as http:
            llm = ChatOpenAI(**given(engine, http_async_client=http), use_responses_api=responses)
            said = script("Hé", "<|end|>")
            return [(await llm.ainvoke(said)).text, "".join([piece.text async for piece in llm.astream(said)])]

    assert asyncio.run(asked()) == ["Hé", "Hé"]


def test_a_stream_is_the_answer_in_pieces(llm: ChatOpenAI) -> None:
    pieces = [piece.text for piece in llm.stream(script("Hé!", "<|end|>"))]
    assert "".join(pieces) == "Hé!"
    assert len([piece for piece in pieces if piece]) > 1
    with pytest.raises((openai.APIError, ValueError), match="bad allocation"):
        list(llm.stream(script("x", do="fail")))


def test_usage_logprobs_and_stops_of_a_chat(clients: dict[str, ChatOpenAI]) -> None:
    llm, said = clients["chat"], script("one STOP two", "<|end|>")
    first, *others = llm.stream(said, stream_usage=True, stop=["STOP"])
    whole = sum(others, first)
    assert (whole.text, whole.usage_metadata["output_tokens"]) == ("one ", len("one STOP"))
    answer = llm.bind(logprobs=True, top_logprobs=2, max_tokens=3).invoke(said)
    told = answer.response_metadata["logprobs"]["content"]
    assert "".join(one["token"] for one in told) == answer.text == "one"
    assert answer.response_metadata["finish_reason"] == "length"


@pytest.mark.parametrize(("choice", "forced"), [("auto", False), ("any", True), ("add", True), ("now", True)])
def test_tools_that_are_bound_are_called(llm: ChatOpenAI, choice: str, forced: bool) -> None:
    bound = llm.bind_tools([add, now], tool_choice=choice, parallel_tool_calls=False)
    free = bound.invoke(FREE)
    assert bool(free.tool_calls) is forced
    assert free.invalid_tool_calls == []
    assert choice in ("auto", "any") or [call["name"] for call in free.tool_calls] == [choice]
    if choice != "now":
        [call] = bound.invoke(script(*CALL)).tool_calls
        assert (call["name"], call["args"], bool(call["id"])) == ("add", {"a": 3, "b": 2}, True)


def test_streamed_calls_are_put_together(llm: ChatOpenAI) -> None:
    first, *others = llm.bind_tools([add, now], parallel_tool_calls=False).stream(script(*CALL))
    whole = sum(others, first)
    assert [(call["name"], call["args"]) for call in whole.tool_calls] == [("add", {"a": 3, "b": 2})]


def test_strict_tools_are_held_to_their_schemas(llm: ChatOpenAI) -> None:
    wrong = script("<|tool_call|>", '[{"name":"add","arguments":{"a":77,"b":5}}]', "<|/tool_call|>", "<|end|>")
    for call in llm.bind_tools([add, now], strict=True).invoke(wrong).tool_calls:
        assert call["name"] != "add" or (call["args"]["a"] < 10 and call["args"]["b"] in (1, 2))


def test_what_came_of_a_call_reaches_the_model(llm: ChatOpenAI) -> None:
    called = AIMessage("", tool_calls=[{"name": "add", "args": {"a": 3, "b": 2}, "id": "call_1"}])
    turns = [SystemMessage("Short."), HumanMessage("3+2?"), called, ToolMessage("5", tool_call_id="call_1")]
    messages = json.loads(llm.invoke([*turns, HumanMessage("And now?")]).text)
    assert [(one["role"], one["content"]) for one in messages] == [
        ("system", "Short."),
        ("user", "3+2?"),
        ("assistant", '<|tool_call|>[{"name": "add", "arguments": {"a": 3, "b": 2}}]<|/tool_call|>'),
        ("tool_response", "5"),
        ("user", "And now?"),
    ]


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
# openai's own model of a streamed message says that nothing is parsed.
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_structured_output_is_a_model(llm: ChatOpenAI, method: Any) -> None:
    structured = llm.with_structured_output(Trip, method=method)
    assert isinstance(structured.invoke(FREE), Trip)
    *_, last = structured.stream(FREE)
    assert isinstance(last, Trip)
    raw = llm.with_structured_output(Trip, method=method, strict=True, include_raw=True).invoke(FREE)
    assert raw["parsing_error"] is None
    assert isinstance(raw["parsed"], Trip)


def test_json_mode_is_any_object(llm: ChatOpenAI) -> None:
    said = script(json.dumps(TRIP, ensure_ascii=False, separators=(",", ":")), "<|end|>")
    assert llm.with_structured_output(Trip, method="json_mode").invoke(said) == Trip.model_validate(TRIP)
    assert llm.with_structured_output(None, method="json_mode").invoke(said) == TRIP


def test_a_prompt_that_is_too_long_is_told_as_such(llm: ChatOpenAI) -> None:
    for ask in (llm.invoke, lambda said: list(llm.stream(said))):
        with pytest.raises(ContextOverflowError, match="context length is 400 tokens"):
            ask(script(prompt_tokens=4000))
    with pytest.raises(openai.NotFoundError):
        llm.bind(model="gpt-4o").invoke("hi")
