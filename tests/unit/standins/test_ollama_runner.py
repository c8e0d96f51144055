"""The process that holds a model in the stand-in does what Ollama's does: loading, memory, threads, limits, its log."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from phi4_edge.data import load_catalog
from tests.unit.standins.ollama import TEMPLATE, Ollama

pytestmark = pytest.mark.slow

MIB = 1 << 20
PER_TOKEN = load_catalog().kv_bytes("phi-4-mini-instruct", "f16")
Starts = Callable[..., Ollama]


def resident(process: int) -> int:
    """Bytes of its own that the process holds."""
    text = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"RssAnon:\s+(\d+) kB", text)
    assert found, text
    return int(found[1]) * 1024


def prompt(number: int, tokens: int) -> str:
    """A prompt of so many tokens that no other begins like."""
    return " ".join(f"{number:02d}{place % 100:02d}" for place in range(tokens))


def test_nothing_is_loaded_before_the_first_request_and_after_a_kill(ollama: Starts) -> None:
    one = ollama(OLLAMA_KEEP_ALIVE="-1")
    one.create()
    assert (one.loaded(), one.runners()) == ([], [])
    one.said("Hello")
    first = one.runners()
    assert (one.loaded(), len(first)) == (["tiny:latest"], 1)
    os.kill(first[0], signal.SIGKILL)
    assert one.said("Hello")["response"]
    assert one.runners() != first
    assert len(one.runners()) == 1


def test_a_model_is_listed_while_it_is_loaded_and_a_request_waits_for_it(ollama: Starts) -> None:
    one = ollama(STANDIN_LOAD_SECONDS="1.5", OLLAMA_KEEP_ALIVE="-1")
    one.create()
    began = time.monotonic()
    asked = threading.Thread(target=one.said, args=("Hello",))
    asked.start()
    time.sleep(0.5)
    assert one.loaded() == ["tiny:latest"]
    asked.join()
    assert time.monotonic() - began > 1.5
    # The second one finds it loaded.
    first = one.runners()
    one.said("Hello")
    assert one.runners() == first


def test_a_runner_that_is_killed_in_an_answer_is_told_in_ollamas_words(ollama: Starts) -> None:
    one = ollama()
    one.create()
    one.said("Hello")
    answers: list[dict[str, object]] = []
    asked = threading.Thread(target=lambda: answers.append(one.said("Go on for ever")))
    asked.start()
    time.sleep(0.5)
    os.kill(one.runners()[0], signal.SIGKILL)
    asked.join()
    assert "model runner has unexpectedly stopped" in str(answers[0]["error"])


@pytest.mark.parametrize(("limit", "kept"), [(None, 3), ("0", 0), ("48", 1), ("200", 3)])
def test_prompts_are_kept_in_memory_up_to_the_limit(ollama: Starts, limit: str | None, kept: int) -> None:
    one = ollama(OLLAMA_CONTEXT_LENGTH="512", **({} if limit is None else {"LLAMA_ARG_CACHE_RAM": limit}))
    one.create(shaped=True)
    one.said(prompt(0, 4), num_predict=1)
    before = resident(one.runners()[0])
    assert before > 512 * PER_TOKEN
    for number in range(1, 5):
        one.said(prompt(number, 300), num_predict=1)
    grown = resident(one.runners()[0]) - before
    # Three of four were pushed out of the only slot, each with 301 tokens.
    assert grown == pytest.approx(kept * 301 * PER_TOKEN, abs=4 * MIB)
    assert ("prompt cache is disabled" in one.log()) is (limit == "0")
    assert ("size limit: 8192 MiB" in one.log()) is (limit is None)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a cgroup")
def test_the_kept_prompts_are_what_a_memory_limit_kills_it_for(
    ollama: Starts, memory_limit: Callable[..., None]
) -> None:
    one = ollama(OLLAMA_CONTEXT_LENGTH="512")
    one.create(shaped=True)
    # Two programs of about 30 MiB each, 64 MiB of KV cache, and room for one prompt of 38 MiB.
    memory_limit(one.process.pid, 190 * MIB)
    said = [one.said(prompt(number, 300), num_predict=1) for number in range(1, 6)]
    killed = ["error" in answer for answer in said].index(True)
    assert killed >= 2
    assert "model runner has unexpectedly stopped" in said[killed]["error"]


def test_threads_are_those_of_the_environment(ollama: Starts) -> None:
    one = ollama(LLAMA_ARG_THREADS="1")
    one.create()
    one.said("Hello")
    assert "system_info: n_threads = 1 " in one.log()


def test_an_answer_has_ten_contexts_unless_something_says_less(ollama: Starts) -> None:
    one = ollama(OLLAMA_CONTEXT_LENGTH="24")
    one.create()
    one.create("bounded", **{"from": "tiny"}, parameters={"num_predict": 24})
    found = one.said("Go on for ever")
    assert (found["eval_count"], found["done_reason"]) == (240, "length")
    bounded = one.said("Go on for ever", "bounded")
    assert (bounded["eval_count"], bounded["done_reason"]) == (24, "length")
    assert one.said("Go on for ever", "bounded", num_predict=30)["eval_count"] == 30
    assert one.said("Go on for ever", num_predict=9000)["eval_count"] == 240
    asked = {"model": "bounded", "messages": [{"role": "user", "content": "Go on for ever"}]}
    said = one.post("/v1/chat/completions", asked).json()
    assert (said["usage"]["completion_tokens"], said["choices"][0]["finish_reason"]) == (24, "length")
    assert one.post("/v1/chat/completions", {**asked, "max_tokens": 40}).json()["usage"]["completion_tokens"] == 40


def test_the_chatter_of_a_load_and_of_a_request(ollama: Starts) -> None:
    one = ollama()
    one.create()
    counts: list[int] = []
    for _ in range(2):
        before = one.log().count("\n")
        one.said("Hello")
        counts.append(one.log().count("\n") - before)
    assert 150 <= counts[0] - counts[1] <= 250
    assert 50 <= counts[1] <= 70
    assert re.search(r"(?m)^0\.\d\d\.\d{3}\.\d{3} I slot", one.log())
    assert f"system_info: n_threads = {os.cpu_count()} " in one.log()


def test_an_option_of_a_request_has_the_model_loaded_again(ollama: Starts) -> None:
    one = ollama(OLLAMA_KEEP_ALIVE="-1", OLLAMA_CONTEXT_LENGTH="128", STANDIN_LOAD_SECONDS="0")
    one.create()
    one.said("Hello")
    first = one.runners()
    one.said("Hello", temperature=0.5)
    assert one.runners() == first
    reloading = ({"num_ctx": 64}, {"num_thread": 1}, {"use_mmap": False}, {"num_batch": 8}, {"shift": False})
    for option in reloading:
        before = one.runners()
        one.said("Hello", **option)
        assert one.runners() != before, option
        assert len(one.runners()) == 1
        context = one.ask("GET", "/api/ps").json()["models"][0]["context_length"]
        assert context == option.get("num_ctx", 128)


def test_v1_cannot_have_it_loaded_again_but_keep_alive_unloads_it(ollama: Starts) -> None:
    one = ollama(OLLAMA_KEEP_ALIVE="-1")
    one.create()
    asked = {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}]}
    one.post("/v1/chat/completions", asked)
    first = one.runners()
    one.post("/v1/chat/completions", {**asked, "num_ctx": 64, "options": {"num_ctx": 64}, "keep_alive": 0})
    assert one.runners() == first
    one.post("/api/generate", {"model": "tiny", "keep_alive": 0})
    assert (one.runners(), one.loaded()) == ([], [])


def test_a_prompt_that_is_too_long_loses_its_middle(ollama: Starts) -> None:
    one = ollama(OLLAMA_CONTEXT_LENGTH="100")
    one.create()
    found = one.said(prompt(1, 110), num_predict=1)
    assert 50 <= found["prompt_eval_count"] <= 70
    assert found["response"]
    assert "input truncated" in one.log()


def test_variants_share_what_is_loaded_and_ps_has_the_first_name(ollama: Starts) -> None:
    one = ollama(OLLAMA_KEEP_ALIVE="-1", OLLAMA_MAX_LOADED_MODELS="1")
    one.create("base", template=TEMPLATE)
    one.create("variant", **{"from": "base"}, system="Be brief.")
    words = [one.said("Hello", "variant")["response"]]
    first = one.runners()
    words.append(one.said("Hello", "base")["response"])
    assert (one.runners(), one.loaded()) == (first, ["variant:latest"])
    assert words[0] != words[1]
