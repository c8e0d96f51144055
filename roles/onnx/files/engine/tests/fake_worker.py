"""A worker whose model is a script: `python fake_worker.py` in the place of `python -m phi4_engine.worker`.

It stands behind the real process boundary, pipes and loop; only the model is missing. Tokens are bytes, so every
non-ASCII character is split. The last user message is the script, a JSON object:
  say            what to answer: a list of texts and token names ("<|end|>", ...); the end of the list repeats "."
  prompt_tokens  length of the prompt (default: bytes of all contents)
  prefill, step  seconds that a prefill chunk or a token takes
  do             "die", "hang" or "fail" at the first token
The environment variable FAKE_LOAD says how loading goes: seconds, or "fail", "die", "hang".
Enforced as by the real runtime: no token beyond max_length, no decode before prefill.
"""

from __future__ import annotations

import codecs
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from typing import Any

from phi4_engine.textflow import Vocabulary
from phi4_engine.wire import Job
from phi4_engine.worker import serve, take_pipes

NAMES = {"<|end|>": 256, "<|endoftext|>": 257, "<|tool_call|>": 258, "<|/tool_call|>": 259, "<|user|>": 260}


class FakeCursor:
    """Answers what the script says."""

    def __init__(self, script: dict[str, Any], max_length: int) -> None:
        self._script = script
        self._room = max_length
        self._seen = 0
        self._tokens = self._spell(script.get("say", ["ok", "<|end|>"]))

    def append(self, tokens: Sequence[int]) -> None:
        """Prefill, with a limit on the length as the real runtime has it."""
        time.sleep(self._script.get("prefill", 0))
        self._take(len(tokens))

    def next(self) -> int:
        """The next scripted token."""
        if self._seen == 0:
            raise RuntimeError("generate_next_token before append_tokens")
        self._misbehave(self._script.get("do"))
        time.sleep(self._script.get("step", 0))
        self._take(1)
        return next(self._tokens)

    def finite(self) -> bool:
        """A script has no scores that could be broken."""
        return True

    def _take(self, count: int) -> None:
        self._seen += count
        if self._seen > self._room:
            raise RuntimeError(f"sequence of {self._seen} tokens exceeds max_length {self._room}")

    def _misbehave(self, how: str | None) -> None:
        if how == "die":
            os.abort()
        if how == "hang":
            time.sleep(3600)
        if how == "fail":
            raise RuntimeError("bad allocation")

    @staticmethod
    def _spell(parts: list[str]) -> Iterator[int]:
        for part in parts:
            yield from [NAMES[part]] if part in NAMES else part.encode()
        yield from repeat(ord("."))


class FakeBackend:
    """A model that follows scripts."""

    vocabulary = Vocabulary(
        stop=frozenset({256, 257}), special=frozenset(NAMES.values()), tool_open=258, tool_close=259
    )

    def encode(self, messages: Sequence[dict[str, Any]]) -> Sequence[int]:
        """One token per byte of content, or as many as the script says."""
        script = read_script(messages)
        if script.get("do") == "refuse":
            raise RuntimeError("the template failed")
        text = "".join(message["content"] for message in messages).encode()
        return [1] * script.get("prompt_tokens", len(text))

    def open(self, job: Job, max_length: int) -> FakeCursor:
        """An empty sequence."""
        return FakeCursor(read_script(job.messages), max_length)

    def decoder(self) -> Callable[[int], str]:
        """Bytes to text, incomplete characters withheld."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        return lambda token: decoder.decode(bytes([token]))


def read_script(messages: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The script, or an answer that shows the messages to a test that sends plain text."""
    content = messages[-1]["content"]
    if content.startswith("{"):
        script = json.loads(content)
        assert isinstance(script, dict)
        return script
    return {"say": [json.dumps(list(messages)), "<|end|>"]}


def load() -> FakeBackend:
    """Loading as FAKE_LOAD wants it."""
    how = os.environ.get("FAKE_LOAD", "0")
    if how == "die":
        os.abort()
    if how == "fail":
        raise RuntimeError("Protobuf parsing failed.\nmodel.onnx")
    time.sleep(3600 if how == "hang" else float(how))
    return FakeBackend()


if __name__ == "__main__":
    sys.exit(serve(load, take_pipes(), int(os.environ["PHI4_CONTEXT_LENGTH"])))
