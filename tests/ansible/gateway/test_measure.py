"""What measures prompts: the models of a store, what the gateway is told, and a socket that nobody can hold."""

from __future__ import annotations

import contextlib
import functools
import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.gateway.measuring import FILES, measure, measure_count, measure_gguf, measure_model, serving
from tests.standins import ollama_store
from tests.standins.ollama_store import TINY

CHAT = "/v1/chat/completions"
CONTEXT = 128


def asked(text: str, model: str = "tiny", **more: Any) -> bytes:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": text}], **more}).encode()


@functools.cache
def counter() -> Any:
    return measure_count.Counter(measure_gguf.read(str(TINY)))


def tokens(prompt: str) -> int:
    return int(counter().count(prompt, 1 << 60, 60).tokens)


def of_length(count: int) -> str:
    """A text whose prompt has so many tokens."""
    text = ""
    while tokens(f"<|user|>{text}<|end|><|assistant|>") < count:
        text += "7 "[len(text) % 2]
    assert tokens(f"<|user|>{text}<|end|><|assistant|>") == count
    return text


@pytest.fixture
def store(tmp_path: Path) -> Path:
    ollama_store.model(tmp_path / "store", "tiny")
    return tmp_path / "store"


def test_a_prompt_is_refused_from_the_token_on_that_ollama_would_cut(store: Path) -> None:
    found = measure.Measure(str(store), CONTEXT)
    assert found.answer(CHAT, asked(of_length(CONTEXT - 1))) == ("fits", "")
    word, document = found.answer(CHAT, asked(of_length(CONTEXT)))
    error = json.loads(document)["error"]
    assert word == "long" and error == {
        "message": "The prompt is too long: this model's maximum context length is 128 tokens, and the messages take "
        "128 tokens, which leaves none for the answer. Shorten the messages.",
        "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded",
    }  # fmt: skip
    assert found.counts == {"fits": 1, "long": 1, "unknown": 0}


def test_the_tokens_of_tools_are_not_taken_too_exactly(store: Path) -> None:
    tool = {"type": "function", "function": {"name": "a", "description": "b", "parameters": {"type": "object"}}}
    found = measure.Measure(str(store), CONTEXT)
    assert found.answer(CHAT, asked("7 " * 30, tools=[tool]))[0] == "fits"
    assert found.answer(CHAT, asked("7 " * 200, tools=[tool]))[0] == "long"


def test_a_variant_has_its_own_text_and_context(store: Path) -> None:
    ollama_store.model(store, "wordy", system="be brief and friendly " * 30)
    ollama_store.model(store, "narrow", params=b'{"num_ctx": 64, "stop": ["<|end|>"]}')
    found = measure.Measure(str(store), CONTEXT)
    text = of_length(100)
    words = {name: found.answer(CHAT, asked(text, name))[0] for name in ("tiny", "wordy", "narrow")}
    assert words == {"tiny": "fits", "wordy": "long", "narrow": "long"}


@pytest.mark.parametrize(
    "name", ["tiny", "tiny:latest", "TINY", "library/tiny", "registry.ollama.ai/library/tiny:latest"]
)
def test_a_model_has_the_names_that_ollama_gives_it(store: Path, name: str) -> None:
    assert measure_model.find(str(store), name) is not None


@pytest.mark.parametrize(
    "name",
    [
        "",
        "other",
        "tiny:other",
        "../tiny",
        "a/../tiny",
        "x" * 500,
        "tiny@sha256:00",
        "../../etc/passwd",
        None,
        7,
        ["tiny"],
    ],
)
def test_other_names_are_of_no_model(store: Path, name: Any) -> None:
    assert measure_model.find(str(store), name) is None


@pytest.mark.parametrize(
    "made",
    [
        {"template": b"{{ .Prompt }}"},
        {"template": b""},
        {"config": {"renderer": "other"}},
        {"projector": b"weights"},
        {"messages": b"[]"},
    ],
)
def test_a_model_that_ollama_asks_otherwise_is_not_measured(tmp_path: Path, made: dict[str, Any]) -> None:
    ollama_store.model(tmp_path, "odd", **made)
    assert measure_model.find(str(tmp_path), "odd") is None
    assert measure.Measure(str(tmp_path), 8).answer(CHAT, asked("a" * 99, "odd"))[0] == "unknown"


def test_what_cannot_be_read_lets_prompts_pass_and_is_told_once(tmp_path: Path, capsys: Any) -> None:
    ollama_store.model(tmp_path, "bad", weights=b"GGUF, but no more of it than this")
    found = measure.Measure(str(tmp_path), 8)
    assert [found.answer(CHAT, asked("a" * 99, "bad"))[0] for _ in range(3)] == ["unknown"] * 3
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1 and "prompts are not measured, and pass" in said[0]
    (tmp_path / "manifests" / "registry.ollama.ai" / "library" / "bad" / "latest").write_text("[]")
    assert found.answer(CHAT, asked("a" * 99, "bad"))[0] == "unknown"
    assert measure.Measure(str(tmp_path / "none"), 8).answer(CHAT, asked("a" * 99))[0] == "unknown"


def test_a_count_that_takes_too_long_lets_a_prompt_pass(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "COUNT_SECONDS", 0.0)
    found = measure.Measure(str(store), 40_000)
    assert found.answer(CHAT, asked("words and " * 9_000)) == ("unknown", "it takes too long to count")


def test_who_waits_too_long_for_another_one_passes(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "WAIT_SECONDS", 0.05)
    found = measure.Measure(str(store), CONTEXT)
    with found._lock:
        assert found.answer(CHAT, asked("a " * 900)) == ("unknown", "others are being measured")
    assert found.answer(CHAT, asked("a " * 900))[0] == "long"


def exchanged(place: Path, sent: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(place))
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(65536), b""))


@pytest.mark.parametrize(
    "sent",
    [
        b"", b"\n", b"nonsense\n", b"/v1/x -1\n", b"/v1/x 99999999\n", b"/v1/x 10\nshort", b"x" * 100_000,
        b"\xff\xff 1\na", b"/v1/x 1",
    ],
)  # fmt: skip
def test_what_is_no_question_has_no_answer(tmp_path: Path, sent: bytes) -> None:
    with serving(tmp_path, CONTEXT) as place:
        with contextlib.suppress(ConnectionError):
            assert exchanged(place, sent) == b""
        body = asked("a")
        assert exchanged(place, b"%s %d\n%s" % (CHAT.encode(), len(body), body)) == b"fits \n"
        assert json.loads(exchanged(place, b"COUNTS 0\n")) == {"fits": 1, "long": 0, "unknown": 0}


def test_those_who_say_nothing_are_sent_away_and_hold_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure.Handler, "timeout", 0.5)
    with serving(tmp_path, CONTEXT) as place, contextlib.ExitStack() as silent:
        for _ in range(measure.MOST_CONNECTIONS):
            one = silent.enter_context(socket.socket(socket.AF_UNIX))
            one.connect(str(place))
        end = time.monotonic() + 20
        answer = b""
        while not answer and time.monotonic() < end:
            with contextlib.suppress(ConnectionError):
                answer = exchanged(place, b"COUNTS 0\n")
        assert answer


def test_several_at_once_are_all_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "WAIT_SECONDS", 60.0)  # on a busy machine too
    monkeypatch.setattr(measure, "COUNT_SECONDS", 60.0)
    found = []
    with serving(tmp_path, CONTEXT) as place:
        body = asked("words and " * 400)
        question = b"%s %d\n%s" % (CHAT.encode(), len(body), body)
        threads = [threading.Thread(target=lambda: found.append(exchanged(place, question)[:5])) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [b"long "] * 8


def test_the_program_runs_as_its_unit_starts_it(tmp_path: Path) -> None:
    """From a release: with its plan, beside its modules, in an isolated Python."""
    for name in FILES.glob("measure*.py"):
        (tmp_path / name.name).write_bytes(name.read_bytes())
    ollama_store.model(tmp_path / "store", "tiny")
    (tmp_path / "plan.json").write_text(json.dumps({"context_length": CONTEXT, "model": {"served_name": "tiny"}}))
    place = tmp_path / "socket"
    place.write_text("left by one that was killed")
    argv = [sys.executable, "-IB", str(tmp_path / "measure.py"), str(place)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready to measure prompts for tiny\n"
            body = asked("a " * 900)
            assert exchanged(place, b"%s %d\n%s" % (CHAT.encode(), len(body), body)).startswith(b"long {")
        finally:
            process.terminate()
