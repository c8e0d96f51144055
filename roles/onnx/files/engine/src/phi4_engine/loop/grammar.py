"""The form that an answer must have, as masks over the scores: llguidance says which tokens may come next.

A compiled grammar is small and quick, but the table of all tokens that it is matched against takes seconds and some
200 MB with 200,064 tokens. It is made when the first request asks for a form, so that nobody else pays for it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phi4_engine.errors import EngineError
from phi4_engine.guidance import limits, sentence
from phi4_engine.modeldir import ModelFiles

KEPT = 4
"""Compiled grammars, each of some MB; programs mostly ask for the same form again."""


class GrammarError(EngineError, ValueError):
    """The grammar cannot be compiled, or has become too complex on the way; the message is llguidance's sentence."""


class Constraint:
    """Where one answer is in its grammar. It begins to bind at the token `opens`, at once where that is None."""

    def __init__(self, matcher: Any, opens: int | None = None) -> None:
        self._matcher = matcher
        self._opens = opens

    def masked(self, scores: NDArray[Any]) -> NDArray[Any]:
        """The scores with minus infinity for each token that may not come now, those without a text included.

        Raises GrammarError where the grammar has become too complex.
        """
        if self._opens is not None:
            return scores
        mask = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        require_sound(self._matcher)
        allowed = np.unpackbits(mask, count=len(scores), bitorder="little").view(np.bool_)
        return np.where(allowed, scores, scores.dtype.type(-np.inf))

    def accept(self, token: int) -> None:
        """The answer goes on with this token. Raises GrammarError where the grammar has become too complex."""
        if self._opens is not None and token != self._opens:
            return
        self._opens = None
        self._matcher.consume_token(token)
        require_sound(self._matcher)


class Compiler:
    """From the text of a grammar, in llguidance's Lark, to the beginning of it. `tokenizer` makes its LLTokenizer.

    Two threads may use it: what one has compiled the other copies.
    """

    def __init__(self, tokenizer: Callable[[], Any]) -> None:
        self._make = tokenizer
        self._tokenizer: Any = None
        self._kept: OrderedDict[str, Any] = OrderedDict()

    def constraint(self, text: str, opens: int | None = None) -> Constraint:
        """For one answer. Raises GrammarError, ImportError where llguidance does not run on this host."""
        matcher = self._kept.pop(text, None)
        if matcher is None:
            matcher = self._compile(text)
        self._kept[text] = matcher
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return Constraint(matcher.deep_copy(), opens)

    def _compile(self, text: str) -> Any:
        from llguidance import LLMatcher

        if self._tokenizer is None:
            self._tokenizer = self._make()
        matcher = LLMatcher(self._tokenizer, text, log_level=0, limits=limits())
        require_sound(matcher)
        # Some are too complex only where they are used, which should be said before the answer begins.
        matcher.compute_bitmask()
        require_sound(matcher)
        return matcher


def token_table(files: ModelFiles, stop: Collection[int]) -> Any:
    """llguidance's LLTokenizer of a checked directory, as wide as the scores: numbers beyond the tokens never come."""
    from llguidance import LLTokenizer

    text = (files.directory / "tokenizer.json").read_text(encoding="utf-8")
    try:
        return LLTokenizer(text, n_vocab=files.decoder.vocabulary, eos_token=sorted(stop))
    except ValueError as error:
        raise GrammarError(f"this model's tokenizer.json cannot be used for it: {sentence(str(error))}") from error


def require_sound(matcher: Any) -> None:
    """Raises GrammarError for a matcher that has failed."""
    if matcher.is_error():
        raise GrammarError(sentence(matcher.get_error()))
