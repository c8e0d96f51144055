"""The text side of one answer: its prompt and limit before, and from each token what the client may see.

Pure against the `Tokenizer` protocol: tests put a scripted one there, the worker puts onnxruntime-genai's there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from phi4_engine.errors import EngineError, too_long
from phi4_engine.loop.sampling import Logprobs
from phi4_engine.textflow import TextFlow, Vocabulary
from phi4_engine.tokenlog import TokenLog
from phi4_engine.wire import FinishReason, Job, TokenLogprob


class Tokenizer(Protocol):
    """From messages or text to tokens, and back."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The token ids with a meaning of their own."""

    def encode(self, messages: Sequence[dict[str, Any]]) -> Sequence[int]:
        """The prompt tokens of a conversation, the opening of the assistant's turn included."""

    def encode_text(self, text: str) -> Sequence[int]:
        """The tokens of a text as it is, without the template."""

    def spell(self, token: int) -> bytes:
        """The bytes that the token stands for, its name for a special one."""

    def decoder(self) -> Callable[[int], str]:
        """A fresh decoder of single tokens that withholds incomplete characters."""


class JobRefusedError(EngineError):
    """A job that cannot run; `code` is OpenAI's error code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Generation:
    """One answer to a prompt of so many tokens. After construction it fits. Push tokens until `finished` is set."""

    def __init__(self, tokenizer: Tokenizer, job: Job, prompt_tokens: int, context_length: int) -> None:
        room = context_length - prompt_tokens
        if room < 1:
            raise JobRefusedError("context_length_exceeded", too_long(context_length, prompt_tokens, job.field))
        self._limit = room if job.max_tokens is None else min(room, job.max_tokens)
        self._stop = tokenizer.vocabulary.stop
        self._flow = TextFlow(tokenizer.vocabulary, tokenizer.decoder(), job.stop)
        self._log = TokenLog(tokenizer.spell)
        self.completion_tokens = 0
        self.finished: FinishReason | None = None

    @property
    def tool_text(self) -> str | None:
        """What the model wrote between its tool-call tokens, None without any."""
        return self._flow.tool_text

    def push(self, token: int, logprobs: Logprobs | None = None) -> tuple[str, list[TokenLogprob]]:
        """The text that may be sent after this token, and the logprobs of the tokens that it completes."""
        text = self._text(token, logprobs)
        told = self._log.told(len(text))
        return text, told if self.finished is None else told + self._log.rest()

    def _text(self, token: int, logprobs: Logprobs | None) -> str:
        self.completion_tokens += 1
        if token in self._stop:
            return self._finish("stop")
        text = self._flow.push(token)
        if logprobs is not None and self._flow.spoken is not None:
            self._log.add(token, self._flow.spoken, logprobs)
        if self._flow.stopped:
            return text + self._finish("stop")
        if self.completion_tokens >= self._limit:
            return text + self._finish("length")
        return text

    def _finish(self, reason: FinishReason) -> str:
        self.finished = reason
        return self._flow.flush()
