"""Turns generated tokens into the text that a client may see: no special tokens, no half characters, no stop string."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass


class StopStrings:
    """Lets text through up to the first stop string, holding back a tail that might still become one."""

    def __init__(self, stops: Collection[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.matched = False

    def push(self, text: str) -> str:
        """The text that is now certain to be wanted; after a match `matched` is true and what follows is dropped."""
        if self.matched:
            return ""
        self._held += text
        found = [at for at in (self._held.find(stop) for stop in self._stops) if at >= 0]
        if found:
            self.matched = True
            wanted, self._held = self._held[: min(found)], ""
            return wanted
        keep = self._possible_tail()
        cut = len(self._held) - keep
        wanted, self._held = self._held[:cut], self._held[cut:]
        return wanted

    def flush(self) -> str:
        """The tail that did not become a stop string, when nothing more comes."""
        wanted, self._held = self._held, ""
        return wanted

    def _possible_tail(self) -> int:
        longest = 0
        for stop in self._stops:
            for length in range(min(len(stop) - 1, len(self._held)), longest, -1):
                if self._held.endswith(stop[:length]):
                    longest = length
                    break
        return longest


@dataclass(frozen=True)
class Vocabulary:
    """Token ids with a meaning of their own."""

    stop: frozenset[int]
    special: frozenset[int]
    size: int
    """Numbers of tokens are below this."""
    tool_open: int | None = None
    tool_close: int | None = None


class TextFlow:
    """The text of one answer. `decode` is a stateful decoder of single tokens that withholds incomplete characters."""

    def __init__(self, vocabulary: Vocabulary, decode: Callable[[int], str], stops: Collection[str]) -> None:
        self._vocabulary = vocabulary
        self._decode = decode
        self._stops = StopStrings(stops)
        self._tool: list[str] | None = None
        self._in_tool = False
        self.spoken: str | None = None
        """What the last token adds to the content before stop strings are looked for; None: it is none of it."""

    @property
    def stopped(self) -> bool:
        """A stop string has been met."""
        return self._stops.matched

    @property
    def tool_text(self) -> str | None:
        """What stood between the tool-call tokens, a line for each block; None when the model made no tool call."""
        return None if self._tool is None else "".join(self._tool)

    def push(self, token: int) -> str:
        """Text to send after this token, often empty. Stop tokens never get here."""
        self.spoken = None
        if token == self._vocabulary.tool_open:
            # Blocks are values of their own, also where one ends in a number and the next begins with one.
            self._tool = [] if self._tool is None else [*self._tool, "\n"]
            self._in_tool = True
            return ""
        if token == self._vocabulary.tool_close:
            self._in_tool = False
            return ""
        if token in self._vocabulary.special:
            return ""
        text = self._decode(token)
        if self._in_tool and self._tool is not None:
            self._tool.append(text)
            return ""
        self.spoken = text
        return self._stops.push(text)

    def flush(self) -> str:
        """The held-back tail, when the answer is over."""
        return self._stops.flush()
