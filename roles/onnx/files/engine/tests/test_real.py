"""Real generation with onnxruntime-genai and the tiny model: what no fake can show."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from client import Engine, python

from phi4_engine import generation, modeldir

# What the tiny model was taught for these tests: many right answers, and one without an end.
ANY, ENDLESS = "Pick a colour.", "Repeat the word pump without end."
LONG = "the quick brown fox jumps over the lazy dog and runs on "


def text(engine: Engine, content: str, max_tokens: int = 24, **fields: object) -> str:
    body = engine.chat(content, max_tokens=max_tokens, **{"temperature": 0, **fields}).json()
    return str(body["choices"][0]["message"]["content"])


def test_different_prompts_give_different_text(real: Engine) -> None:
    answers = {text(real, prompt) for prompt in ("What is two and two?", "Tell me about the sea.", "Write a poem.")}
    assert len(answers) == 3
    assert all(answers)


def test_greedy_answers_repeat_and_streams_equal_them(real: Engine) -> None:
    whole = text(real, "What is two and two?")
    assert text(real, "What is two and two?") == whole
    stream = real.stream("What is two and two?", max_tokens=24, temperature=0)
    assert stream.text() == whole
    stream.close()


def test_a_stream_brings_each_token_as_it_comes(real: Engine) -> None:
    stream = real.stream("Say a long sentence.", max_tokens=8, temperature=0)
    texts = [event["choices"][0]["delta"].get("content") for event in stream.events() if event != "[DONE]"]
    stream.close()
    assert len([text for text in texts if text]) >= 6


def test_a_seed_repeats_and_sampling_varies(real: Engine) -> None:
    seeded = {text(real, ANY, temperature=1.5, seed=7) for _ in range(3)}
    assert len(seeded) == 1
    assert len({text(real, ANY, temperature=1.5, seed=seed) for seed in range(5)}) > 1
    assert len({text(real, ANY, temperature=1.5) for _ in range(8)}) > 1


def test_five_tokens_are_five_tokens(real: Engine) -> None:
    body = real.chat("Hello", max_tokens=5, temperature=0).json()
    assert body["usage"]["completion_tokens"] == 5
    assert body["choices"][0]["finish_reason"] == "length"


def test_the_answer_ends_where_the_context_ends(real: Engine) -> None:
    usage = real.chat(ENDLESS, temperature=0).json()["usage"]
    assert usage["total_tokens"] == 2048
    refused = real.chat(LONG * 400)
    assert refused.status == 400
    assert refused.json()["error"]["code"] == "context_length_exceeded"


def test_a_stop_string_cuts_the_same_text_earlier(real: Engine) -> None:
    whole = text(real, "Hello")
    word = whole.split()[2]
    assert text(real, "Hello", stop=[word]) == whole[: whole.index(word)]


def test_logprobs_add_up_and_their_texts_are_the_answer(real: Engine) -> None:
    for seed in range(4):
        asked = {"max_tokens": 60, "temperature": 2, "top_k": 0, "seed": seed, "logprobs": True, "top_logprobs": 20}
        choice = real.chat("Hi", **asked).json()["choices"][0]
        told = choice["logprobs"]["content"]
        assert "".join(one["token"] for one in told) == choice["message"]["content"]
        for one in told:
            shares = [math.exp(other["logprob"]) for other in one["top_logprobs"]]
            assert shares == sorted(shares, reverse=True)
            assert len(shares) == 20
            assert sum(shares) <= 1.000001
            assert (
                bytes(one["bytes"]).decode("utf-8", "replace") == one["token"]
                or "\N{REPLACEMENT CHARACTER}" not in one["token"]
            )
    greedy = real.chat("Hi", max_tokens=20, temperature=0, logprobs=True, top_logprobs=1).json()["choices"][0]
    for one in greedy["logprobs"]["content"]:
        assert one["top_logprobs"] == [{name: one[name] for name in ("token", "logprob", "bytes")}]


SLIDERS = {
    "temperature": 0.7, "top_p": 0.8, "min_p": 0.05, "max_tokens": 32, "frequency_penalty": 0.4,
    "presence_penalty": -0.3, "seed": 7, "stop": ["###"], "logit_bias": {"5": 4, "12": -100},
    "reasoning_effort": "low", "top_k": 30,
    "repeat_penalty": 1.15, "repeat_last_n": 128, "mirostat": 1, "mirostat_eta": 0.2, "mirostat_tau": 4.0, "tfs_z": 0.9,
    "num_ctx": 2048, "num_keep": 24, "num_batch": 256, "num_thread": 2, "num_gpu": 0, "use_mmap": True, "think": False,
}  # fmt: skip
"""Every slider of Open WebUI's page moved, under the names that it sends to an OpenAI-compatible server."""


def test_every_slider_of_open_webui_is_taken(real: Engine) -> None:
    first, second = (real.chat("Tell me about boats.", **SLIDERS) for _ in range(2))
    assert first.status == 200
    assert first.json()["choices"] == second.json()["choices"]


@pytest.mark.parametrize(
    "moved",
    [
        {"frequency_penalty": 2},
        {"presence_penalty": 2},
        {"repeat_penalty": 2},
        {"repetition_penalty": 2},
        {"top_k": 5},
        {"min_p": 0.5},
        {"top_p": 0.2},
    ],
)
def test_each_slider_changes_a_long_answer(real: Engine, moved: dict[str, float]) -> None:
    # Of what it was taught the tiny model is so sure that no slider shows: drawn wide, it says something else.
    plain = {"temperature": 2, "seed": 1}
    one, other = text(real, "Tell me more.", 64, **plain), text(real, "Tell me more.", 64, **{**plain, **moved})
    assert one != other


def test_no_special_token_is_ever_shown(real: Engine, model_dir: Path) -> None:
    special = modeldir.inspect(model_dir).special_tokens
    shown = "".join(text(real, "Hi", 200, temperature=2, seed=seed) for seed in range(5))
    assert not [token for token in special if token in shown]
    assert "\N{REPLACEMENT CHARACTER}" not in shown


def test_reasoning_answers(real: Engine) -> None:
    body = real.post("/reasoning", {"prompt": "2+2?", "task_type": "math", "max_length": 8}).json()
    assert body["generated_text"]
    assert body["model"] == "tiny-onnx"


def test_health_answers_while_the_model_works(real: Engine) -> None:
    stream = real.stream(LONG * 40 + ENDLESS, temperature=0)
    found = stream.events()
    for _ in range(10):
        assert real.get("/health").status == 200
    next(found)
    stream.close()


def test_a_prompt_that_is_too_long_is_refused_while_another_is_answered(real: Engine) -> None:
    stream = real.stream(ENDLESS, temperature=0)
    found = stream.events()
    for _ in range(3):
        next(found)
    refused = real.chat(LONG * 400)
    assert (refused.status, refused.json()["error"]["code"]) == (400, "context_length_exceeded")
    running = [line for line in real.get("/metrics").body.splitlines() if line.startswith(b"vllm:num_requests_running")]
    assert running[0].endswith(b" 1"), "that answer is not complete"
    stream.close()


@pytest.fixture(scope="module")
def tokenizer(model_dir: Path) -> generation.Tokenizer:
    """The model's tokenizer in this process."""
    from phi4_engine.genai import GenaiTokenizer

    return GenaiTokenizer(modeldir.inspect(model_dir))


def test_split_characters_are_withheld_by_the_real_decoder(tokenizer: generation.Tokenizer) -> None:
    decode = tokenizer.decoder()
    pieces = [decode(token) for token in tokenizer.encode([{"role": "user", "content": "naïve 😀 日本"}])]
    assert "naïve 😀 日本" in "".join(pieces)
    assert "\N{REPLACEMENT CHARACTER}" not in "".join(pieces)


def test_tokens_are_spelt_as_they_are_decoded(tokenizer: generation.Tokenizer) -> None:
    said = "naïve 😀 日本\n\tend"
    tokens = tokenizer.encode([{"role": "user", "content": said}])
    spelt = b"".join(map(tokenizer.spell, tokens)).decode()
    assert spelt == f"<|user|>{said}<|end|><|assistant|>"
    assert tokenizer.spell(tokenizer.vocabulary.size + 5) == b""


def test_the_template_shows_tools_and_a_special_token_is_one_token(tokenizer: generation.Tokenizer) -> None:
    tools = json.dumps([{"name": "add"}])
    system, user = {"role": "system", "content": "s"}, {"role": "user", "content": "u"}
    plain = tokenizer.encode([system, user])
    with_tools = tokenizer.encode([system | {"tools": tools}, user])
    assert len(with_tools) > len(plain) + 2
    assert set(plain) & tokenizer.vocabulary.stop, "<|end|> closes each turn as a single token"


def halved(data: bytes) -> bytes:
    return data[: len(data) // 2]


def all_ones(data: bytes) -> bytes:
    """Every float becomes NaN; the runtime loads such weights and yields tokens."""
    return b"\xff" * len(data)


@pytest.mark.parametrize(
    ("name", "damage", "told"),
    [("model.onnx", halved, "the model cannot be loaded"), ("model.onnx.data", all_ones, "not finite numbers")],
)
def test_a_damaged_model_does_not_start(
    model_dir: Path, tmp_path: Path, name: str, damage: Callable[[bytes], bytes], told: str
) -> None:
    for file in model_dir.iterdir():
        data = file.read_bytes()
        (tmp_path / file.name).write_bytes(damage(data) if file.name == name else data)
    engine = Engine(python("-m", "phi4_engine"), {"PHI4_MODEL_DIR": str(tmp_path)})
    try:
        assert engine.wait() == 1
        assert told in engine.log
        assert "Traceback" not in engine.log
    finally:
        engine.close()


def test_a_model_process_that_is_stopped_is_told_in_time_and_the_service_ends(model_dir: Path) -> None:
    """With the limits that gateways have: systemd starts it again then."""
    environ = {"PHI4_MODEL_DIR": str(model_dir), "PHI4_CONTEXT_LENGTH": "512"}
    engine = Engine(python("-m", "phi4_engine"), environ)
    try:
        engine.wait_for(200)
        began = time.monotonic()
        os.kill(engine.worker_pid(), signal.SIGSTOP)
        assert engine.wait_for(503).json()["status"] == "stalled"
        assert time.monotonic() - began < 15
        assert engine.wait() == 1
        assert time.monotonic() - began < 60
        assert "Traceback" not in engine.log
    finally:
        engine.close()


def test_sigterm_is_a_clean_end(model_dir: Path) -> None:
    engine = Engine(python("-m", "phi4_engine"), {"PHI4_MODEL_DIR": str(model_dir), "PHI4_CONTEXT_LENGTH": "512"})
    try:
        engine.wait_for(200)
        engine.process.send_signal(signal.SIGTERM)
        assert engine.wait() == 0
        assert "Traceback" not in engine.log
    finally:
        engine.close()
