"""What the stand-in answers is what Ollama answers: generate, chat, ps, and the API under /v1."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

from tests.unit.standins.ollama import TOOLS, Ollama, gguf_file

HELLO = {"model": "tiny", "prompt": "Hello"}
MESSAGES = [{"role": "user", "content": "What is the weather in Seoul?"}]


def events(answer: Any) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_generate_streams_and_is_the_same_twice(served: Ollama) -> None:
    first, second = served.lines("/api/generate", HELLO), served.lines("/api/generate", HELLO)
    words = ["".join(line["response"] for line in one) for one in (first, second)]
    assert words[0] == words[1] != ""
    assert [line["done"] for line in first].count(True) == 1
    last = first[-1]
    assert (last["done_reason"], last["eval_count"]) == ("stop", len(first) - 1)
    assert last["prompt_eval_count"] == 2
    whole = served.post("/api/generate", {**HELLO, "stream": False}).json()
    assert whole["response"] == words[0]


def test_limits_and_options(served: Ollama) -> None:
    short = served.post("/api/generate", {**HELLO, "stream": False, "options": {"num_predict": 3}}).json()
    assert (short["eval_count"], short["done_reason"]) == (3, "length")
    first = short["response"].split()[0]
    stopped = served.post("/api/generate", {**HELLO, "stream": False, "options": {"stop": [first]}}).json()
    assert (stopped["response"], stopped["done_reason"]) == ("", "stop")
    wrong = served.post("/api/generate", {**HELLO, "options": {"num_ctx": "many"}})
    assert (wrong.status_code, wrong.json()["error"]) == (500, 'option "num_ctx" must be of type integer')


def test_refusals(served: Ollama) -> None:
    absent = served.post("/api/generate", {"model": "absent", "prompt": "x"})
    assert (absent.status_code, absent.json()["error"]) == (404, "model 'absent' not found")
    assert served.post("/api/chat", {"messages": MESSAGES}).json()["error"] == "model is required"
    without = served.post("/api/chat", {"model": "plain", "messages": MESSAGES, "tools": TOOLS})
    assert without.status_code == 400
    assert without.json()["error"] == "registry.ollama.ai/library/plain:latest does not support tools"
    thinking = served.post("/api/chat", {"model": "plain", "messages": MESSAGES, "think": True})
    assert thinking.json()["error"] == '"plain" does not support thinking'


def test_an_empty_prompt_loads_and_keep_alive_unloads(served: Ollama) -> None:
    loaded = served.post("/api/generate", {"model": "tiny", "keep_alive": -1}).json()
    assert loaded["done_reason"] == "load"
    found = {one["name"]: one for one in served.ask("GET", "/api/ps").json()["models"]}["tiny:latest"]
    assert (found["size_vram"], found["context_length"]) == (0, 256)
    assert found["size"] > 0
    assert found["expires_at"] > "2100"
    unloaded = served.post("/api/generate", {"model": "tiny", "keep_alive": 0}).json()
    assert unloaded["done_reason"] == "unload"
    assert "tiny:latest" not in [one["name"] for one in served.ask("GET", "/api/ps").json()["models"]]
    assert served.post("/api/generate", {"model": "tiny", "keep_alive": "soon"}).status_code == 400


def test_a_tool_is_called_and_its_result_is_answered(served: Ollama) -> None:
    asked = {"model": "tiny", "messages": MESSAGES, "tools": TOOLS, "stream": False}
    call = served.post("/api/chat", asked).json()["message"]["tool_calls"][0]["function"]
    assert (call["name"], call["arguments"]) == ("weather", {"city": "Seoul", "days": 2, "hours": []})
    told = [*MESSAGES, {"role": "tool", "content": "Rain"}]
    answered = served.post("/api/chat", {**asked, "messages": told}).json()["message"]
    assert "tool_calls" not in answered
    assert answered["content"]


def test_openai_models_and_errors(served: Ollama) -> None:
    listed = served.ask("GET", "/v1/models").json()
    assert {"tiny:latest", "plain:latest"} <= {one["id"] for one in listed["data"]}
    assert served.ask("GET", "/v1/models/tiny").json()["id"] == "tiny"
    absent = served.post("/v1/chat/completions", {"model": "absent", "messages": MESSAGES})
    assert (absent.status_code, absent.json()["error"]["type"]) == (404, "not_found_error")
    empty = served.post("/v1/chat/completions", {"model": "tiny", "messages": []})
    assert (empty.status_code, empty.json()["error"]["type"]) == (400, "invalid_request_error")


def test_openai_chat(served: Ollama) -> None:
    asked = {"model": "tiny", "messages": MESSAGES, "max_tokens": 5}
    whole = served.post("/v1/chat/completions", asked).json()
    assert whole["usage"]["completion_tokens"] == 5
    assert whole["choices"][0]["finish_reason"] == "length"
    found = events(
        served.post("/v1/chat/completions", {**asked, "stream": True, "stream_options": {"include_usage": True}})
    )
    text = "".join(one["choices"][0]["delta"].get("content", "") for one in found if one["choices"])
    assert text == whole["choices"][0]["message"]["content"]
    assert found[0]["choices"][0]["delta"]["role"] == "assistant"
    assert found[-2]["choices"][0]["finish_reason"] == "length"
    assert found[-1]["usage"] == whole["usage"]


def test_openai_tools_whole_and_streamed(served: Ollama) -> None:
    asked = {"model": "tiny", "messages": MESSAGES, "tools": TOOLS}
    choice = served.post("/v1/chat/completions", asked).json()["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    call = choice["message"]["tool_calls"][0]
    assert json.loads(call["function"]["arguments"]) == {"city": "Seoul", "days": 2, "hours": []}
    found = events(served.post("/v1/chat/completions", {**asked, "stream": True}))
    assert found[0]["choices"][0]["delta"]["tool_calls"][0]["function"]["name"] == "weather"
    assert found[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_openai_completions(served: Ollama) -> None:
    asked = {"model": "tiny", "prompt": "Hello", "max_tokens": 4}
    whole = served.post("/v1/completions", asked).json()
    assert whole["usage"]["total_tokens"] == 6
    found = events(served.post("/v1/completions", {**asked, "stream": True}))
    assert "".join(one["choices"][0]["text"] for one in found) == whole["choices"][0]["text"]


def test_a_full_queue_is_busy(ollama: Callable[..., Ollama]) -> None:
    one = ollama(OLLAMA_MAX_QUEUE="2", OLLAMA_NUM_PARALLEL="1")
    one.create("tiny")
    statuses: list[int] = []
    asked = {"model": "tiny", "prompt": "Hello " * 3, "stream": False}
    threads = [
        threading.Thread(target=lambda: statuses.append(one.post("/api/generate", asked).status_code)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses.count(200) >= 2
    assert statuses.count(503) >= 1
    assert set(statuses) == {200, 503}


def test_one_model_at_a_time(ollama: Callable[..., Ollama]) -> None:
    one = ollama(OLLAMA_MAX_LOADED_MODELS="1")
    one.create("first")
    other = one.upload(gguf_file.content(note="another one"))
    one.lines("/api/create", {"model": "second", "files": {"model.gguf": other}})
    for name in ("first", "second"):
        one.post("/api/generate", {"model": name})
    assert one.loaded() == ["second:latest"]
