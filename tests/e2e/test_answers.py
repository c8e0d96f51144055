"""What a gateway that was provisioned answers, from within the sandbox of its unit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.fleet import Fleets
from tests.e2e.gateway import Gateway

pytestmark = pytest.mark.e2e

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def gateway(fleets: Fleets, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with fleets.lend(tmp_path_factory.mktemp("answers"), 1) as found:
        yield found.host("gw1")


@pytest.fixture
def gateways(gateway: Gateway) -> list[Gateway]:
    return [gateway]


def test_answers_make_sense(gateway: Gateway) -> None:
    able = "What can you do on a gateway?"
    first, second = gateway.chat("What is the capital of France?"), gateway.chat(able, 32)
    texts = [answer["choices"][0]["message"]["content"] for answer in (first, second)]
    assert texts[0] == "The capital of France is Paris."
    assert "gateway" in texts[1]
    five = gateway.chat(able, tokens=5)
    assert five["usage"]["completion_tokens"] == 5
    assert five["choices"][0]["finish_reason"] == "length"


def test_chat_completions_stream(gateway: Gateway) -> None:
    body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8, "stream": True, "temperature": 0}
    lines = [line for line in gateway.post(CHAT, body).splitlines() if line.startswith("data: ")]
    assert lines[-1] == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert sum(bool(chunk["choices"] and chunk["choices"][0]["delta"].get("content")) for chunk in chunks) >= 3


def test_an_answer_has_the_form_that_is_asked_for(gateway: Gateway) -> None:
    """A schema is checked by a process of its own first."""

    def asked(kind: str) -> dict[str, Any]:
        closed = {"type": "object", "required": ["ok"], "additionalProperties": False}
        schema = {**closed, "properties": {"ok": {"type": kind}}}
        form = {"type": "json_schema", "json_schema": {"name": "state", "schema": schema}}
        return {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 16, "response_format": form}

    answer = json.loads(gateway.post(CHAT, asked("boolean")))
    assert set(json.loads(answer["choices"][0]["message"]["content"])) == {"ok"}, answer
    refused = json.loads(gateway.post(CHAT, asked("no such type")))
    assert (refused["error"]["code"], refused["error"]["param"]) == ("invalid_schema", "response_format")


def test_the_seeds_endpoint_keeps_its_shape(gateway: Gateway) -> None:
    body = {"prompt": "What is 12 times 12?", "task_type": "math", "max_length": 12, "temperature": 0.3}
    answer = json.loads(gateway.post("/reasoning", body))
    assert set(answer) == {"generated_text", "task_type", "inference_time", "model"}
    assert answer["task_type"] == "math" and answer["inference_time"] > 0
