"""The rest of what programs do with OpenAI's client: completions, responses, errors, several requests at once."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai_behaviours import ASKED, MODEL, PARIS, TOOL, WEATHER, City, ask, behaviour


@behaviour
def completes_a_text(client: OpenAI) -> None:
    made = client.completions.create(model=MODEL, prompt="The capital of", max_tokens=4, temperature=0)
    assert made.object == "text_completion" and made.usage is not None and made.usage.completion_tokens <= 4


@behaviour
def completes_several_texts(client: OpenAI) -> None:
    made = client.completions.create(model=MODEL, prompt=["The capital", "Hello"], max_tokens=2)
    assert [choice.index for choice in made.choices] == [0, 1]


@behaviour
def completes_tokens(client: OpenAI) -> None:
    assert client.completions.create(model=MODEL, prompt=[5, 6, 7], max_tokens=2).usage is not None


@behaviour
def streams_a_completion(client: OpenAI) -> None:
    chunks = client.completions.create(model=MODEL, prompt="The capital of", max_tokens=4, stream=True)
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] in ("length", "stop")


@behaviour
def makes_a_response(client: OpenAI) -> None:
    made = client.responses.create(model=MODEL, input=ASKED[0]["content"], temperature=0)
    assert (made.output_text, made.status) == (PARIS, "completed")


@behaviour
def instructs_a_response(client: OpenAI) -> None:
    made = client.responses.create(
        model=MODEL, input=ASKED[0]["content"], instructions="Answer briefly.", temperature=0
    )
    assert made.output_text == PARIS


@behaviour
def streams_a_response(client: OpenAI) -> None:
    events = list(client.responses.create(model=MODEL, input=ASKED[0]["content"], temperature=0, stream=True))
    assert (events[0].type, events[-1].type) == ("response.created", "response.completed")


@behaviour
def parses_a_response(client: OpenAI) -> None:
    made = client.responses.parse(model=MODEL, input="Which city?", text_format=City, max_output_tokens=100)
    assert isinstance(made.output_parsed, City)


@behaviour
def gets_a_call_in_a_response(client: OpenAI) -> None:
    tool = {"type": "function", **TOOL["function"], "strict": False}
    made: Any = client.responses.create(model=MODEL, input=WEATHER[0]["content"], tools=[tool], temperature=0)  # type: ignore[call-overload]
    assert [(one.type, one.name) for one in made.output] == [("function_call", "get_weather")]


@behaviour
def is_told_what_is_wrong(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, temperature=9)
    assert caught.value.param == "temperature"


@behaviour
def is_told_that_a_prompt_is_too_long(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, [{"role": "user", "content": "word " * 3000}])
    assert caught.value.code == "context_length_exceeded"


@behaviour
def names_its_request(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=ASKED, max_tokens=2, extra_headers={"x-request-id": "mine-1"}
    )
    assert raw.headers["x-request-id"] == "mine-1"


@behaviour
def asks_without_waiting(client: OpenAI) -> None:
    async def several() -> list[str]:
        async with AsyncOpenAI(base_url=str(client.base_url), api_key="none", max_retries=0) as other:
            made = (
                other.chat.completions.create(model=MODEL, messages=ASKED, temperature=0)  # type: ignore[call-overload]
                for _ in range(3)
            )
            return [str(one.choices[0].message.content) for one in await asyncio.gather(*made)]

    assert asyncio.run(several()) == [PARIS] * 3
