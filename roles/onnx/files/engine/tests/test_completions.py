"""The older completions, and tokens and texts of each other."""

from __future__ import annotations

import json
from typing import Any

import pytest
from client import Engine
from openai import OpenAI
from shapes import error, given, script, streamed

HI = script("Hé", " STO", "P", "<|end|>")


def complete(engine: Engine, prompt: Any, **fields: Any) -> dict[str, Any]:
    return given(engine, "/v1/completions", {"prompt": prompt, **fields})


def chunks(engine: Engine, prompt: Any, **fields: Any) -> list[Any]:
    return streamed(engine, "/v1/completions", {"prompt": prompt, **fields})


def test_a_completion_has_the_shape_of_openai(engine: Engine) -> None:
    body = complete(engine, HI, model="phi-4-mini-instruct", stop="STOP")
    assert body["id"].startswith("cmpl-")
    assert (body["object"], body["model"], body["system_fingerprint"]) == (
        "text_completion", "phi-4-mini-instruct", "r-test",
    )  # fmt: skip
    assert body["choices"] == [{"index": 0, "text": "Hé ", "logprobs": None, "finish_reason": "stop"}]
    count = len(HI.encode())
    assert body["usage"] == {
        "prompt_tokens": count, "completion_tokens": 8, "total_tokens": count + 8,
        "prompt_tokens_details": {"cached_tokens": 0},
    }  # fmt: skip


def test_without_a_limit_it_has_16_tokens(engine: Engine) -> None:
    choice = complete(engine, script("x" * 40))["choices"][0]
    assert (choice["text"], choice["finish_reason"]) == ("x" * 16, "length")
    assert complete(engine, script("x" * 40), max_tokens=20)["choices"][0]["text"] == "x" * 20


def test_a_streamed_completion_is_text_finish_usage_done(engine: Engine) -> None:
    found = chunks(engine, HI, stream_options={"include_usage": True}, logprobs=2)
    assert found[-1] == "[DONE]"
    assert {chunk["object"] for chunk in found[:-1]} == {"text_completion"}
    choices = [chunk["choices"][0] for chunk in found[:-2]]
    assert "".join(choice["text"] for choice in choices) == "Hé STOP"
    assert [choice["finish_reason"] for choice in choices] == [None] * (len(choices) - 1) + ["stop"]
    assert (found[-2]["choices"], found[-2]["usage"]["completion_tokens"]) == ([], 9)
    told = [choice["logprobs"] for choice in choices if choice["logprobs"]]
    assert "".join(token for one in told for token in one["tokens"]) == "Hé STOP"
    assert [at for one in told for at in one["text_offset"]] == [0, 1, 1, 2, 3, 4, 5, 6]


def test_logprobs_have_the_older_form(engine: Engine) -> None:
    told = complete(engine, HI, logprobs=1, max_tokens=3)["choices"][0]["logprobs"]
    assert set(told) == {"tokens", "token_logprobs", "top_logprobs", "text_offset"}
    assert (told["tokens"], told["text_offset"]) == (["H", "", "é"], [0, 1, 1])
    assert told["token_logprobs"] == pytest.approx([0, 0, 0])
    assert [set(one) for one in told["top_logprobs"]] == [{"H"}, {"\N{REPLACEMENT CHARACTER}", ""}, {"é"}]
    bare = complete(engine, HI, logprobs=0, max_tokens=1)["choices"][0]["logprobs"]
    assert list(bare["top_logprobs"][0]) == ["H"]


def test_several_prompts_are_answered_in_their_order(wide: Engine) -> None:
    said = [script("one", "<|end|>"), script("two", "<|end|>", prefill=0.05)]
    body = complete(wide, said, n=2)
    assert [(one["index"], one["text"]) for one in body["choices"]] == list(enumerate(["one", "one", "two", "two"]))
    assert body["usage"]["prompt_tokens"] == sum(map(len, said)), "each prompt counts once"
    texts = dict.fromkeys(range(4), "")
    for chunk in chunks(wide, said, n=2):
        for choice in chunk["choices"] if chunk != "[DONE]" else []:
            texts[choice["index"]] += choice["text"]
    assert texts == {0: "one", 1: "one", 2: "two", 3: "two"}
    refused = wide.post("/v1/completions", {"prompt": ["a"] * 5})
    assert (refused.status, error(refused)["param"]) == (400, "prompt")
    assert "5 answers" in error(refused)["message"]


def test_one_prompt_that_does_not_fit_refuses_all_of_them(wide: Engine) -> None:
    answer = wide.post("/v1/completions", {"prompt": ["a", script("x", prompt_tokens=400)]})
    assert (answer.status, error(answer)["param"], error(answer)["code"]) == (400, "prompt", "context_length_exceeded")
    assert "the prompt takes 400 tokens" in error(answer)["message"]


@pytest.mark.parametrize("prompt", [[5, 6, 7], [[5, 6, 7]], ["a text"], "a text"])
def test_a_prompt_is_a_text_or_tokens(engine: Engine, prompt: Any) -> None:
    body = complete(engine, prompt, max_tokens=2)
    assert body["usage"]["prompt_tokens"] == (6 if "a text" in prompt else 3)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": 7}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": [True]}, "prompt"),
        ({"prompt": [1.5]}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt"),
        ({"prompt": ["a", ["b"]]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": [10**400]}, "prompt"),
        ({"prompt": [261]}, "prompt"),
        ({"prompt": [[[1]]]}, "prompt"),
        ({"prompt": {"a": 1}}, "prompt"),
        ({"prompt": ["a"] * 129}, "prompt"),
        ({"prompt": "a\0b"}, "prompt"),
        ({"prompt": [1] * 400}, "prompt"),
        ({"prompt": "a", "echo": True}, "echo"),
        ({"prompt": "a", "suffix": "b"}, "suffix"),
        ({"prompt": "a", "grammar": 'root ::= "a"'}, "grammar"),
        ({"prompt": "a", "guided_json": {}}, "guided_json"),
        ({"prompt": "a", "best_of": 2}, "best_of"),
        ({"prompt": "a", "n": 2}, "n"),
        ({"prompt": "a", "logprobs": True}, "logprobs"),
        ({"prompt": "a", "logprobs": 21}, "logprobs"),
        ({"prompt": "a", "max_tokens": 0}, "max_tokens"),
        ({"prompt": "a", "logit_bias": {"999999": 1}}, "logit_bias"),
    ],
)
def test_what_cannot_be_completed_is_a_400_with_its_place(engine: Engine, fields: dict[str, Any], param: str) -> None:
    answer = engine.post("/v1/completions", fields)
    assert answer.status == 400, answer.body
    assert error(answer)["param"] == param


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"prompt": "a", "messages": [{"role": "user", "content": "a"}]}, "prompt"),
        ("/tokenize", {"prompt": ["a"]}, "prompt"),
        ("/tokenize", {"prompt": "a\0"}, "prompt"),
        ("/tokenize", {"messages": [{"role": "user"}]}, "messages[0].content"),
        ("/tokenize", {"messages": [{"role": "user", "content": "a"}], "add_generation_prompt": False},
         "add_generation_prompt"),
        ("/detokenize", {}, "tokens"),
        ("/detokenize", {"tokens": "a"}, "tokens"),
        ("/detokenize", {"tokens": [True]}, "tokens[0]"),
        ("/detokenize", {"tokens": [1, -1]}, "tokens[1]"),
        ("/detokenize", {"tokens": [10**400]}, "tokens[0]"),
        ("/detokenize", {"tokens": [261]}, "tokens"),
    ],
)  # fmt: skip
def test_what_is_no_text_or_token_is_a_400_with_its_place(
    engine: Engine, path: str, body: dict[str, Any], param: str
) -> None:
    answer = engine.post(path, body)
    assert answer.status == 400, answer.body
    assert error(answer)["param"] == param
    assert engine.post(path, {"model": "other", "prompt": "a", "tokens": []}).status == 404


def test_tokens_of_a_text_longer_than_the_context_are_told(engine: Engine) -> None:
    body = engine.post("/tokenize", {"prompt": "a" * 1000}).json()
    assert (body["count"], len(body["tokens"]), body["max_model_len"], body["token_strs"]) == (1000, 1000, 400, None)
    assert engine.post("/tokenize", {"prompt": ""}).json()["count"] == 0
    assert engine.post("/detokenize", {"tokens": [72, 195, 169, 256]}).json() == {
        "prompt": "Hé<|end|>",
        "content": "Hé<|end|>",
    }
    assert engine.post("/detokenize", {"tokens": [195]}).json()["prompt"] == "\N{REPLACEMENT CHARACTER}"


def test_texts_as_large_as_a_body_are_told(engine: Engine) -> None:
    assert engine.post("/detokenize", {"tokens": [200] * 200_000}).status == 200
    refused = engine.post("/detokenize", {"tokens": [256] * 200_000})  # seven bytes each
    assert (refused.status, error(refused)["param"]) == (400, "tokens")
    assert engine.get("/health").status == 200


def test_models_are_also_where_some_clients_look_for_them(engine: Engine) -> None:
    assert engine.get("/models").json() == engine.get("/v1/models").json()


def test_openais_client_completes(engine: Engine) -> None:
    with OpenAI(base_url=f"http://127.0.0.1:{engine.port}/v1", api_key="none", max_retries=0, timeout=60) as client:
        made = client.completions.create(model="phi-4-mini-instruct", prompt=HI, logprobs=2, stop=["STOP"])
        choice = made.choices[0]
        assert (choice.text, choice.finish_reason) == ("Hé ", "stop")
        assert choice.logprobs is not None
        assert "".join(choice.logprobs.tokens or []) == choice.text
        streamed = client.completions.create(model="phi-4-mini-instruct", prompt=HI, stream=True, max_tokens=3)
        assert "".join(chunk.choices[0].text for chunk in streamed) == "Hé"


TEXT = "naïve 😀 日本\n\tend <|end|> of it"


def test_text_to_tokens_and_back_with_the_real_tokenizer(real: Engine) -> None:
    told = real.post("/tokenize", {"prompt": TEXT, "return_token_strs": True}).json()
    assert told["count"] == len(told["tokens"]) == len(told["token_strs"])
    assert "<|end|>" in told["token_strs"]
    assert real.post("/detokenize", {"tokens": told["tokens"]}).json()["prompt"] == TEXT
    messages = [{"role": "user", "content": "Hi"}]
    chat = real.post("/tokenize", {"messages": messages}).json()["tokens"]
    assert real.post("/detokenize", {"tokens": chat}).json()["prompt"] == "<|user|>Hi<|end|><|assistant|>"


def test_a_prompt_in_the_template_is_a_chat(real: Engine) -> None:
    whole = "<|user|>Hi<|end|><|assistant|>"
    asked = {"max_tokens": 24, "temperature": 0, "logprobs": 3}
    said = real.chat("Hi", max_tokens=24, temperature=0).json()["choices"][0]["message"]["content"]
    tokens = real.post("/tokenize", {"prompt": whole}).json()["tokens"]
    for prompt in (whole, tokens, [whole], [tokens]):
        choice = complete(real, prompt, **asked)["choices"][0]
        assert choice["text"] == said
        assert "".join(choice["logprobs"]["tokens"]) == said
    body = complete(real, json.dumps({"a": 1}), max_tokens=1)
    assert body["usage"]["completion_tokens"] == 1
