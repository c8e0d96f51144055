"""A worker whose model is a script: `python fake_worker.py` in the place of `python -m phi4_engine.worker`.

It stands behind the real process boundary, pipes and loop; only the model is missing. Tokens are bytes, so every
non-ASCII character is split. The last user message is the script, a JSON object:
  say            what to answer: a list of texts and token names ("<|end|>", ...)
  rest           the character that it repeats at the end of the list (default: ".")
  prompt_tokens  length of the prompt (default: bytes of all contents)
  prefill, step  seconds that a prefill chunk or a token takes
  do             "die", "hang" or "fail" at the first token; "refuse" before the prompt is read
The environment variable FAKE_LOAD says how loading goes: seconds, or "fail", "die", "hang".
Enforced as by the real runtime: no token beyond the cache.
"""

from __future__ import annotations

import codecs
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phi4_engine.loop.grammar import Compiler
from phi4_engine.textflow import Vocabulary
from phi4_engine.worker import Backend, serve, take_pipes

NAMES = {"<|end|>": 256, "<|endoftext|>": 257, "<|tool_call|>": 258, "<|/tool_call|>": 259, "<|user|>": 260}
WIDTH = 261
FIRST_SCRIPT = 1000


class Script:
    """One request's script."""

    def __init__(self, said: dict[str, Any], prompt_tokens: int) -> None:
        self.said = said
        self.prompt_tokens = prompt_tokens
        self._tokens = list(self._spell(said.get("say", ["ok", "<|end|>"])))
        self._rest = ord(said.get("rest", "."))

    def token(self, place: int) -> int:
        """The answer's token in this place."""
        return self._tokens[place] if place < len(self._tokens) else self._rest

    def misbehave(self) -> None:
        """As the script wants it."""
        how = self.said.get("do")
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


class FakeModel:
    """A model that follows scripts; a row's cache holds its prompt, whose tokens all say which script it is."""

    def __init__(self, scripts: list[Script], rows: int, capacity: int) -> None:
        self._scripts = scripts
        self.cache = [np.zeros((rows, 1, capacity, 1), np.float32)]

    def read(self, row: int, start: int, tokens: NDArray[np.int32]) -> NDArray[np.float32]:
        """Prefill, with a limit on the length as the real runtime has it."""
        end = start + len(tokens)
        self._require_room(end)
        self.cache[0][row, 0, start:end, 0] = tokens
        script = self._script(row)
        time.sleep(script.said.get("prefill", 0))
        if end < script.prompt_tokens:
            return np.zeros(WIDTH, np.float32)
        script.misbehave()
        return self._scores(script, 0)

    def step(self, first: int, tokens: NDArray[np.int32], lengths: NDArray[np.int32]) -> NDArray[np.float32]:
        """The next scripted token of each row; it takes as long as the slowest."""
        self._require_room(int(lengths.max()) + 1)
        scripts = [self._script(first + at) for at in range(len(tokens))]
        time.sleep(max(script.said.get("step", 0) for script in scripts))
        places = [int(length) + 1 - script.prompt_tokens for script, length in zip(scripts, lengths, strict=True)]
        return np.stack([self._scores(script, place) for script, place in zip(scripts, places, strict=True)])

    def halt(self, stop: bool) -> None:
        """A script cannot be stopped half way."""

    def _require_room(self, tokens: int) -> None:
        capacity = self.cache[0].shape[2]
        if tokens > capacity:
            raise RuntimeError(f"sequence of {tokens} tokens exceeds the cache of {capacity}")

    def _script(self, row: int) -> Script:
        number = int(self.cache[0][row, 0, 0, 0]) - FIRST_SCRIPT
        return self._scripts[max(number, 0)]  # the proof at start decodes rows that nobody has read

    @staticmethod
    def _scores(script: Script, place: int) -> NDArray[np.float32]:
        scores = np.zeros(WIDTH, np.float32)
        scores[script.token(place)] = 100.0
        return scores


class FakeTokenizer:
    """A conversation is as many tokens as its script says, all of them the script's number."""

    vocabulary = Vocabulary(
        stop=frozenset({256, 257}), special=frozenset(NAMES.values()), size=WIDTH, tool_open=258, tool_close=259
    )

    def __init__(self, scripts: list[Script]) -> None:
        self._scripts = scripts

    def encode(self, messages: Sequence[dict[str, Any]]) -> Sequence[int]:
        """One token per byte of content, one at least as of any template, or as many as the script says."""
        said = read_script(messages)
        if said.get("do") == "refuse":
            raise RuntimeError("the template failed")
        text = "".join(message["content"] for message in messages).encode()
        script = Script(said, said.get("prompt_tokens", max(1, len(text))))
        self._scripts.append(script)
        return [FIRST_SCRIPT + len(self._scripts) - 1] * script.prompt_tokens

    def spell(self, token: int) -> bytes:
        """A byte is itself."""
        return bytes([token]) if token < 256 else {number: name.encode() for name, number in NAMES.items()}[token]

    def encode_text(self, text: str) -> Sequence[int]:
        """As if it were a message; a text of nothing has no template either."""
        return self.encode([{"content": text}]) if text else []

    def decoder(self) -> Callable[[int], str]:
        """Bytes to text, incomplete characters withheld."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        return lambda token: decoder.decode(bytes([token]))


class ByteTokens:
    """What llguidance's TokenizerWrapper wants to know: a token for each byte, and the special ones."""

    eos_token_id = NAMES["<|end|>"]
    bos_token_id = None
    tokens = tuple(bytes([byte]) for byte in range(256)) + tuple(name.encode() for name in NAMES)
    special_token_ids = tuple(NAMES.values())

    def __call__(self, text: bytes) -> list[int]:
        """One token per byte."""
        return list(text)


def token_table() -> Any:
    """llguidance's table of the tokens."""
    from llguidance import LLTokenizer, TokenizerWrapper

    stop = sorted(FakeTokenizer.vocabulary.stop)
    return LLTokenizer(TokenizerWrapper(ByteTokens()), n_vocab=WIDTH, eos_token=stop)


def read_script(messages: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The script, or an answer that shows the messages to a test that sends plain text."""
    content = messages[-1]["content"]
    if content.startswith("{"):
        script = json.loads(content)
        assert isinstance(script, dict)
        return script
    # Held to a form it ends its strings, and soon the rest.
    return {"say": [json.dumps(list(messages)), "<|end|>"], "rest": '"'}


def load() -> Backend:
    """Loading as FAKE_LOAD wants it."""
    how = os.environ.get("FAKE_LOAD", "0")
    if how == "die":
        os.abort()
    if how == "fail":
        raise RuntimeError("Protobuf parsing failed.\nmodel.onnx")
    time.sleep(3600 if how == "hang" else float(how))
    scripts: list[Script] = []
    rows, capacity = int(os.environ.get("PHI4_PARALLEL", "1")), int(os.environ["PHI4_CONTEXT_LENGTH"])
    return Backend(FakeTokenizer(scripts), FakeModel(scripts, rows, capacity), grammars=Compiler(token_table))


if __name__ == "__main__":
    sys.exit(serve(load, take_pipes(), int(os.environ["PHI4_CONTEXT_LENGTH"])))
