"""What the tests of llama.cpp's server hold it to elsewhere: completions, tokens, and what surrounds them."""

from __future__ import annotations

import concurrent.futures
import time
from pathlib import Path
from typing import Any

import pytest
from client import Engine, Stream
from llama_server import BACK, LIFE, TEXT, TOKENS, endless, ok, openai, said, text, tokens, too_long
from shapes import streamed

README = Path(__file__).parents[1] / "README.md"


def test_a_prompt_that_is_too_long_is_refused_with_numbers(server: Engine) -> None:
    too_long(server, TEXT, prompt=LIFE * 100)


def test_a_completion_counts_its_tokens(server: Engine) -> None:
    body = ok(server, TEXT, prompt=LIFE, max_tokens=8, **endless(server))
    assert body["usage"]["prompt_tokens"] == len(tokens(server, LIFE))
    assert body["usage"]["completion_tokens"] == 8
    assert body["choices"][0]["finish_reason"] == "length"


def test_a_streamed_completion_is_the_same(server: Engine) -> None:
    asked = {"prompt": LIFE, "max_tokens": 8, "temperature": 0, **endless(server)}
    *found, done = streamed(server, TEXT, asked)
    assert "".join(event["choices"][0]["text"] for event in found) == text(server, **asked)
    assert (found[-1]["choices"][0]["finish_reason"], done) == ("length", "[DONE]")


def test_openais_client_completes(server: Engine) -> None:
    with openai(server) as client:
        made = client.completions.create(model="tiny", prompt=LIFE, max_tokens=8, temperature=0)
        pieces = client.completions.create(model="tiny", prompt=LIFE, max_tokens=8, temperature=0, stream=True)
        assert made.choices[0].text == "".join(piece.choices[0].text for piece in pieces)


def test_stops_end_a_stream_before_them(server: Engine) -> None:
    whole = text(server, temperature=0, max_tokens=24)
    stop = whole[len(whole) // 2 :][:4]
    with openai(server) as client:
        pieces = client.completions.create(
            model="tiny", prompt=LIFE, max_tokens=24, temperature=0, stop=[stop, "User:\n"], stream=True
        )
        assert "".join(piece.choices[0].text for piece in pieces) == whole[: whole.index(stop)]


def test_the_same_seed_is_the_same_text(server: Engine) -> None:
    assert len({text(server, seed=42, temperature=1.0, max_tokens=16) for _ in range(4)}) == 1


def test_another_seed_is_another_text(server: Engine) -> None:
    assert len({text(server, seed=seed, temperature=1.5, max_tokens=24) for seed in range(4)}) == 4


def test_others_change_nothing(server: Engine) -> None:
    asked = {"seed": 42, "temperature": 1.0, "max_tokens": 16}
    alone = text(server, **asked)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        assert {one.result() for one in [pool.submit(text, server, **asked) for _ in range(4)]} == {alone}


def test_a_prompt_that_was_read_before_changes_nothing(server: Engine) -> None:
    prompt = "Boats and birds are in the harbour of the town, and nobody has counted them yet. " * 3
    first, second = (ok(server, TEXT, prompt=prompt, seed=42, temperature=1.0, max_tokens=16) for _ in range(2))
    assert second["usage"]["prompt_tokens_details"]["cached_tokens"] > 0
    assert first["choices"][0]["text"] == second["choices"][0]["text"]


def test_tokens_are_as_good_as_text(server: Engine) -> None:
    assert text(server, prompt=tokens(server, LIFE), temperature=0) == text(server, temperature=0)


def test_several_prompts_have_several_texts(server: Engine) -> None:
    one = tokens(server, LIFE)
    for prompt in ([one, one], [LIFE, LIFE]):
        first, second = ok(server, TEXT, prompt=prompt, temperature=0, max_tokens=8)["choices"]
        assert first["text"] == second["text"]


def test_more_requests_than_slots_are_all_answered(server: Engine) -> None:
    prompts = ["Write a very long book.", "Write another poem.", "What is LLM?", "The sky is blue.", "Sing.", "Joke!"]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(said, server, messages=[{"role": "user", "content": one}]) for one in prompts]
        assert all(one.result() for one in asked)


def test_probabilities_of_a_completion(server: Engine) -> None:
    told = ok(server, TEXT, prompt=LIFE, logprobs=10, temperature=0, max_tokens=5)["choices"][0]["logprobs"]
    assert len(told["tokens"]) == len(told["token_logprobs"]) == len(told["top_logprobs"]) == 5
    assert all(number <= 0 for number in told["token_logprobs"])
    assert all(1 < len(one) <= 10 for one in told["top_logprobs"])


def test_probabilities_of_a_streamed_completion(server: Engine) -> None:
    asked = {"prompt": LIFE, "logprobs": 10, "temperature": 0, "max_tokens": 5}
    choices = [event["choices"][0] for event in streamed(server, TEXT, asked)[:-1]]
    told = [token for choice in choices if choice["logprobs"] for token in choice["logprobs"]["tokens"]]
    assert told == ok(server, TEXT, **asked)["choices"][0]["logprobs"]["tokens"]


def test_a_biased_completion_never_says_what_it_must_not(server: Engine) -> None:
    before = text(server, temperature=0, max_tokens=24)
    bias = {str(token): -100 for token in tokens(server, before)}
    assert not set(tokens(server, text(server, temperature=0, max_tokens=24, logit_bias=bias))) & set(map(int, bias))


def test_who_leaves_makes_room(server: Engine) -> None:
    for _ in range(4):
        stream = Stream(server.port, {"prompt": LIFE, "max_tokens": 400, "temperature": 2, "stream": True}, TEXT)
        next(stream.events())
        stream.close()
    began = time.monotonic()
    assert text(server, max_tokens=1) is not None
    assert time.monotonic() - began < 30


def test_tokens_are_the_text_again(server: Engine) -> None:
    for content in ("What is the capital of France ?", "unicode 媽 and emoji 🤗", " a\n\tb "):
        assert ok(server, BACK, tokens=tokens(server, content))["content"] == content


def test_the_words_of_tokens_are_told(server: Engine) -> None:
    told = ok(server, TOKENS, content="a test string", return_token_strs=True)
    assert "".join(told["token_strs"]) == "a test string"
    assert len(told["token_strs"]) == len(told["tokens"])


def test_it_is_healthy(server: Engine) -> None:
    assert server.get("/health").status == 200


def test_it_has_one_model(server: Engine) -> None:
    for path in ("/models", "/v1/models"):
        assert [model["id"] for model in server.get(path).json()["data"]] == ["tiny"]


def test_nobody_needs_a_key_that_was_not_set(server: Engine) -> None:
    for key in ("Bearer dummy", "Bearer "):
        assert server.request("GET", "/v1/models", headers={"Authorization": key}).status == 200


def test_the_page_of_the_address_says_what_it_is(server: Engine) -> None:
    assert server.get("/").json()["model"] == "tiny"


LEFT_OUT: dict[str, tuple[str, dict[str, Any], int]] = {
    "grammar": ("/v1/chat/completions", {"grammar": 'root ::= "a"'}, 400),
    "json_schema": ("/v1/chat/completions", {"json_schema": {"const": "42"}}, 400),
    "with_pieces": ("/tokenize", {"content": "a", "with_pieces": True}, 400),
    "`prompt` of texts and tokens": ("/v1/completions", {"prompt": [[1, 2], "a"]}, 400),
    "`logit_bias` of texts": ("/v1/completions", {"prompt": "a", "logit_bias": {" the": -100}}, 400),
    "timings_per_token": ("/v1/completions", {"prompt": "a", "max_tokens": 1, "timings_per_token": True}, 200),
    "return_progress": ("/v1/completions", {"prompt": "a", "max_tokens": 1, "return_progress": True}, 200),
    "post_sampling_probs": ("/v1/completions", {"prompt": "a", "max_tokens": 1, "post_sampling_probs": True}, 200),
    "/completion": ("/completion", {"prompt": "a"}, 404),
    "/apply-template": ("/apply-template", {"messages": []}, 404),
    "/props": ("/props", {}, 404),
    "/slots": ("/slots", {}, 404),
}
"""What is not as there, on purpose: the README says so, and what is answered."""


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_left_out_is_told(server: Engine, name: str) -> None:
    assert (name if " " in name else f"`{name}`") in README.read_text(encoding="utf-8")
    path, body, status = LEFT_OUT[name]
    messages = {"messages": [{"role": "user", "content": "Hi"}]} if "chat" in path else {}
    assert server.post(path, messages | body).status == status
