"""Answers, whole and streamed, against the fake worker behind the real process boundary."""

from __future__ import annotations

import json
from typing import Any

import pytest
from client import Engine
from conftest import StartEngine
from shapes import TOOL, error, events, script, shown

from phi4_engine import chat


def test_an_answer_has_the_shape_of_openai(engine: Engine) -> None:
    body = engine.chat(script("Hi.", "<|end|>"), model="phi-4-mini-instruct").json()
    assert body["id"].startswith("chatcmpl-")
    assert body["object"] == "chat.completion"
    assert body["model"] == "phi-4-mini-instruct"
    assert body["system_fingerprint"] == "r-test"
    [choice] = body["choices"]
    assert choice["message"] == {"role": "assistant", "content": "Hi.", "refusal": None, "annotations": []}
    assert (choice["index"], choice["logprobs"], choice["finish_reason"]) == (0, None, "stop")
    assert body["usage"] == {
        "prompt_tokens": len(script("Hi.", "<|end|>")),
        "completion_tokens": 4,
        "total_tokens": len(script("Hi.", "<|end|>")) + 4,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_five_tokens_asked_are_five_tokens_given(engine: Engine, name: str) -> None:
    body = engine.chat(script("abcdefgh"), **{name: 5}).json()
    assert body["choices"][0]["message"]["content"] == "abcde"
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 5


@pytest.mark.parametrize("end", ["<|end|>", "<|endoftext|>"])
def test_both_stop_tokens_end_the_answer_and_are_not_shown(engine: Engine, end: str) -> None:
    body = engine.chat(script("a", "<|user|>", "b", end, "never")).json()
    assert body["choices"][0]["message"]["content"] == "ab"
    assert body["choices"][0]["finish_reason"] == "stop"


def test_without_a_limit_the_answer_ends_with_the_context(engine: Engine) -> None:
    body = engine.chat(script("x", prompt_tokens=380)).json()
    usage = body["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (380, 20, 400)
    assert body["choices"][0]["finish_reason"] == "length"


def test_an_answer_whose_request_sets_no_limit_has_the_engines(start: StartEngine) -> None:
    engine = start(PHI4_MAX_TOKENS="7")
    engine.wait_for(200)
    counts = [engine.chat(script("x" * 30), **asked).json()["usage"]["completion_tokens"] for asked in (
        {}, {"max_tokens": 3}, {"max_tokens": 20}, {"max_completion_tokens": 9},
    )]  # fmt: skip
    assert counts == [7, 3, 20, 9]
    # A larger limit of the client counts as far as the context reaches.
    assert engine.chat(script("x", prompt_tokens=390), max_tokens=9000).json()["usage"]["completion_tokens"] == 10


def test_a_prompt_that_leaves_no_room_is_refused_with_the_numbers(engine: Engine) -> None:
    answer = engine.chat(script("x", prompt_tokens=400))
    assert answer.status == 400
    told = error(answer)
    assert told["code"] == "context_length_exceeded"
    assert told["param"] == "messages"
    assert "context length is 400 tokens" in told["message"]
    assert "take 400 tokens" in told["message"]
    assert engine.chat(script("x", prompt_tokens=399)).json()["usage"]["completion_tokens"] == 1


def test_a_stop_string_ends_the_answer_before_it(engine: Engine) -> None:
    body = engine.chat(script("one STOP two"), stop="STOP").json()
    assert body["choices"][0]["message"]["content"] == "one "
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["usage"]["completion_tokens"] == len("one STOP")
    assert engine.chat(script("a\nb"), stop=["zz", "\n"]).json()["choices"][0]["message"]["content"] == "a"


def test_a_stream_is_role_text_finish_usage_done(engine: Engine) -> None:
    found = events(engine, script("Hé!", "<|end|>"), stream_options={"include_usage": True})
    assert found[-1] == "[DONE]"
    chunks = found[:-1]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks[:-1]) == "Hé!"
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]] == [None] * (len(chunks) - 2) + ["stop"]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 5


def test_a_stream_has_no_usage_unless_asked(engine: Engine) -> None:
    found = events(engine, script("x", "<|end|>"))
    assert all(chunk == "[DONE]" or chunk["choices"] for chunk in found)


def test_a_stream_that_cannot_begin_is_a_plain_error(engine: Engine) -> None:
    answer = engine.chat(script("x", prompt_tokens=1000), stream=True)
    assert (answer.status, error(answer)["code"]) == (400, "context_length_exceeded")


def test_text_arrives_while_it_is_generated(engine: Engine) -> None:
    stream = engine.stream(script("ab", step=0.2), max_tokens=300)
    first = [event["choices"][0]["delta"].get("content") for _, event in zip(range(2), stream.events(), strict=False)]
    stream.close()
    assert first == ["", "a"], "the first token must come before the answer is complete"


def test_a_character_of_several_tokens_is_never_cut(engine: Engine) -> None:
    chunks = events(engine, script("日本😀", "<|end|>", step=0.03))
    texts = [c["choices"][0]["delta"].get("content", "") for c in chunks if c != "[DONE]"]
    assert [text for text in texts if text] == ["日", "本", "😀"]


def test_different_prompts_reach_the_model_as_they_are(engine: Engine) -> None:
    parts = [{"type": "text", "text": "Hello "}, {"type": "text", "text": "wörld"}]
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": '{"a":1}'}}]},
        {"role": "tool", "content": "42", "tool_call_id": "call_1"},
        {"role": "user", "content": "And now?", "name": "ann"},
    ]
    assert shown(engine.post("/v1/chat/completions", {"messages": messages, "unknown_field": 1})) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello wörld"},
        {"role": "assistant", "content": '<|tool_call|>[{"name": "f", "arguments": {"a": 1}}]<|/tool_call|>'},
        {"role": "tool_response", "content": "42"},
        {"role": "user", "content": "And now?"},
    ]


def test_tools_stand_in_the_system_message(engine: Engine) -> None:
    system = shown(engine.chat("hi", tools=[TOOL]))[0]
    assert system["role"] == "system"
    assert json.loads(system["tools"]) == [TOOL["function"]]
    own = [{"role": "system", "content": "Mine."}, {"role": "user", "content": "hi"}]
    messages = shown(engine.post("/v1/chat/completions", {"messages": own, "tools": [TOOL]}))
    assert [message["content"] for message in messages] == ["Mine.", "hi"]
    assert "tools" in messages[0]


def test_tool_choice_none_hides_the_tools(engine: Engine) -> None:
    assert shown(engine.chat("hi", tools=[TOOL], tool_choice="none")) == [{"role": "user", "content": "hi"}]


CALL = '[{"name":"add","arguments":{"a":[1,2]}},{"name":"sub","arguments":{}}]'

TOOLS = [TOOL, {"type": "function", "function": {"name": "sub"}}]
ADD = '{"name":"add","arguments":{"a":1}}'


def test_a_tool_call_becomes_openai_tool_calls(engine: Engine) -> None:
    answer = engine.chat(script("<|tool_call|>", CALL, "<|/tool_call|>", "<|end|>"), tools=TOOLS)
    choice = answer.json()["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    calls = choice["message"]["tool_calls"]
    assert [call["function"] for call in calls] == [
        {"name": "add", "arguments": '{"a": [1, 2]}'},
        {"name": "sub", "arguments": "{}"},
    ]
    assert len({call["id"] for call in calls}) == 2


def test_a_streamed_tool_call_arrives_whole(engine: Engine) -> None:
    found = events(engine, script("<|tool_call|>", CALL, "<|/tool_call|>", "<|end|>"), tools=TOOLS)
    deltas = [chunk["choices"][0]["delta"] for chunk in found if chunk != "[DONE]"]
    [calls] = [delta["tool_calls"] for delta in deltas if "tool_calls" in delta]
    assert [(call["index"], call["function"]["name"]) for call in calls] == [(0, "add"), (1, "sub")]
    assert found[-2]["choices"][0]["finish_reason"] == "tool_calls"


def test_a_broken_tool_call_is_given_as_text(engine: Engine) -> None:
    message = engine.chat(script("<|tool_call|>", "[{broken", "<|/tool_call|>", "<|end|>")).json()["choices"][0]
    assert message["message"]["content"] == "[{broken"
    assert "tool_calls" not in message["message"]


ONE, TWO = [("add", {"a": 1})], [("add", {"a": 1}), ("sub", {})]


@pytest.mark.parametrize(
    ("written", "calls"),
    [
        (ADD, ONE),
        (f"[{ADD}]", ONE),
        (f'[{ADD}]\n[{{"name":"sub"}}]', TWO),
        (f'{ADD} {{"name":"sub","arguments":null}}', TWO),
        ('{"type":"function","function":{"name":"add","arguments":{"a":1}}}', ONE),
        ('{"type":"function","function":{"name":"add","arguments":"{\\"a\\":1}"}}', ONE),
        ('{"name":"add","parameters":{"a":1}}', ONE),
        ('{"name":"add","arguments":"{\\"a\\": 1}"}', ONE),
        ("", []),
        ('{"name":"","arguments":{}}', []),
        ('{"name":"rm","arguments":{}}', []),
        (f'[{ADD}, {{"name":"rm"}}]', []),
        ('{"name":"add","arguments":{"a":NaN}}', []),
        ('{"name":"add","arguments":"{\\"a\\":Infinity}"}', []),
        ('{"name":"add","arguments":[1]}', []),
        ('{"name":"add","arguments":"now"}', []),
        ('{"name":["add"]}', []),
        (f"{ADD},", []),
        (f"{ADD} and then", []),
        ('{"function":7}', []),
        ('"add"', []),
        ("[" * 5000, []),
        (f"[[{ADD}]]", []),
    ],
)
def test_what_counts_as_a_tool_call(written: str, calls: list[tuple[str, dict[str, int]]]) -> None:
    found = [one["function"] for one in chat.tool_calls(written, {"add", "sub"})]
    assert [(one["name"], json.loads(one["arguments"])) for one in found] == calls


@pytest.mark.parametrize("offer", [{}, {"tools": [TOOL], "tool_choice": "none"}, {"tools": TOOLS[1:]}])
def test_a_call_of_what_was_not_offered_is_text(engine: Engine, offer: dict[str, Any]) -> None:
    said = script("<|tool_call|>", ADD, "<|/tool_call|>", "<|end|>")
    choice = engine.chat(said, **offer).json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == (ADD, "stop")


def test_several_blocks_are_several_calls(engine: Engine) -> None:
    block = ("<|tool_call|>", ADD, "<|/tool_call|>")
    choice = engine.chat(script(*block, *block, "<|end|>"), tools=[TOOL]).json()["choices"][0]
    assert [one["function"]["name"] for one in choice["message"]["tool_calls"]] == ["add", "add"]


def test_models_root_and_health(engine: Engine) -> None:
    [model] = engine.get("/v1/models").json()["data"]
    assert (model["id"], model["object"]) == ("phi-4-mini-instruct", "model")
    assert engine.get("/v1/models/phi-4-mini-instruct").json() == model
    root = engine.get("/").json()
    assert root["name"] == "Phi-4-mini ONNX Engine"
    assert root["model"] == "microsoft/Phi-4-mini-instruct"
    assert engine.get("/health").json() == {
        "status": "healthy",
        "model": "phi-4-mini-instruct",
        "capabilities": ["reasoning", "math", "coding"],
        "release": "r-test",
    }


def test_every_endpoint_that_root_names_exists(engine: Engine) -> None:
    for path in engine.get("/").json()["endpoints"]:
        assert engine.get(path).status != 404


@pytest.mark.parametrize(
    ("task", "system"),
    [
        ("reasoning", "Think step by step and show your reasoning clearly:"),
        ("math", "Solve this mathematical problem step by step:"),
        ("coding", "Write clean, well-commented code for this task:"),
    ],
)
def test_reasoning_gives_the_task_its_prompt(engine: Engine, task: str, system: str) -> None:
    body = engine.post("/reasoning", {"prompt": "2+2?", "task_type": task}).json()
    assert set(body) == {"generated_text", "task_type", "inference_time", "model"}
    sent = [{"role": "system", "content": system}, {"role": "user", "content": "2+2?"}]
    assert json.loads(body["generated_text"]) == sent
    assert (body["task_type"], body["model"]) == (task, "phi4-mini-instruct-onnx")
    assert 0 < body["inference_time"] < 60


def test_reasoning_defaults_to_200_new_tokens(engine: Engine) -> None:
    assert len(engine.post("/reasoning", {"prompt": script("x")}).json()["generated_text"]) == 200
