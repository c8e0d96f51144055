"""OpenAI's older completions: text that goes on where a prompt ends, without the chat template."""

from __future__ import annotations

import time
from typing import Any

from phi4_engine import chat
from phi4_engine.answers import Chunks, Content
from phi4_engine.errors import ApiError, unsupported
from phi4_engine.protocol import CompletionRequest, TokenizeRequest
from phi4_engine.runs import Run
from phi4_engine.wire import Finished, Job, Text, TokenLogprob

_MAX_TOKENS = 16
"""OpenAI's default: a completion has no end of its own as the turn of a conversation has."""


def job(request: CompletionRequest, job_id: str) -> Job:
    """The job of a checked request. Raises ApiError 400 for what this engine does not do."""
    chat.refuse_foreign_forms(request)
    for name in ("echo", "suffix"):
        if getattr(request, name):
            raise unsupported(name, f"{name} is not supported by this engine: leave it out.")
    if request.best_of not in (None, request.n or 1):
        raise unsupported("best_of", "best_of other than n is not supported by this engine: leave it out.")
    texts = tuple(one for one in request.prompt if isinstance(one, str))
    return Job(
        id=job_id,
        texts=tuple(chat.clean(one, "prompt") for one in texts),
        prompts=tuple(one for one in request.prompt if not isinstance(one, str)),
        max_tokens=_MAX_TOKENS if request.max_tokens is None else request.max_tokens,
        sampling=chat.sampling(request),
        stop=tuple(request.stop or ()),
        logprobs=request.logprobs,
        n=request.n or 1,
        field="prompt",
    )


class CompletionEnvelope(Chunks):
    """The bodies of a text_completion."""

    def __init__(self, answer_id: str, model: str, fingerprint: str) -> None:
        self._common = {
            "id": answer_id,
            "object": "text_completion",
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": fingerprint,
        }
        self._offsets: dict[int, int] = {}

    def whole(self, contents: list[Content], run: Run) -> dict[str, Any]:
        """The whole answer."""
        choices = []
        for index, content in enumerate(contents):
            finished = run.finished[index]
            told = self._told(index, content.logprobs) if run.tells_logprobs else None
            text = content.text + (finished.tool_text or "")
            choices.append(_choice(index, text, told, finished.reason))
        return {**self._common, "choices": choices, "usage": run.usage()}

    def opening(self, index: int) -> list[dict[str, Any]]:
        """Nothing."""
        return []

    def more(self, piece: Text) -> list[dict[str, Any]]:
        """Text, and the logprobs of the tokens that it completes."""
        told = self._told(piece.index, piece.logprobs) if piece.logprobs else None
        return [{**self._common, "choices": [_choice(piece.index, piece.text, told, None)]}]

    def closing(self, finished: Finished) -> list[dict[str, Any]]:
        """What the model meant for a tool, which is text here, and the reason why the answer ends."""
        return [{**self._common, "choices": [_choice(finished.index, finished.tool_text or "", None, finished.reason)]}]

    def ending(self, run: Run, *, usage: bool) -> list[dict[str, Any]]:
        """The usage, without choices."""
        return [{**self._common, "choices": [], "usage": run.usage()}] if usage else []

    def _told(self, index: int, logprobs: list[TokenLogprob]) -> dict[str, Any]:
        """OpenAI's older form: lists side by side, and where in the text each token begins."""
        offsets = []
        for one in logprobs:
            offsets.append(self._offsets.get(index, 0))
            self._offsets[index] = offsets[-1] + len(one["token"])
        return {
            "tokens": [one["token"] for one in logprobs],
            "token_logprobs": [one["logprob"] for one in logprobs],
            "top_logprobs": [_likeliest(one) for one in logprobs],
            "text_offset": offsets,
        }


def _likeliest(one: TokenLogprob) -> dict[str, float]:
    """By text. The token itself is among them; of several with the same text, the likeliest is told."""
    found: dict[str, float] = {}
    for other in (*one["top_logprobs"], one):
        found.setdefault(other["token"], other["logprob"])
    return found


def _choice(index: int, text: str, logprobs: dict[str, Any] | None, reason: str | None) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}


def tokens_job(request: TokenizeRequest, job_id: str) -> Job:
    """A job that is only turned into tokens. Raises ApiError 400 unless there is one thing to read."""
    if request.with_pieces:
        raise unsupported("with_pieces", "with_pieces is not supported by this engine: use return_token_strs.")
    if (request.prompt is None) == (request.messages is None):
        raise ApiError(400, "either prompt or messages is needed, and not both.", param="prompt", code="invalid_value")
    if request.prompt is not None:
        return Job(job_id, texts=(chat.clean(request.prompt, "prompt"),))
    if request.add_generation_prompt is False:
        raise unsupported("add_generation_prompt", "add_generation_prompt false is not supported: leave it out.")
    return Job(job_id, chat.rendered(request.messages or (), request.tools or ()))
