"""The engine with several rows and the tiny model: throughput, reuse, fairness, cancels, a short soak."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soak
from client import Engine, healthy, python
from scripted import ScriptedModel

from phi4_engine import modeldir
from phi4_engine.loop.decode import Answer, DecodeLoop
from phi4_engine.loop.rows import Rows
from phi4_engine.loop.sampling import Sampler
from phi4_engine.loop.schedule import PIECE_SECONDS, Schedule
from phi4_engine.wire import Command, Event, Finished, Job, Refused, Sampling, Started, decode_event, encode_command
from phi4_engine.worker import Backend, Pipes, Worker

SYSTEM = "You answer questions about boats in a harbour with few words and without any doubt. " * 30
"""About 500 tokens of the tiny model."""


@pytest.fixture(scope="module")
def four(model_dir: Path) -> Iterator[Engine]:
    """An engine with four rows."""
    environ = {"PHI4_MODEL_DIR": str(model_dir), "PHI4_CONTEXT_LENGTH": "4096", "PHI4_PARALLEL": "4"}
    with healthy(environ) as running:
        yield running


def ask(engine: Engine, content: str, system: str = SYSTEM, **fields: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": content}]
    body = engine.post("/v1/chat/completions", {"messages": messages, "max_tokens": 8, "temperature": 0, **fields})
    assert body.status == 200, body.body
    found = body.json()
    assert isinstance(found, dict)
    return found


def cached(body: dict[str, Any]) -> int:
    return int(body["usage"]["prompt_tokens_details"]["cached_tokens"])


def test_answers_at_once_are_those_one_by_one(four: Engine) -> None:
    asked = [(f"What is {number} and {number}?", 4 + 5 * number) for number in range(8)]

    def answer(one: tuple[str, int]) -> str:
        body = four.chat(one[0], max_tokens=one[1], temperature=0 if one[1] % 2 else 1.2, seed=one[1])
        return str(body.json()["choices"][0]["message"]["content"])

    alone = [answer(one) for one in asked]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(answer, asked)) == alone


def test_usage_says_what_was_there_already(four: Engine) -> None:
    first = ask(four, "Where is the red boat?")
    second = ask(four, "How many birds are there?")
    assert cached(first) == 0
    assert 450 < cached(second) < second["usage"]["prompt_tokens"] - 1
    stream = four.stream("Hello there", stream_options={"include_usage": True}, max_tokens=1)
    [last] = [event for event in stream.events() if event != "[DONE]" and event.get("usage")]
    stream.close()
    assert last["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}


def test_several_answers_are_those_of_seeds_in_a_row(four: Engine) -> None:
    asked: dict[str, Any] = {"max_tokens": 20, "temperature": 1.5, "repetition_penalty": 1.2, "presence_penalty": 0.5}

    def contents(**fields: Any) -> list[str]:
        return [one["message"]["content"] for one in ask(four, "Say it.", **{**asked, **fields})["choices"]]

    together = contents(seed=40, n=4)
    assert len(set(together)) == 4
    assert together == [contents(seed=40 + index)[0] for index in range(4)]
    body = ask(four, "And now?", n=3)
    assert body["usage"]["completion_tokens"] <= 24
    assert body["usage"]["prompt_tokens"] == ask(four, "And now?")["usage"]["prompt_tokens"]


def test_the_cache_of_prefixes_can_be_off(model_dir: Path) -> None:
    environ = {"PHI4_MODEL_DIR": str(model_dir), "PHI4_PARALLEL": "2", "PHI4_PREFIX_CACHE": "off"}
    engine = Engine(python("-m", "phi4_engine"), environ)
    try:
        engine.wait_for(200)
        assert [cached(ask(engine, question)) for question in ("Where?", "Where?", "When?")] == [0, 0, 0]
    finally:
        engine.close()


@pytest.fixture(scope="module")
def backend(model_dir: Path) -> Backend:
    """The model in this process, with one row."""
    from phi4_engine.genai import GenaiTokenizer
    from phi4_engine.loop.session import Session

    files = modeldir.inspect(model_dir)
    return Backend(GenaiTokenizer(files), Session(files, rows=1, capacity=4096, threads=1))


def test_a_shared_system_prompt_is_read_once(backend: Backend) -> None:
    rows = Rows(backend.model.cache)
    loop = DecodeLoop(backend.model, rows, Schedule())

    def seconds(question: str) -> float:
        """Of the processor, to the first token."""
        tokens = backend.tokenizer.encode(
            [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]
        )
        loop.add(Answer(question, np.array(tokens, np.int32), Sampler(0.0, 1.0)))
        began = time.process_time()
        while not loop.advance():
            pass
        took = time.process_time() - began
        loop.drop(question)
        return took

    first = []
    for _ in range(5):
        rows.take("nobody", np.zeros(1, np.int32))
        rows.forget("nobody")
        first.append(seconds("Where is it?"))
    again = [seconds(f"How many of {number} are there?") for number in range(5)]
    assert statistics.median(again) <= 0.25 * statistics.median(first)


class Wire:
    """A worker in this process, behind its real pipes."""

    def __init__(self, backend: Backend, pool: ThreadPoolExecutor) -> None:
        inbound, self._commands = os.pipe()
        self._events, outbound = os.pipe()
        self._worker = pool.submit(self._serve, Worker(backend, Pipes(inbound, outbound), 4096), (inbound, outbound))
        self._buffer = b""

    def send(self, command: Command) -> None:
        os.write(self._commands, encode_command(command))

    def next(self) -> Event:
        """The next event."""
        while b"\n" not in self._buffer:
            self._buffer += os.read(self._events, 65536)
        line, self._buffer = self._buffer.split(b"\n", 1)
        return decode_event(line)

    def until(self, kind: type[Event], name: str) -> None:
        """Events pass until this one."""
        while not (isinstance(event := self.next(), kind) and getattr(event, "id", "") == name):
            assert not isinstance(event, Refused), event

    def close(self) -> None:
        """The worker has ended, as it does when the web process is gone."""
        os.close(self._commands)
        self._worker.result(30)
        os.close(self._events)

    @staticmethod
    def _serve(worker: Worker, ends: tuple[int, int]) -> None:
        worker.run()
        for end in ends:
            os.close(end)


def harbour(backend: Backend, number: int = 0) -> str:
    """A text of about 3,900 tokens; each number has one of its own from the start."""
    sentence = f"{number} boats and {number} birds in the harbour of the town. "
    one, two = (len(backend.tokenizer.encode([{"role": "user", "content": sentence * count}])) for count in (1, 2))
    return sentence * (3900 // (two - one))


def job(name: str, content: str, max_tokens: int = 1) -> Command:
    return Command("generate", name, Job(name, ({"role": "user", "content": content},), max_tokens, Sampling(0.0)))


@pytest.fixture
def wire(backend: Backend) -> Iterator[Wire]:
    with ThreadPoolExecutor(1) as pool:
        connected = Wire(backend, pool)
        yield connected
        connected.close()


def test_a_client_that_leaves_while_its_prompt_is_read_frees_the_row(wire: Wire, backend: Backend) -> None:
    waited = []
    for number in range(8):
        wire.send(job(f"long{number}", harbour(backend, number)))
        wire.until(Started, f"long{number}")
        wire.send(Command("cancel", f"long{number}"))
        began = time.monotonic()
        wire.send(job(f"short{number}", "Hi"))
        wire.until(Finished, f"short{number}")
        waited.append(time.monotonic() - began)
    # The others say how busy this machine is.
    assert min(waited) <= 0.1


def test_a_prompt_that_is_too_long_is_refused_while_another_one_is_read(wire: Wire, backend: Backend) -> None:
    wire.send(job("long", harbour(backend, 50)))
    wire.until(Started, "long")
    wire.send(job("longer", harbour(backend) * 2))
    event = wire.next()
    while getattr(event, "id", "") != "longer":
        assert not isinstance(event, Finished), "it was told before the other one was read"
        event = wire.next()
    assert getattr(event, "code", "") == "context_length_exceeded"


def test_the_worker_ends_when_the_web_process_goes_in_the_middle_of_a_prompt(backend: Backend) -> None:
    with ThreadPoolExecutor(1) as pool:
        connected = Wire(backend, pool)
        connected.send(job("long", harbour(backend, 60), 4000))
        connected.until(Started, "long")
        connected.close()


class Timed(ScriptedModel):
    """A slow model on a clock of its own: 5 ms for each token that is read, 20 ms for a step."""

    def __init__(self) -> None:
        super().__init__(capacity=4096)
        self.now = 0.0

    def _run(self, first: int, tokens: Any, lengths: Any) -> Any:
        self.now += 0.02 if tokens.shape[1] == 1 else 0.005 * tokens.shape[1]
        return super()._run(first, tokens, lengths)


def test_a_long_prompt_holds_up_nobody_for_longer_than_its_budget() -> None:
    model = Timed()
    loop = DecodeLoop(model, Rows(model.cache), Schedule(), clock=lambda: model.now)
    for name in ("a", "b"):
        loop.add(Answer(name, np.arange(10, dtype=np.int32), Sampler(0.0, 1.0)))
    heard: dict[str, list[float]] = {"a": [], "b": [], "long": []}
    for turn in range(400):
        if turn == 40:
            loop.add(Answer("long", np.arange(3000, dtype=np.int32) % 97, Sampler(0.0, 1.0)))
        for outcome in loop.advance():
            heard[outcome.id].append(model.now)
    assert heard["long"], "it was read meanwhile"
    for name in ("a", "b"):
        gaps = np.diff(heard[name])
        assert gaps.max() <= 2 * (PIECE_SECONDS + 0.02)
        assert gaps.max() > 0.2, "pieces are as large as the budget allows"


def test_health_answers_while_a_long_prompt_is_read(four: Engine, backend: Backend) -> None:
    def waits(count: int) -> float:
        """The 99th percentile, in seconds."""
        found = []
        for _ in range(count):
            began = time.monotonic()
            assert four.get("/health").status == 200
            found.append(time.monotonic() - began)
        return float(np.percentile(found, 99))

    idle = waits(100)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(four.chat, harbour(backend, number), max_tokens=1) for number in range(80, 84)]
        busy = waits(100)
        assert [one.result().status for one in asked] == [200] * 4
    # Who had to wait for a piece of the prompt would wait for a quarter of a second; more for a machine that is busy.
    assert busy <= max(0.1, 3 * idle)


def test_a_short_soak(model_dir: Path) -> None:
    environ = {"PHI4_MODEL_DIR": str(model_dir), **soak.SETTINGS}
    engine = Engine(python("-m", "phi4_engine"), environ)
    try:
        engine.wait_for(200)
        found = soak.soak(engine, soak.questions(engine), 8.0)
        assert set(found.statuses) <= {200, 429}
        assert found.statuses[200] > 16
        assert found.left > 4
        assert found.wrong == []
        assert engine.terminate() == 0
        assert "Traceback" not in engine.log
    finally:
        engine.close()


def test_json_of_a_finished_event_of_before_is_understood() -> None:
    old = json.dumps({"event": "Finished", "id": "a", "reason": "stop", "completion_tokens": 3, "tool_text": None})
    assert decode_event(old.encode()) == Finished("a", "stop", 3)
