"""The logprobs of an answer's tokens, each told once the text of its token is.

The texts that are told, joined, are the content of the answer, whatever happens to it on its way: a character of
several tokens is the text of its last one (the bytes say what each of them has), and what a stop string takes away is
cut.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from phi4_engine.loop.sampling import Logprobs
from phi4_engine.wire import TokenLogprob

_LEAST = -9999.0
"""OpenAI's figure for a token that cannot come: JSON has no infinity."""


class TokenLog:
    """Tokens whose text is on its way. `spell`: the bytes of a token."""

    def __init__(self, spell: Callable[[int], bytes]) -> None:
        self._spell = spell
        self._coming: deque[TokenLogprob] = deque()
        self._ready = 0

    def add(self, token: int, text: str, found: Logprobs) -> None:
        """The next token of the content, and what it adds to the text: nothing in the middle of a character."""
        top = [self._entry(one, text if one == token and text else None, value) for one, value in found.top]
        self._coming.append({**self._entry(token, text, found.own), "top_logprobs": top})

    def told(self, characters: int) -> list[TokenLogprob]:
        """So many more characters of the text are told: the tokens that are complete now."""
        self._ready += characters
        found: list[TokenLogprob] = []
        while (size := self._next()) and len(self._coming[size - 1]["token"]) <= self._ready:
            self._ready -= len(self._coming[size - 1]["token"])
            found += [self._coming.popleft() for _ in range(size)]
        return found

    def rest(self) -> list[TokenLogprob]:
        """Nothing more is told: the token of which only a beginning was. Others without text are dropped."""
        size = self._next() if self._ready else 0
        found = [self._coming.popleft() for _ in range(size)]
        if found:
            text = found[-1]["token"][: self._ready]
            found[-1] = {**found[-1], "token": text, "bytes": list(text.encode())}
        return found

    def _next(self) -> int:
        """How many tokens it takes to the next one that has text; 0 when none has."""
        return next((at for at, one in enumerate(self._coming, 1) if one["token"]), 0)

    def _entry(self, token: int, text: str | None, value: float) -> TokenLogprob:
        spelt = self._spell(token)
        shown = spelt.decode("utf-8", "replace") if text is None else text
        return {"token": shown, "logprob": max(value, _LEAST), "bytes": list(spelt)}
