"""From scores to a token. Pure numpy; the caller's seed alone decides, never who else is answered at the same time.

The scores of one token go through three hands: `Penalties` changes them by what was said before, `Sampler` draws from
the likeliest of what comes out, and `logprobs` tells of the scores as the model gave them. What forbids tokens sets
their scores to -inf between the first two.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

GREEDY_BELOW = 1e-3
"""Temperatures under this leave one candidate anyway and would overflow the softmax."""
TOP_K = 50
"""Candidates of a sampled token unless the request says otherwise, as onnxruntime-genai has it by default."""
MOST_CANDIDATES = 1024
"""Tokens that are looked at where more or all are asked for: sorting and weighing 200,064 of them would take more time
than a small model's step, and what is behind these has a chance only where the model knows nothing.
"""
_BLOCK = 64
"""Scores per block of the preselection: sorting 200,064 of them takes 1.6 ms, this way it is 0.1 ms."""


class Sampler:
    """Draws the tokens of one answer. A seed gives the same answer each time; without one every answer differs.

    Candidates are the `top_k` likeliest (0 or less: all, MOST_CANDIDATES at most) that have at least `min_p` of the
    likeliest one's probability, and of those the fewest that have `top_p` together.
    """

    def __init__(
        self, temperature: float, top_p: float, seed: int | None = None, *, top_k: int = TOP_K, min_p: float = 0.0
    ) -> None:
        self._temperature = temperature
        self._top_p = top_p
        self._min_p = min_p
        self._candidates = min(top_k, MOST_CANDIDATES) if top_k > 0 else MOST_CANDIDATES
        self._greedy = temperature < GREEDY_BELOW or top_p <= 0
        own = int.from_bytes(os.urandom(8), "big") if seed is None else seed % 2**64
        self._random = np.random.Generator(np.random.PCG64(own))

    def pick(self, scores: NDArray[Any]) -> int:
        """The next token. A score of -inf is never drawn.

        Raises ValueError when the scores are no numbers, or none is finite: what followed would mean nothing.
        """
        best = int(scores.argmax())
        if not np.isfinite(scores[best]):
            raise ValueError("the model's scores are not finite numbers")
        if self._greedy:
            return best
        candidates = likeliest(scores, self._candidates)
        weights = np.exp((scores[candidates].astype(np.float64) - float(scores[best])) / self._temperature)
        weights = weights[: max(int((weights >= self._min_p).sum()), 1)]
        reached = np.cumsum(weights / weights.sum())
        # The fewest candidates that have top_p together, the one that reaches it included.
        count = min(int(np.searchsorted(reached, self._top_p)) + 1, len(reached))
        drawn = np.searchsorted(reached[:count], self._random.random() * reached[count - 1], side="right")
        return int(candidates[min(int(drawn), count - 1)])


class Penalties:
    """Changes the scores of one answer's next token, in the order of vLLM: bias, repetition, frequency and presence.

    bias        is added (OpenAI's logit_bias); pairs of token and number
    repetition  divides positive scores of tokens of prompt and answer, and multiplies negative ones (Hugging Face)
    frequency   is taken off for each time that the answer has the token, `presence` once if it has it at all (OpenAI)
    """

    def __init__(
        self,
        prompt: NDArray[np.int32] | None = None,
        *,
        bias: Sequence[tuple[int, float]] = (),
        repetition: float = 1.0,
        frequency: float = 0.0,
        presence: float = 0.0,
    ) -> None:
        self._biased = np.array([token for token, _ in bias], np.intp)
        self._bias = np.array([added for _, added in bias], np.float32)
        self._repetition = repetition
        self._frequency = frequency
        self._presence = presence
        self._none = not (bias or frequency or presence or repetition != 1)
        self._said: dict[int, int] = {}
        self._seen = set() if prompt is None or self._none else {int(token) for token in prompt}

    def applied(self, scores: NDArray[Any]) -> NDArray[Any]:
        """The changed scores, a copy; the same ones where nothing is to be changed."""
        if self._none:
            return scores
        found = scores.astype(np.float32)
        np.add.at(found, self._biased, self._bias)
        if self._repetition != 1 and self._seen:
            seen = np.fromiter(self._seen, np.intp, len(self._seen))
            own = found[seen]
            found[seen] = np.where(own > 0, own / self._repetition, own * self._repetition)
        if self._said and (self._frequency or self._presence):
            tokens = np.fromiter(self._said, np.intp, len(self._said))
            counts = np.fromiter(self._said.values(), np.float32, len(self._said))
            found[tokens] -= counts * np.float32(self._frequency) + np.float32(self._presence)
        return found

    def count(self, token: int) -> None:
        """The answer has this token now."""
        if not self._none:
            self._said[token] = self._said.get(token, 0) + 1
            self._seen.add(token)


@dataclass(frozen=True)
class Logprobs:
    """The natural logarithm of a token's probability, and the likeliest tokens with theirs, the likeliest first."""

    own: float
    top: tuple[tuple[int, float], ...]


def logprobs(scores: NDArray[Any], token: int, count: int) -> Logprobs:
    """Of the model's own distribution, as vLLM and OpenAI tell it: temperature 1, no penalty, bias or cut applied."""
    wide = scores.astype(np.float64)
    highest = wide.max()
    whole = highest + np.log(np.exp(wide - highest).sum())
    top = likeliest(scores, count) if count else ()
    return Logprobs(float(wide[token] - whole), tuple((int(one), float(wide[one] - whole)) for one in top))


def likeliest(scores: NDArray[Any], count: int) -> NDArray[np.intp]:
    """The tokens with the `count` highest scores, the highest first; of equal ones the smaller number."""
    whole = len(scores) // _BLOCK
    found: NDArray[np.intp] = np.arange(len(scores))
    if count < whole:
        # As many blocks as tokens are wanted reach this score, so every wanted token reaches it too. A block is every
        # `whole`th score: the maximum of neighbours takes seven times as long.
        highest = scores[: whole * _BLOCK].reshape(_BLOCK, whole).max(axis=0)
        found = np.flatnonzero(scores >= np.partition(highest, whole - count)[whole - count])
    order = np.argsort(-scores[found], kind="stable")
    return found[order[:count]]
