"""What the tests of llama.cpp's server hold it to where it chats, asked of this engine, with the tiny model."""

from __future__ import annotations

import json
from typing import Any

from client import Engine
from llama_server import BACK, BOOK, CHAT, LIFE, TOKENS, chat, endless, ok, openai, refused, said, tokens, too_long
from shapes import streamed


def test_a_chat_counts_its_tokens(server: Engine) -> None:
    body = chat(server, **endless(server))
    assert "cmpl" in body["id"]
    assert body["system_fingerprint"].startswith("b")
    assert body["usage"]["completion_tokens"] == 8
    assert body["usage"]["prompt_tokens"] == ok(server, TOKENS, messages=BOOK)["count"]
    assert (body["choices"][0]["message"]["role"], body["choices"][0]["finish_reason"]) == ("assistant", "length")


def test_parts_of_a_message_are_one_text(server: Engine) -> None:
    parts = [{"type": "text", "text": "What is "}, {"type": "text", "text": "the best book"}]
    messages = [BOOK[0], {"role": "user", "content": parts}]
    assert said(server, temperature=0, messages=messages) == said(server, temperature=0)


def test_a_stream_has_its_role_first_and_one_id(server: Engine) -> None:
    asked = {"messages": BOOK, "max_tokens": 8, "stream_options": {"include_usage": True}, **endless(server)}
    *found, usage, done = streamed(server, CHAT, asked)
    first, *others = [event["choices"][0] for event in found]
    assert first["delta"]["role"] == "assistant"
    assert not any("role" in choice["delta"] for choice in others)
    assert [choice["finish_reason"] for choice in others] == [None] * (len(others) - 1) + ["length"]
    assert "content" not in others[-1]["delta"]
    assert {(event["id"], event["model"]) for event in found} == {(usage["id"], "tiny")}
    assert (usage["choices"], usage["usage"]["completion_tokens"], done) == ([], 8, "[DONE]")


def test_openais_client_chats(server: Engine) -> None:
    with openai(server) as client:
        made = client.chat.completions.create(model="tiny", messages=BOOK, max_tokens=8, seed=42)
    assert made.choices[0].message.content
    assert made.choices[0].finish_reason in ("stop", "length")


def test_a_base_address_without_v1_is_as_good(server: Engine) -> None:
    with openai(server, "") as client:
        assert client.models.list().data[0].id == "tiny"
        assert client.chat.completions.create(model="tiny", messages=BOOK, max_tokens=2).choices
        assert client.completions.create(model="tiny", prompt=LIFE, max_tokens=2).choices
        assert client.responses.create(model="tiny", input="Hi", max_output_tokens=2).output


def test_the_template_of_the_model_is_what_it_reads(server: Engine) -> None:
    read = ok(server, BACK, tokens=ok(server, TOKENS, messages=BOOK)["tokens"])["content"]
    assert read == "<|system|>Book<|end|><|user|>What is the best book<|end|><|assistant|>"


def test_a_last_message_of_the_assistant_is_a_turn_that_is_over(server: Engine) -> None:
    """There it would be continued: one of the differences that the README tells."""
    turns = [*BOOK, {"role": "assistant", "content": "Whill"}]
    read = ok(server, BACK, tokens=ok(server, TOKENS, messages=turns)["tokens"])["content"]
    assert read.endswith("<|assistant|>Whill<|end|><|assistant|>")


def form(kind: str = "json_object", **fields: Any) -> dict[str, Any]:
    return {"response_format": {"type": kind, **fields}, "temperature": 1.5}


def test_an_object_may_have_a_schema(server: Engine) -> None:
    assert said(server, **form(schema={"const": "42"})) == '"42"'


def test_a_schema_is_followed(server: Engine) -> None:
    assert said(server, **form("json_schema", json_schema={"schema": {"const": "foo"}})) == '"foo"'


def test_json_is_an_object(server: Engine) -> None:
    assert said(server, **form()).startswith("{")


def test_sounds_are_no_form(server: Engine) -> None:
    refused(server, messages=BOOK, **form("sound"))


def test_schemas_that_are_none_are_refused(server: Engine) -> None:
    for schema in (123, {"type": 123}, {"type": "hiccup"}):
        refused(server, messages=BOOK, **form(schema=schema))


def test_messages_that_are_none_are_refused(server: Engine) -> None:
    wrong: list[Any] = [None, "string", [123], [{}], [{"role": 123}], [{"role": "system", "content": 123}]]
    for messages in (*wrong, [{"content": "hello"}], [{"role": "system", "content": "test"}, {}]):
        refused(server, messages=messages)


def test_logprobs_join_to_the_text(server: Engine) -> None:
    choice = chat(server, temperature=0, max_tokens=5, logprobs=True, top_logprobs=10)["choices"][0]
    assert "".join(one["token"] for one in choice["logprobs"]["content"]) == choice["message"]["content"]
    for one in choice["logprobs"]["content"]:
        assert one["logprob"] <= 0
        assert isinstance(one["bytes"], list)
        assert len(one["top_logprobs"]) == 10


def test_streamed_logprobs_join_to_the_text(server: Engine) -> None:
    asked = {"messages": BOOK, "temperature": 0, "max_tokens": 5, "logprobs": True, "top_logprobs": 10}
    choices = [event["choices"][0] for event in streamed(server, CHAT, asked)[:-1]]
    told = "".join(one["token"] for choice in choices if choice["logprobs"] for one in choice["logprobs"]["content"])
    assert told == "".join(choice["delta"].get("content", "") for choice in choices) == said(server, **asked)


def test_a_biased_chat_never_says_what_it_must_not(server: Engine) -> None:
    before = said(server, temperature=0, max_tokens=24)
    bias = {str(token): -100 for token in tokens(server, before)}
    after = said(server, temperature=0, max_tokens=24, logit_bias=bias)
    assert after
    assert not set(tokens(server, after)) & set(map(int, bias))


def test_messages_that_are_too_long_are_refused_with_numbers(server: Engine) -> None:
    too_long(server, CHAT, messages=BOOK * 100)


def test_several_choices_have_several_texts(server: Engine) -> None:
    choices = chat(server, n=2, **endless(server))["choices"]
    assert [choice["index"] for choice in choices] == [0, 1]
    assert {choice["finish_reason"] for choice in choices} == {"length"}


def test_a_forced_call_is_a_call(server: Engine) -> None:
    schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": False}
    tools = [{"type": "function", "function": {"name": "test", "parameters": schema}}]
    for choice in ("required", {"type": "function", "function": {"name": "test"}}):
        fields = {"tools": tools, "tool_choice": choice, "parallel_tool_calls": False, "max_tokens": 64}
        [call] = chat(server, **fields)["choices"][0]["message"]["tool_calls"]
        assert call["function"]["name"] == "test"
        assert json.loads(call["function"]["arguments"])["n"] in (1, 2)


def test_a_response_has_a_form(server: Engine) -> None:
    for kind in ({"type": "json_schema", "name": "test", "schema": {"const": "foooooo"}}, {"type": "text"}):
        assert ok(server, "/v1/responses", input="Write", max_output_tokens=10, text={"format": kind})["output"]
    refused(server, "/v1/responses", input="Write", text={"format": {"type": "json_schema", "name": "test"}})


def test_a_streamed_response_has_its_names(server: Engine) -> None:
    with openai(server) as client:
        found = list(client.responses.create(model="tiny", input="Hi", max_output_tokens=8, stream=True))
    whole = found[-1].response
    assert whole.id.startswith("resp_")
    assert whole.output[0].id.startswith("msg_")
    deltas = [event for event in found if event.type == "response.output_text.delta"]
    assert "".join(event.delta for event in deltas) == whole.output_text
    assert {event.item_id for event in deltas} == {whole.output[0].id}
