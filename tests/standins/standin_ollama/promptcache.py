"""What llama-server keeps in RAM of prompts that another one has pushed out of its slot (server_prompt_cache)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

# A slot whose prompt begins like the new one is taken for it; below half of it, what is there is kept first.
SIMILAR, KEPT, WORTH = 0.1, 0.5, 0.25
Tokens = Sequence[str]


def common(first: Tokens, second: Tokens) -> int:
    """How many tokens both begin with."""
    count = 0
    for one, other in zip(first, second):  # noqa: B905 - Python 3.9
        if one != other:
            break
        count += 1
    return count


@dataclass
class Kept:
    """One prompt with its keys and values."""

    tokens: Tokens
    data: bytes


class PromptCache:
    """Prompts up to `limit` bytes: 0 keeps none, below 0 there is no limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.kept: list[Kept] = []

    def size(self) -> int:
        return sum(len(one.data) for one in self.kept)

    def save(self, tokens: Tokens, per_token: int) -> None:
        """Room is made before the new one is taken, so the limit holds; one that is larger than it is not kept."""
        new = len(tokens) * per_token
        if not tokens or self.limit == 0 or any(common(one.tokens, tokens) == len(tokens) for one in self.kept):
            return
        if 0 < self.limit < new:
            return
        self.kept = [one for one in self.kept if common(one.tokens, tokens) != len(one.tokens)]
        while self.limit > 0 and self.kept and self.size() + new > self.limit:
            del self.kept[0]
        # Written, not only promised: a page that nobody wrote takes no memory.
        self.kept.append(Kept(tokens, b"\x01" * new))

    def load(self, held: Tokens, wanted: Tokens) -> Tokens:
        """The kept prompt that begins most like `wanted`, which is then in the slot; `held` where none does better."""
        best, found = common(held, wanted) / max(1, len(held)), None
        for one in self.kept:
            share = common(one.tokens, wanted) / max(1, len(one.tokens))
            if share >= WORTH and share > best:
                best, found = share, one
        if found is None:
            return held
        self.kept.remove(found)
        return found.tokens


@dataclass
class Slot:
    """One sequence: what is in its part of the KV cache."""

    tokens: Tokens = field(default_factory=list)
    used: float = 0.0
    busy: bool = False

    def take(self, prompt: Tokens, cache: PromptCache, per_token: int) -> None:
        """The slot will hold `prompt`; what it held is kept, unless the new one begins with half of it."""
        if self.tokens and common(self.tokens, prompt) < KEPT * len(self.tokens):
            cache.save(self.tokens, per_token)
            self.tokens = cache.load(self.tokens, prompt)


def choose(slots: list[Slot], prompt: Tokens) -> Slot:
    """A free slot: the one that begins most like the prompt, else the one that was idle longest."""
    free = [slot for slot in slots if not slot.busy]
    best = max(free, key=lambda slot: common(slot.tokens, prompt))
    if common(best.tokens, prompt) > SIMILAR * len(prompt):
        return best
    return min(free, key=lambda slot: slot.used)
