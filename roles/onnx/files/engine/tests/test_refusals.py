"""What the engine does not do, and how it says so: always OpenAI's error object, never a traceback, never silence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from client import Engine
from shapes import error, events, script


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"functions": []}, "functions"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"grammar": 'root ::= "a"'}, "grammar"),
        ({"json_schema": {"const": 1}}, "json_schema"),
        ({"guided_json": {"const": 1}}, "guided_json"),
        ({"structured_outputs": {"choice": ["a"]}}, "structured_outputs"),
    ],
)
def test_what_cannot_be_honoured_is_refused(engine: Engine, fields: dict[str, Any], param: str) -> None:
    answer = engine.chat("hi", **fields)
    assert answer.status == 400
    assert (error(answer)["param"], error(answer)["code"]) == (param, "unsupported_parameter")


def test_harmless_forms_of_those_are_accepted(engine: Engine) -> None:
    harmless = {"n": 1, "response_format": {"type": "text"}, "tool_choice": "auto", "logprobs": False, "logit_bias": {}}
    penalties = {"presence_penalty": 0, "frequency_penalty": 0.0, "user": "x", "stop": None, "seed": None}
    penalties |= {
        "top_logprobs": 0,
        "top_k": None,
        "min_p": None,
        "mirostat": 2,
        "num_ctx": 4096,
        "reasoning_effort": "x",
    }
    assert engine.chat("hi", **harmless, **penalties).status == 200


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": 10**400}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -3}, "max_tokens"),
        ({"max_tokens": -1.0}, "max_tokens"),
        ({"max_tokens": 2.5}, "max_tokens"),
        ({"max_tokens": 2**31}, "max_tokens"),
        ({"max_tokens": 10**4000}, "max_tokens"),
        ({"seed": 2**63}, "seed"),
        ({"seed": True}, "seed"),
        ({"n": 0}, "n"),
        ({"n": 2}, "n"),  # the fake has one row
        ({"n": 129}, "n"),
        ({"n": True}, "n"),
        ({"n": 10**400}, "n"),
        ({"top_k": -2}, "top_k"),
        ({"top_k": True}, "top_k"),
        ({"top_k": 1e300}, "top_k"),
        ({"top_k": 2**63}, "top_k"),
        ({"min_p": 1.5}, "min_p"),
        ({"min_p": 10**400}, "min_p"),
        ({"frequency_penalty": 2.5}, "frequency_penalty"),
        ({"presence_penalty": False}, "presence_penalty"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"repetition_penalty": 1e-300}, "repetition_penalty"),
        ({"repeat_penalty": 11}, "repeat_penalty"),
        ({"repeat_penalty": "high"}, "repeat_penalty"),
        ({"logprobs": 7}, "logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": True}, "top_logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logit_bias": [5]}, "logit_bias"),
        ({"logit_bias": {"a": 1}}, "logit_bias"),
        ({"logit_bias": {"-1": 1}}, "logit_bias"),
        ({"logit_bias": {"\u0665": 1}}, "logit_bias"),
        ({"logit_bias": {"9" * 5000: 1}}, "logit_bias"),
        ({"logit_bias": {"5": 100.5}}, "logit_bias"),
        ({"logit_bias": {"5": 10**400}}, "logit_bias"),
        ({"logit_bias": {"5": True}}, "logit_bias"),
        ({"logit_bias": {"5": "1"}}, "logit_bias"),
        ({"logit_bias": {"261": 1}}, "logit_bias"),  # the fake's vocabulary ends before it
        ({"logit_bias": {str(token): 1 for token in range(1025)}}, "logit_bias"),
        ({"stop": [""]}, "stop[0]"),
        ({"stop": [str(number) for number in range(17)]}, "stop"),
        ({"stop": 7}, "stop"),
        ({"stream": "maybe"}, "stream"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "a\0b"}]}, "messages[0].content"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
    ],
)
def test_a_bad_value_is_a_400_with_its_place(engine: Engine, fields: dict[str, Any], param: str) -> None:
    answer = engine.chat("hi", **fields)
    assert answer.status == 400, answer.body
    assert error(answer)["param"] == param


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[1]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b'{"messages": NaN}',
        b'{"temperature": Infinity}',
        b'{"messages":[{"role":"user","content":"\\ud800"}]}',
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b'{"max_tokens": ' + b"9" * 5000 + b"}",
    ],
    ids=lambda body: repr(body[:24]),
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/reasoning"])
def test_a_body_that_is_no_json_object_is_a_400(engine: Engine, path: str, body: bytes) -> None:
    answer = engine.request("POST", path, body)
    assert answer.status == 400
    assert error(answer)["type"] == "invalid_request_error"


def test_more_answers_than_rows_are_refused_with_the_limit(engine: Engine) -> None:
    for fields in ({}, {"stream": True}):
        message = error(engine.chat("hi", n=3, **fields))["message"]
        assert "3 answers" in message
        assert "generates 1 at most (PHI4_PARALLEL)" in message


def test_a_large_body_is_a_413_declared_or_not(engine: Engine) -> None:
    assert engine.request("POST", "/reasoning", headers={"Content-Length": str(2**20 + 1)}).status == 413
    assert engine.request("POST", "/reasoning", headers={"Content-Length": "9" * 30}).status in (400, 413)

    def pieces() -> Iterator[bytes]:
        for _ in range(17):
            yield b" " * 65536

    answer = engine.request("POST", "/reasoning", pieces())
    assert (answer.status, error(answer)["code"]) == (413, "request_too_large")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nope", 404, "not_found"),
        ("GET", "/docs", 404, "not_found"),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("DELETE", "/health", 405, "method_not_allowed"),
        ("GET", "/v1/models/other", 404, "model_not_found"),
    ],
)
def test_wrong_places_are_told_in_the_same_shape(
    engine: Engine, method: str, path: str, status: int, code: str
) -> None:
    answer = engine.request(method, path)
    assert (answer.status, error(answer)["code"]) == (status, code)


def test_another_model_is_not_served(engine: Engine) -> None:
    answer = engine.chat("hi", model="gpt-4o")
    assert (answer.status, error(answer)["code"], error(answer)["param"]) == (404, "model_not_found", "model")


@pytest.mark.parametrize(
    "fields", [{"prompt": ""}, {"task_type": "poetry"}, {"max_length": 0}, {"temperature": 9}, {"prompt": "a\0"}]
)
def test_reasoning_refuses_nonsense(engine: Engine, fields: dict[str, Any]) -> None:
    answer = engine.post("/reasoning", {"prompt": "x"} | fields)
    assert answer.status == 400
    assert error(answer)["param"] == next(iter(fields))


@pytest.mark.parametrize(("how", "status"), [("fail", 500), ("refuse", 500)])
def test_a_failing_runtime_is_an_error_and_the_next_request_works(engine: Engine, how: str, status: int) -> None:
    answer = engine.chat(script(do=how))
    assert (answer.status, error(answer)["code"]) == (status, "generation_failed")
    assert engine.chat("hi").status == 200


def test_a_failure_in_the_middle_of_a_stream_is_an_error_event(engine: Engine) -> None:
    found = events(engine, script("x", do="fail"))
    assert found[-1]["error"]["code"] == "generation_failed"
    assert "[DONE]" not in found
