"""Prompts are what Ollama makes of requests with our chat template; what cannot be told is nothing."""

from __future__ import annotations

import hashlib
import json
import random
from typing import Any

import pytest

from tests.ansible.gateway.measuring import measure_prompt, measure_tools
from tests.standins.ollama_store import template
from tests.standins.standin_ollama.openai import chat_request
from tests.standins.standin_ollama.prompts import rendered

CHAT, TEXT, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
TOOL = {"type": "function", "function": {
    "name": "weather", "description": "Of a <town> & now", "strict": True,
    "parameters": {"type": "object", "additionalProperties": False, "required": ["town"], "properties": {
        "unit": {"type": ["string"], "enum": ["C", "F"], "title": "no"}, "town": {"type": "string"}}}}}  # fmt: skip
SHOWN = (
    r'{"name":"weather","description":"Of a \u003ctown\u003e \u0026 now","parameters":{"type":"object",'
    r'"required":["town"],"properties":{"town":{"type":"string"},"unit":{"type":"string","enum":["C","F"]}}}}'
)
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"town": "Oslo", "n": 2.0}'}}


def said(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def prompt(path: str, system: str = "", **document: Any) -> str | None:
    found = measure_prompt.prompt_of(path, document, system)
    return None if found is None else str(found.text)


def test_the_template_is_the_one_that_models_are_made_with() -> None:
    assert f"sha256:{hashlib.sha256(template()).hexdigest()}" == measure_prompt.TEMPLATE


@pytest.mark.parametrize(
    ("messages", "shown"),
    [
        ([said("user", "Hello")], "<|user|>Hello<|end|><|assistant|>"),
        ([said("user", "a"), said("assistant", "b"), said("user", "c")],
         "<|user|>a<|end|><|assistant|>b<|end|><|user|>c<|end|><|assistant|>"),
        ([said("user", "a"), said("assistant", "b")], "<|user|>a<|end|><|assistant|>b"),
        ([said("user", "a"), said("system", "s"), said("system", "t")],
         "<|system|>s\n\nt<|end|><|user|>a<|end|><|assistant|>"),
        ([said("user", "a"), said("user", "b")], "<|user|>a\n\nb<|end|><|assistant|>"),
        ([said("user", [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])],
         "<|user|>a\n\nb<|end|><|assistant|>"),
        ([said("tool", "1"), said("tool", "2")],
         "<|tool_response|>1<|end|><|tool_response|>2<|end|><|assistant|>"),
        ([said("user", "a"), said("assistant", None, tool_calls=[CALL, CALL]), said("tool", "x")],
         '<|user|>a<|end|><|assistant|><|tool_call|>[{"name": "weather", "arguments": {"n":2,"town":"Oslo"}},'
         '{"name": "weather", "arguments": {"n":2,"town":"Oslo"}}]<|/tool_call|><|end|><|tool_response|>x<|end|>'
         "<|assistant|>"),
        ([said("developer", "d"), said("user", "a")], "<|user|>a<|end|><|assistant|>"),
        ([said("user", "half \ud83d of one")], "<|user|>half \ufffd of one<|end|><|assistant|>"),
    ],
)  # fmt: skip
def test_messages_become_a_prompt(messages: list[Any], shown: str) -> None:
    assert prompt(CHAT, messages=messages) == shown


def test_tools_are_announced_as_go_writes_them() -> None:
    found = measure_prompt.prompt_of(CHAT, {"messages": [said("user", "a")], "tools": [TOOL]}, "")
    begin = f"<|system|>You are a helpful assistant with some tools.<|tool|>[{SHOWN}]<|/tool|><|end|>"
    assert found.text == begin + "<|user|>a<|end|><|assistant|>"
    assert found.about == len(f"<|tool|>[{SHOWN}]<|/tool|>")


def test_a_models_own_text_comes_where_the_request_begins_with_none() -> None:
    assert prompt(CHAT, "own", messages=[said("user", "a")]) == "<|system|>own<|end|><|user|>a<|end|><|assistant|>"
    assert "own" not in (prompt(CHAT, "own", messages=[said("system", "s"), said("user", "a")]) or "own")
    assert prompt(TEXT, "own", prompt="a") == "<|system|>own<|end|><|user|>a<|end|><|assistant|>"
    assert prompt(RESPONSES, "own", input="a") == "<|system|>own<|end|><|user|>a<|end|><|assistant|>"


def test_responses_are_read_as_chat_is() -> None:
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]},
        {"type": "function_call", "call_id": "1", "name": "weather", "arguments": '{"town": "Oslo"}'},
        {"type": "function_call_output", "call_id": "1", "output": "cold"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "It is."}]},
    ]
    assert prompt(RESPONSES, instructions="s", input=items) == (
        '<|system|>s<|end|><|user|>ab<|end|><|assistant|><|tool_call|>[{"name": "weather", "arguments": '
        '{"town":"Oslo"}}]<|/tool_call|><|end|><|tool_response|>cold<|end|><|assistant|>It is.'
    )
    flat = {"type": "function", **TOOL["function"]}  # type: ignore[dict-item]
    assert SHOWN in (prompt(RESPONSES, input="a", tools=[flat]) or "")
    spaced = {"type": "namespace", "name": "home", "tools": [flat]}
    assert '"name":"home.weather"' in (prompt(RESPONSES, input="a", tools=[spaced]) or "")
    assert prompt(RESPONSES, input="a", tools=[{"type": "web_search"}]) is None


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("/v1/embeddings", {"input": "a"}),
        (CHAT, {}),
        (CHAT, {"messages": []}),
        (CHAT, {"messages": "a"}),
        (CHAT, {"messages": ["a"]}),
        (CHAT, {"messages": [{"role": "user"}]}),
        (CHAT, {"messages": [{"content": "a"}]}),
        (CHAT, {"messages": [said("user", 7)]}),
        (CHAT, {"messages": [said("user", [{"type": "image_url", "image_url": {"url": "data:,"}}])]}),
        (CHAT, {"messages": [said("assistant", None, tool_calls=[{"function": {"name": "a", "arguments": "{"}}])]}),
        (CHAT, {"messages": [said("user", "a")], "tools": "x"}),
        (CHAT, {"messages": [said("user", "a")], "tools": [{"type": "function"}]}),
        (TEXT, {"prompt": ""}),
        (TEXT, {"prompt": ["a"]}),
        (TEXT, {"prompt": "a", "suffix": "b"}),
        (RESPONSES, {}),
        (RESPONSES, {"input": [{"type": "item_reference", "id": "x"}]}),
        (RESPONSES, {"input": [{"role": "user", "content": [{"type": "input_image"}]}]}),
        (RESPONSES, {"input": "a", "tools": [7]}),
    ],
)
def test_what_cannot_be_told_is_none(path: str, document: Any) -> None:
    assert measure_prompt.prompt_of(path, document, "") is None


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"{", b"[" * 100_000, b"nul", b'{"a":' * 50_000])
def test_a_body_that_is_no_json_is_none(body: bytes) -> None:
    assert measure_prompt.parsed(body) is None


def test_deep_documents_are_none_or_a_prompt() -> None:
    deep: Any = "x"
    for _ in range(900):
        deep = {"properties": {"a": deep}}
    tool = {"function": {"name": "a", "parameters": {"properties": {"a": deep}}}}
    found = measure_prompt.prompt_of(CHAT, {"messages": [said("user", "a")], "tools": [tool]}, "")
    assert found is None or "<|tool|>" in found.text


def test_the_stand_in_of_ollama_renders_plain_conversations_alike() -> None:
    picked = random.Random(8)
    for _ in range(200):
        roles = ["user", "assistant"] * 3
        messages = [said(role, f"text {picked.random()}") for role in roles[: picked.randint(1, 6)]]
        if picked.random() < 0.5:
            messages.insert(0, said("system", "be brief"))
        tools = [{"function": {"name": "a", "description": "b", "parameters": {"type": "object", "properties": {}}}}]
        asked = {"messages": messages, "tools": tools if picked.random() < 0.5 else []}
        theirs = chat_request(asked)
        assert prompt(CHAT, **asked) == rendered("", theirs["messages"], theirs.get("tools", []))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"b": 1.0, "a": [1e20, 0.5]}, '{"a":[100000000000000000000,0.5],"b":1}'),
        ("<é\u2028", '"\\u003cé\\u2028"'),
        (None, "null"),
    ],
)
def test_json_is_written_as_go_does(value: Any, shown: str) -> None:
    assert measure_tools.encoded(value) == shown
    assert json.loads(shown) == value
