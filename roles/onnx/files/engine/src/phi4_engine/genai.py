"""The model behind onnxruntime-genai 0.18. Only the worker imports this: every call here holds the interpreter lock."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from typing import Any

from phi4_engine.modeldir import STOP_TOKENS, TOOL_TOKENS, ModelFiles
from phi4_engine.textflow import Vocabulary
from phi4_engine.wire import Job

# onnxruntime >= 1.29 and onnxruntime-genai >= 0.18 report to their maker unless this is set before they are loaded.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime_genai as og

_GREEDY_BELOW = 1e-3
"""Temperatures under this leave one candidate token anyway and would overflow the softmax."""
_TOP_K = 50
"""onnxruntime-genai's own default. Without it every token costs a sort of 200,064 logits."""


class GenaiCursor:
    """A Generator with its KV cache."""

    def __init__(self, model: Any, options: dict[str, Any]) -> None:
        params = og.GeneratorParams(model)
        params.set_search_options(**options)
        self._generator = og.Generator(model, params)

    def append(self, tokens: Sequence[int]) -> None:
        """Prefill."""
        self._generator.append_tokens(np.asarray(tokens, dtype=np.int32))

    def next(self) -> int:
        """Decode one token."""
        self._generator.generate_next_token()
        return int(self._generator.get_next_tokens()[0])

    def finite(self) -> bool:
        """Whether the scores of the next token are finite numbers."""
        return bool(np.isfinite(self._generator.get_logits()).all())


class GenaiBackend:
    """A model loaded from a checked directory; raises RuntimeError when the runtime refuses it."""

    def __init__(self, files: ModelFiles, *, context_length: int, threads: int) -> None:
        config = og.Config(str(files.directory))
        config.clear_providers()
        config.overlay(json.dumps(overlay(context_length, threads)))
        self._model = og.Model(config)
        self._tokenizer = og.Tokenizer(self._model)
        self._template = files.chat_template
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

    def open(self, job: Job, max_length: int) -> GenaiCursor:
        """An empty sequence. max_length is always set: unset, the cache of the whole 131,072 tokens is allocated."""
        return GenaiCursor(self._model, search_options(job, max_length))

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
            tool_open=ids.get(TOOL_TOKENS[0]),
            tool_close=ids.get(TOOL_TOKENS[1]),
        )


def overlay(context_length: int, threads: int) -> dict[str, Any]:
    """What this host decides about the session, laid over the model's genai_config.json.

    Spinning worker threads burn whole cores after each request; `allow_spinning` 0 makes them sleep. The thread count
    is always given: left to itself the runtime ignores cpusets and quotas.
    """
    session = {
        "intra_op_num_threads": threads,
        "inter_op_num_threads": 1,
        "session.intra_op.allow_spinning": "0",
    }
    return {"model": {"decoder": {"session_options": session}}, "search": {"max_length": context_length}}


def search_options(job: Job, max_length: int) -> dict[str, Any]:
    """Every option that matters, so that no default of the model's configuration decides for the caller."""
    sample = job.temperature >= _GREEDY_BELOW and job.top_p > 0
    options: dict[str, Any] = {
        "max_length": max_length,
        "min_length": 0,
        "num_beams": 1,
        "repetition_penalty": 1.0,
        "do_sample": sample,
    }
    if sample:
        seed = int.from_bytes(os.urandom(4), "big") if job.seed is None else job.seed
        options |= {
            "temperature": job.temperature,
            "top_p": job.top_p,
            "top_k": _TOP_K,
            "random_seed": seed & 0x7FFF_FFFF,
        }
    return options
