"""OpenAI's own client in front of the engine: what most programs ask with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from client import Engine
from conftest import StartEngine
from openai import OpenAI
from shapes import TOOL, script

MODEL = "phi-4-mini-instruct"
ADD = '{"name":"add","arguments":{"a":1}}'


def client_of(engine: Engine) -> OpenAI:
    return OpenAI(base_url=f"http://127.0.0.1:{engine.port}/v1", api_key="none", max_retries=0, timeout=60)


@pytest.fixture(scope="module")
def client(engine: Engine) -> Iterator[OpenAI]:
    with client_of(engine) as found:
        yield found


def ask(client: OpenAI, content: str, **fields: Any) -> Any:
    return client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": content}], **fields)


def test_it_lists_the_model_and_asks_it(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).id == MODEL
    made = ask(client, script("Hi.", "<|end|>"))
    assert made.choices[0].message.content == "Hi."
    assert (made.choices[0].finish_reason, made.usage.completion_tokens) == ("stop", 4)
    assert made.usage.prompt_tokens_details.cached_tokens == 0
    assert made._request_id


def test_it_reads_a_stream_with_comments(start: StartEngine) -> None:
    engine = start(FAKE_COMMENT="0.1")
    engine.wait_for(200)
    with client_of(engine) as client:
        said = script("Hé", "<|end|>", prefill=0.7)
        chunks = list(ask(client, said, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Hé"
    assert chunks[-1].usage.completion_tokens == 4


def test_it_reads_a_failure_in_the_middle_of_a_stream(client: OpenAI) -> None:
    with pytest.raises(openai.APIError, match="bad allocation"):
        list(ask(client, script("x", do="fail"), stream=True))


def test_it_reads_logprobs_and_several_answers(start: StartEngine) -> None:
    engine = start(PHI4_PARALLEL="2")
    engine.wait_for(200)
    with client_of(engine) as client:
        made = ask(client, script("Hé", "<|end|>"), n=2, logprobs=True, top_logprobs=3)
        assert [choice.index for choice in made.choices] == [0, 1]
        for choice in made.choices:
            assert "".join(one.token for one in choice.logprobs.content) == choice.message.content == "Hé"
            assert [len(one.top_logprobs) for one in choice.logprobs.content] == [3, 3, 3]
        streamed: dict[int, str] = {0: "", 1: ""}
        for chunk in ask(client, script("Hé", "<|end|>"), n=2, logprobs=True, stream=True):
            for choice in chunk.choices:
                streamed[choice.index] += (
                    "".join(one.token for one in choice.logprobs.content) if choice.logprobs else ""
                )
        assert streamed == {0: "Hé", 1: "Hé"}


def test_it_gathers_tool_calls_whole_and_streamed(client: OpenAI) -> None:
    said = script("<|tool_call|>", ADD, "<|/tool_call|>", "<|end|>")
    [call] = ask(client, said, tools=[TOOL]).choices[0].message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("add", {"a": 1})
    with client.chat.completions.stream(
        model=MODEL, messages=[{"role": "user", "content": said}], tools=[TOOL]
    ) as stream:
        message = stream.get_final_completion().choices[0].message
    assert [one.function.name for one in message.tool_calls or []] == ["add"]


@pytest.mark.parametrize(
    ("fields", "kind", "code"),
    [
        ({"model": "gpt-4o"}, openai.NotFoundError, "model_not_found"),
        ({"temperature": 3}, openai.BadRequestError, "invalid_value"),
        ({"n": 2}, openai.BadRequestError, "invalid_value"),
        ({"messages": [{"role": "user", "content": script(prompt_tokens=4000)}]}, openai.BadRequestError,
         "context_length_exceeded"),
        ({"messages": [{"role": "user", "content": script(prompt_tokens=4000)}], "stream": True},
         openai.BadRequestError, "context_length_exceeded"),
        ({"messages": [{"role": "user", "content": script(do="fail")}]}, openai.InternalServerError,
         "generation_failed"),
    ],
)  # fmt: skip
def test_it_raises_what_it_raises_elsewhere(
    client: OpenAI, fields: dict[str, Any], kind: type[openai.APIStatusError], code: str
) -> None:
    with pytest.raises(kind) as refused:
        client.chat.completions.create(**{"model": MODEL, "messages": [{"role": "user", "content": "hi"}], **fields})
    assert refused.value.code == code
    assert refused.value.request_id


def test_it_is_told_when_to_come_back(start: StartEngine) -> None:
    engine = start(PHI4_QUEUE="0")
    engine.wait_for(200)
    with client_of(engine) as client:
        busy = ask(client, script("x", step=0.05), stream=True)
        next(iter(busy))
        with pytest.raises(openai.RateLimitError) as refused:
            ask(client, "hi")
        assert int(refused.value.response.headers["retry-after"]) >= 1
        busy.close()
        engine.wait_for_log("not finished")
        assert ask(client, "hi").choices[0].message.content
