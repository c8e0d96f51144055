"""Open WebUI's advanced parameters, as its backend sends them to an OpenAI endpoint: all, at the ends of their sliders.

It casts some to a number and passes on the rest as they are, those for Ollama included, at the top of the body.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from client import Engine
from shapes import error, events, given, script

from phi4_engine.chat import chat_job
from phi4_engine.protocol import ChatRequest

README = Path(__file__).parents[1] / "README.md"
ALL = 2**31 - 1
APPLIED: dict[str, list[tuple[Any, str, Any]]] = {
    "temperature": [(0.0, "temperature", 0.0), (0.8, "temperature", 0.8), (2.0, "temperature", 2.0)],
    "top_k": [(0, "top_k", 0), (0.5, "top_k", 1), (40, "top_k", 40), (40.5, "top_k", 41), (1000, "top_k", 1000)],
    "top_p": [(0.0, "top_p", 0.0), (0.9, "top_p", 0.9), (1.0, "top_p", 1.0)],
    "min_p": [(0.0, "min_p", 0.0), (0.05, "min_p", 0.05), (1.0, "min_p", 1.0)],
    "frequency_penalty": [(-2.0, "frequency_penalty", -2.0), (1.1, "frequency_penalty", 1.1)],
    "presence_penalty": [(-2.0, "presence_penalty", -2.0), (2.0, "presence_penalty", 2.0)],
    "repeat_penalty": [
        (1.1, "repetition_penalty", 1.1), (2, "repetition_penalty", 2.0), (0.1, "repetition_penalty", 0.1),
        # What would divide by nothing, or turn scores around, is no penalty.
        (0.05, "repetition_penalty", 1.0), (0, "repetition_penalty", 1.0), (-2, "repetition_penalty", 1.0),
    ],
    "seed": [(0, "seed", 0), (-1, "seed", -1), (42, "seed", 42)],
    "logit_bias": [({"65": 100, "66": -100}, "logit_bias", ((65, 100.0), (66, -100.0))), ({}, "logit_bias", ())],
    "max_tokens": [
        (1, "max_tokens", 1), (128, "max_tokens", 128), (131072, "max_tokens", 131072),
        (-1, "max_tokens", ALL), (-2, "max_tokens", ALL),
    ],
    "stop": [(["\n\n", "User:"], "stop", ("\n\n", "User:")), ([*"QWXYZ0123456"], "stop", (*"QWXYZ0123456",))],
    "response_format": [({"type": "json_object"}, "form", ...)],
}  # fmt: skip
"""Value, and what of the job it becomes."""
IGNORED: dict[str, list[Any]] = {
    "mirostat": [0, 1, 2],
    "mirostat_eta": [0, 0.1, 1],
    "mirostat_tau": [0, 5.0, 10],
    "repeat_last_n": [-1, 64, 128],
    "tfs_z": [0, 1, 2],
    "num_ctx": [-1, 2048, 10240000],
    "num_keep": [-1, 24, 10240000],
    "num_batch": [256, 512, 8192],
    "num_thread": [1, 2, 256],
    "num_gpu": [0, 256],
    "use_mmap": [True, False],
    "use_mlock": [True, False],
    "keep_alive": ["5m", -1],
    "think": [True, False, "medium"],
    "format": ["json", {"type": "object"}],
    "reasoning_effort": ["medium", ""],
}
AROUND = {"stream": True, "stream_options": {"include_usage": True}, "chat_id": "c", "session_id": "s", "id": "m"}


def job(fields: dict[str, Any]) -> Any:
    """What a request with these parameters becomes. Each of them is known to it, or of none of its models."""
    messages = [{"role": "user", "content": "Hi"}]
    return chat_job(ChatRequest.model_validate({"messages": messages, **fields}), "chatcmpl-1", 77)


def ask(engine: Engine, **fields: Any) -> dict[str, Any]:
    """The answer, greedy and short where the parameters do not say otherwise."""
    answer = engine.chat("What is the capital of Korea?", **{"temperature": 0, "max_tokens": 8, **fields})
    assert answer.status == 200, (fields, answer.body)
    found = answer.json()
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("name", APPLIED)
def test_a_parameter_is_what_the_answer_is_drawn_with(real: Engine, name: str) -> None:
    for value, attribute, wanted in APPLIED[name]:
        made = job({name: value})
        found = getattr(made.sampling if hasattr(made.sampling, attribute) else made, attribute)
        assert found is not None
        assert wanted is ... or found == wanted, value
        assert ask(real, **{name: value})["usage"]["completion_tokens"] > 0


@pytest.mark.parametrize("name", IGNORED)
def test_a_parameter_of_other_engines_changes_nothing_and_is_named_in_the_readme(real: Engine, name: str) -> None:
    assert f"`{name}`" in README.read_text(encoding="utf-8")
    without = ask(real)["choices"]
    for value in IGNORED[name]:
        assert job({name: value}) == job({})
        assert ask(real, **{name: value})["choices"] == without


@pytest.mark.parametrize("end", [0, -1])
def test_all_of_them_at_once(real: Engine, end: int) -> None:
    moved = {name: rows[end][0] for name, rows in APPLIED.items()}
    moved |= {name: values[end] for name, values in IGNORED.items()}
    whole = ask(real, **moved)
    found = events(real, "What is the capital of Korea?", **moved, **AROUND)
    assert found[-1] == "[DONE]"
    said = "".join(event["choices"][0]["delta"].get("content", "") for event in found[:-2])
    assert said == whole["choices"][0]["message"]["content"]
    assert found[-2]["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]


@pytest.mark.parametrize("limit", [-1, -2])
@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/chat/completions", "max_tokens"),
        ("/v1/chat/completions", "max_completion_tokens"),
        ("/v1/completions", "max_tokens"),
    ],
)
def test_without_a_limit_the_rest_of_the_context_is_the_limit(engine: Engine, path: str, name: str, limit: int) -> None:
    said = script(prompt_tokens=350)
    asked = {"messages": [{"role": "user", "content": said}]} if "chat" in path else {"prompt": said}
    assert given(engine, path, {**asked, name: limit})["usage"]["completion_tokens"] == 50


def test_no_tokens_at_all_are_refused_and_the_page_shows_why(engine: Engine) -> None:
    for stream in (False, True):
        answer = engine.chat("hi", max_tokens=0, stream=stream)
        assert (answer.status, error(answer)["param"]) == (400, "max_tokens")
