"""What a stream shows while nothing of its answer is there yet, and what is refused before it begins."""

from __future__ import annotations

import time

from conftest import StartEngine
from shapes import error, script

BUSY = script("x", step=0.05)
"""20 seconds, were it to run to the end of the context of 400."""


def test_a_queued_stream_has_its_first_byte_at_once_and_a_prompt_too_long_its_refusal(start: StartEngine) -> None:
    engine = start()
    engine.wait_for(200)
    first = engine.stream(BUSY)
    next(first.events())
    bytes_after, refused_after, waiting = [], [], []
    for _ in range(6):
        started = time.monotonic()
        waiting.append(engine.stream(script("y", "<|end|>")))
        assert waiting[-1].response.status == 200
        assert waiting[-1].response.readline() == b": waiting\n"
        bytes_after.append(time.monotonic() - started)
        for stream in (False, True):
            started = time.monotonic()
            answer = engine.chat(script("x", prompt_tokens=4000), stream=stream)
            assert (answer.status, error(answer)["code"]) == (400, "context_length_exceeded")
            refused_after.append(time.monotonic() - started)
    # The others say how busy this machine is. Had they waited for the answer in front, all would be 20 s.
    assert (min(bytes_after) < 0.1) and (min(refused_after) < 0.1), (bytes_after, refused_after)
    first.close()
    assert [one.text() for one in waiting] == ["y"] * 6
    for one in waiting:
        one.close()


def test_what_can_be_refused_is_a_status_of_a_stream_too(start: StartEngine) -> None:
    engine = start(PHI4_QUEUE="0", FAKE_LOAD="2")
    engine.wait_for(503)
    loading = engine.chat("hi", stream=True)
    assert (loading.status, error(loading)["code"]) == (503, "model_loading")
    engine.wait_for(200)
    first = engine.stream(BUSY)
    next(first.events())
    full = engine.chat("hi", stream=True)
    assert (full.status, error(full)["type"], bool(full.headers["retry-after"])) == (429, "rate_limit_error", True)
    first.close()


def test_a_queued_stream_that_leaves_gives_its_place_up(start: StartEngine) -> None:
    engine = start(PHI4_QUEUE="1")
    engine.wait_for(200)
    first = engine.stream(BUSY)
    next(first.events())
    second = engine.stream("hi")
    assert engine.chat("hi").status == 429
    second.close()
    engine.wait_for_log("not finished")
    third = engine.stream(script("z", "<|end|>"))
    assert third.response.status == 200
    first.close()
    assert third.text() == "z"
    third.close()


def test_comments_come_while_a_prompt_is_read(start: StartEngine) -> None:
    engine = start(FAKE_COMMENT="0.2")
    engine.wait_for(200)
    stream = engine.stream(script("ok", "<|end|>", prefill=1.0))
    lines = stream.response.read().split(b"\n\n")
    stream.close()
    comments = [line for line in lines if line.startswith(b":")]
    assert len(comments) >= 3, lines
    assert lines.index(comments[-1]) < len(lines) - 2
    assert lines[-2] == b"data: [DONE]"


def test_a_stream_that_fails_after_it_began_says_so_in_an_event(start: StartEngine) -> None:
    engine = start(FAKE_DRAIN="1")
    engine.wait_for(200)
    first = engine.stream(BUSY)
    next(first.events())
    waiting = engine.stream("hi")
    engine.process.terminate()
    [told] = list(waiting.events())
    assert told["error"]["code"] == "stopping"
    first.close()
    waiting.close()
    assert engine.wait() == 0
    assert "Traceback" not in engine.log


def test_an_answer_ends_at_its_deadline_as_one_that_is_too_long(start: StartEngine) -> None:
    engine = start(PHI4_DEADLINE_SECONDS="1")
    engine.wait_for(200)
    body = engine.chat(script("x", step=0.05)).json()
    assert body["choices"][0]["finish_reason"] == "length"
    assert 1 <= body["usage"]["completion_tokens"] < 60
    assert len(body["choices"][0]["message"]["content"]) == body["usage"]["completion_tokens"]
    stream = engine.stream(script("x", step=0.05))
    found = list(stream.events())
    stream.close()
    assert (found[-2]["choices"][0]["finish_reason"], found[-1]) == ("length", "[DONE]")
    assert engine.chat("hi").status == 200, "the model process is free again"
