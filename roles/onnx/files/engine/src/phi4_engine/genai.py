"""The tokenizer of onnxruntime-genai 0.18, which needs no model. Its calls hold the interpreter lock."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from phi4_engine.modeldir import STOP_TOKENS, TOOL_TOKENS, ModelFiles
from phi4_engine.spelling import Spelling
from phi4_engine.textflow import Vocabulary

# onnxruntime-genai >= 0.18 reports to its maker unless this is set before it is loaded.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime_genai as og


class GenaiTokenizer:
    """The tokenizer and chat template of a checked directory; raises RuntimeError when the runtime refuses it."""

    def __init__(self, files: ModelFiles) -> None:
        self._tokenizer = og.Tokenizer(str(files.directory))
        self._template = files.chat_template
        self._words = files.directory / "tokenizer.json"
        self._vocabulary = self._read_vocabulary(files)

    @property
    def vocabulary(self) -> Vocabulary:
        """The token ids with a meaning of their own."""
        return self._vocabulary

    def encode(self, messages: Sequence[dict[str, Any]]) -> Sequence[int]:
        """The prompt, through the model's own chat template: the runtime does not find the template by itself."""
        prompt = self._tokenizer.apply_chat_template(
            json.dumps(list(messages)), template_str=self._template, add_generation_prompt=True
        )
        return [int(token) for token in self._tokenizer.encode(prompt)]

    def encode_text(self, text: str) -> Sequence[int]:
        """The tokens of the text, without the template."""
        return [int(token) for token in self._tokenizer.encode(text)]

    def spell(self, token: int) -> bytes:
        """The bytes that the token stands for."""
        return self._spelling.bytes_of(token)

    @cached_property
    def _spelling(self) -> Spelling:
        """Made for the first request that needs it: few do, and it takes a second on a small board."""
        return Spelling(self._words)

    def decoder(self) -> Callable[[int], str]:
        """A tokenizer stream of its own: it keeps the bytes of incomplete characters."""
        stream = self._tokenizer.create_stream()

        def decode(token: int) -> str:
            return str(stream.decode(token))

        return decode

    def _read_vocabulary(self, files: ModelFiles) -> Vocabulary:
        found = {name: int(self._tokenizer.to_token_id(name)) for name in files.special_tokens}
        ids = {name: token for name, token in found.items() if token >= 0}
        stop = {ids[name] for name in STOP_TOKENS if name in ids} | set(files.eos_ids)
        return Vocabulary(
            stop=frozenset(stop),
            special=frozenset(ids.values()),
            size=files.decoder.vocabulary,
            tool_open=ids.get(TOOL_TOKENS[0]),
            tool_close=ids.get(TOOL_TOKENS[1]),
        )
