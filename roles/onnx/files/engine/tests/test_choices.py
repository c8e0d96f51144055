"""How answers are drawn and how many there are: logprobs, biases and penalties, n."""

from __future__ import annotations

from typing import Any

import pytest
from client import Engine
from conftest import StartEngine
from shapes import TOOL, error, events, script

ADD = '{"name":"add","arguments":{"a":1}}'


def test_logprobs_come_with_the_text_whole_and_streamed(engine: Engine) -> None:
    said = script("日é!", " STO", "P", "<|end|>")
    asked = {"logprobs": True, "top_logprobs": 2, "stop": "STOP", "temperature": 0}
    choice = engine.chat(said, **asked).json()["choices"][0]
    whole = choice["logprobs"]["content"]
    assert [one["token"] for one in whole] == ["", "", "日", "", "é", "!", " "]
    assert "".join(one["token"] for one in whole) == choice["message"]["content"] == "日é! "
    assert bytes(byte for one in whole for byte in one["bytes"]).decode() == "日é! "
    assert all(one["logprob"] == pytest.approx(0) and len(one["top_logprobs"]) == 2 for one in whole)
    assert whole[2]["top_logprobs"][0] == {"token": "日", "logprob": whole[2]["logprob"], "bytes": [0xA5]}
    assert whole[2]["top_logprobs"][1]["logprob"] == pytest.approx(-100)
    streamed = [chunk["choices"][0] for chunk in events(engine, said, **asked) if chunk != "[DONE]"]
    assert [one for chunk in streamed if chunk["logprobs"] for one in chunk["logprobs"]["content"]] == whole
    assert "".join(chunk["delta"].get("content", "") for chunk in streamed) == "日é! "


def test_logprobs_without_alternatives_and_none_unless_asked(engine: Engine) -> None:
    found = engine.chat(script("a", "<|end|>"), logprobs=True).json()["choices"][0]["logprobs"]
    assert [(one["token"], one["top_logprobs"]) for one in found["content"]] == [("a", [])]
    assert engine.chat(script("a", "<|end|>"), logprobs=False).json()["choices"][0]["logprobs"] is None
    assert engine.chat(script("<|end|>"), logprobs=True).json()["choices"][0]["logprobs"]["content"] == []


def test_a_bias_and_a_penalty_change_what_is_said(engine: Engine) -> None:
    def content(**fields: Any) -> str:
        return str(
            engine.chat(script("aaaa", "<|end|>"), temperature=0, **fields).json()["choices"][0]["message"]["content"]
        )

    assert content() == "aaaa"
    assert content(logit_bias={str(ord("b")): 100, str(ord("a")): -1}, max_tokens=4) == "bbbb"
    assert content(logit_bias={str(ord("a")): -100, str(ord("b")): 1}, max_tokens=4) == "bbbb"
    # 99 for b against a's 100, less 1.5 for each time that it was said.
    said = {"logit_bias": {str(ord("b")): 99}, "frequency_penalty": 1.5, "max_tokens": 4}
    assert content(**said) == "abab"


def test_several_answers_have_one_prompt_and_one_body(wide: Engine) -> None:
    said = script("Hé", "<|end|>")
    body = wide.chat(said, n=3).json()
    assert [(one["index"], one["message"]["content"]) for one in body["choices"]] == [(0, "Hé"), (1, "Hé"), (2, "Hé")]
    assert [one["finish_reason"] for one in body["choices"]] == ["stop"] * 3
    usage = body["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (len(said.encode()), 12)
    assert usage["total_tokens"] == len(said.encode()) + 12
    assert usage["prompt_tokens_details"] == {"cached_tokens": 0}
    wide.wait_for_log("stop after 4, stop after 4, stop after 4")


def test_several_streamed_answers_are_told_apart_by_their_index(wide: Engine) -> None:
    call = script("Hi", "<|tool_call|>", ADD, "<|/tool_call|>", "<|end|>")
    found = events(wide, call, n=2, tools=[TOOL], logprobs=True, stream_options={"include_usage": True})
    assert found[-1] == "[DONE]"
    assert found[-2]["usage"]["completion_tokens"] == 2 * (2 + 2 + len(ADD) + 1)
    for index in range(2):
        mine = [chunk["choices"][0] for chunk in found[:-2] if chunk["choices"][0]["index"] == index]
        assert mine[0]["delta"]["role"] == "assistant"
        assert "".join(one["delta"].get("content", "") for one in mine) == "Hi"
        assert [one["token"] for each in mine if each["logprobs"] for one in each["logprobs"]["content"]] == ["H", "i"]
        assert [len(one["delta"]["tool_calls"]) for one in mine if "tool_calls" in one["delta"]] == [1]
        assert [one["finish_reason"] for one in mine if one["finish_reason"]] == ["tool_calls"]


def test_several_answers_need_several_slots_and_give_them_back(wide: Engine) -> None:
    stream = wide.stream(script("x", step=0.02), max_tokens=100)
    next(stream.events())
    assert wide.chat("hi", n=3).status == 200
    behind = wide.chat("hi", n=4, max_tokens=1)  # waits for the stream
    assert len(behind.json()["choices"]) == 4
    assert stream.text()
    stream.close()
    samples = wide.get("/metrics").body.decode()
    assert 'vllm:num_requests_running{model_name="phi-4-mini-instruct",engine="onnx"} 0\n' in samples


def test_a_client_that_leaves_takes_all_its_answers_along(wide: Engine) -> None:
    stream = wide.stream(script("x", step=0.02), n=4)
    next(stream.events())
    stream.close()
    wide.wait_for_log("not finished, not finished, not finished, not finished")
    assert len(wide.chat("hi", n=4).json()["choices"]) == 4
    failed = wide.chat(script("x", do="fail"), n=4)
    assert (failed.status, error(failed)["code"]) == (500, "generation_failed")
    assert wide.chat("hi").status == 200


def test_the_deadline_ends_all_of_them(start: StartEngine) -> None:
    engine = start(PHI4_PARALLEL="2", PHI4_DEADLINE_SECONDS="1")
    engine.wait_for(200)
    choices = engine.chat(script("x", step=0.05), n=2).json()["choices"]
    assert [one["finish_reason"] for one in choices] == ["length"] * 2
    assert all(one["message"]["content"].startswith("x") for one in choices)
