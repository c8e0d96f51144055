"""One answer, from prompt to last token, advanced one bounded unit of work at a time.

Pure against the `Backend` protocol: tests put a scripted backend there, the worker puts onnxruntime-genai there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from phi4_engine.errors import EngineError, too_long
from phi4_engine.textflow import TextFlow, Vocabulary
from phi4_engine.wire import FinishReason, Job

PREFILL_CHUNK = 128
"""Tokens per prefill call. It bounds three things: how long a cancel waits, how long the worker is silent, and the
memory of the logits, which the graph computes for every prompt token: 200,064 x 4 bytes x 128 = 102 MB, where 4,096
tokens at once would take 3.3 GB.
"""


class Cursor(Protocol):
    """A sequence in the model: the KV cache and the sampling parameters of one answer."""

    def append(self, tokens: Sequence[int]) -> None:
        """Prefill: the model has seen these tokens after the call."""

    def next(self) -> int:
        """Decode: one more token, which the model has then seen too."""

    def finite(self) -> bool:
        """Whether every score for the token after the prompt is a finite number. For right after prefill."""


class Backend(Protocol):
    """A loaded model."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The token ids with a meaning of their own."""

    def encode(self, messages: Sequence[dict[str, Any]]) -> Sequence[int]:
        """The prompt tokens of a conversation, the opening of the assistant's turn included."""

    def open(self, job: Job, max_length: int) -> Cursor:
        """An empty sequence that can hold `max_length` tokens, prompt and answer together."""

    def decoder(self) -> Callable[[int], str]:
        """A fresh decoder of single tokens that withholds incomplete characters."""


class JobRefusedError(EngineError):
    """A job that cannot run; `code` is OpenAI's error code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Generation:
    """After construction the prompt fits. Call `advance` until `finished` is set; dropping it frees the cache."""

    def __init__(self, backend: Backend, job: Job, context_length: int) -> None:
        self.id = job.id
        self._backend = backend
        self._prompt = list(job.prompt or backend.encode(job.messages))
        self.prompt_tokens = len(self._prompt)
        room = context_length - self.prompt_tokens
        if room < 1:
            raise JobRefusedError(
                "context_length_exceeded",
                too_long(context_length, self.prompt_tokens),
            )
        self._limit = room if job.max_tokens is None else min(room, job.max_tokens)
        self._cursor = backend.open(job, self.prompt_tokens + self._limit)
        self._flow = TextFlow(backend.vocabulary, backend.decoder(), job.stop)
        self._seen = 0
        self.completion_tokens = 0
        self.finished: FinishReason | None = None

    @property
    def tool_text(self) -> str | None:
        """What the model wrote between its tool-call tokens, None without any."""
        return self._flow.tool_text

    @property
    def prefilled(self) -> bool:
        """Whether the model has seen the whole prompt."""
        return self._seen >= self.prompt_tokens

    @property
    def finite(self) -> bool:
        """Whether the model's scores are numbers; ask right after prefill."""
        return self._cursor.finite()

    def advance(self) -> str:
        """One prefill chunk or one token; returns the text that may be sent now."""
        if not self.prefilled:
            chunk = self._prompt[self._seen : self._seen + PREFILL_CHUNK]
            self._cursor.append(chunk)
            self._seen += len(chunk)
            return ""
        token = self._cursor.next()
        self.completion_tokens += 1
        if token in self._backend.vocabulary.stop:
            return self._finish("stop")
        text = self._flow.push(token)
        if self._flow.stopped:
            return text + self._finish("stop")
        if self.completion_tokens >= self._limit:
            return text + self._finish("length")
        return text

    def _finish(self, reason: FinishReason) -> str:
        self.finished = reason
        return self._flow.flush()
