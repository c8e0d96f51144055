"""What the model process says of texts and tokens without the model: it has the tokenizer, and knows the vocabulary."""

from __future__ import annotations

from collections.abc import Iterable

from phi4_engine.generation import Tokenizer
from phi4_engine.wire import Command, Job, Refused, Spelt, Tokenized

_MOST_BYTES = 1024 * 1024
"""As large as a request's body may be: as JSON, text and words of so many bytes are a line that `wire` allows."""


class Reader:
    """Answers the commands that need the tokenizer alone."""

    def __init__(self, tokenizer: Tokenizer, context_length: int) -> None:
        self._tokenizer = tokenizer
        self._context_length = context_length

    def answer(self, command: Command) -> Tokenized | Spelt | Refused:
        """The answer to tokenize, encode or spell."""
        try:
            if command.job is None:
                return self._spelt(command)
            return self._tokenized(command.job, any_length=command.name == "encode")
        except (RuntimeError, ValueError) as error:
            return Refused(command.id, "generation_failed", f"the model runtime refused the request: {error}")

    def prompts(self, job: Job) -> list[list[int]]:
        """The tokens of each prompt of the job. Raises RuntimeError or ValueError where the runtime refuses it."""
        if job.prompts:
            return [list(prompt) for prompt in job.prompts]
        if job.texts:
            return [[int(token) for token in self._tokenizer.encode_text(text)] for text in job.texts]
        return [[int(token) for token in self._tokenizer.encode(job.messages)]]

    def _tokenized(self, job: Job, *, any_length: bool) -> Tokenized | Refused:
        """The prompts in tokens, or what is wrong with the job: this is asked before it has its place."""
        biased = (token for token, _ in job.sampling.logit_bias)
        given = (token for prompt in job.prompts for token in prompt)
        if refused := self._unknown(job.id, biased, "logit_bias") or self._unknown(job.id, given, "prompt"):
            return refused
        prompts = self.prompts(job)
        counts = [len(prompt) for prompt in prompts]
        if not (any_length or min(counts)):
            message = f"{job.field}: found a text of no tokens, needed one that can be answered"
            return Refused(job.id, "invalid_value", message, job.field)
        fits = any_length or max(counts) < self._context_length
        return Tokenized(job.id, counts, prompts if fits else [])

    def _spelt(self, command: Command) -> Spelt | Refused:
        if refused := self._unknown(command.id, command.tokens, "tokens"):
            return refused
        spelt = [self._tokenizer.spell(token) for token in command.tokens]
        if (size := sum(map(len, spelt))) > _MOST_BYTES:
            message = f"tokens: found tokens of {size} bytes together, needed at most {_MOST_BYTES}"
            return Refused(command.id, "invalid_value", message, "tokens")
        words = [one.decode("utf-8", "replace") for one in spelt]
        return Spelt(command.id, b"".join(spelt).decode("utf-8", "replace"), words)

    def _unknown(self, job_id: str, tokens: Iterable[int], field: str) -> Refused | None:
        """The refusal of tokens that the model does not have."""
        size = self._tokenizer.vocabulary.size
        unknown = next((token for token in tokens if token >= size), None)
        if unknown is None:
            return None
        message = f"{field}: found token {unknown}, needed one below {size}, which is all that the model has"
        return Refused(job_id, "invalid_value", message, field)
