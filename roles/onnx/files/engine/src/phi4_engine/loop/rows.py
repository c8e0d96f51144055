"""The rows of the KV cache: who has which, what each holds, and where it lies. Pure: arrays and their bookkeeping.

A batch is a range of neighbouring rows, because the graph takes one array [batch, heads, capacity, head size] and the
cache is never copied for a step. Whoever decodes together is therefore brought together (`gather`), by exchanging rows.

A row that is free keeps its prompt, and a new request whose prompt begins with the same tokens goes on from there.
Only tokens that were *read*, in pieces of two or more, are used again: the runtime computes a single token with other
kernels, and the rounding differs in the last bits, which int8 activations make visible. So an answer never depends on
what was asked before, and the price is that an answer is read once, quickly, when the conversation goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phi4_engine.modeldir import SHORT_CONTEXT

LEAST_SHARED = 32
"""Tokens: the opening of the chat template, which all prompts share, is not worth a copy."""


@dataclass
class Row:
    """One row: `tokens[:length]` have their keys and values in it, and the first `read` of them came in pieces."""

    tokens: NDArray[np.int32]
    length: int = 0
    read: int = 0
    owner: str | None = None
    used: int = field(default=0, compare=False)
    """When it was taken or given back last, as a count; 0 is never."""


class Rows:
    """As many rows as answers may run at once.

    `cache` is every array of keys or values, [rows, heads, capacity, head size]. At most `reuse` tokens of a prompt are
    used again: beyond SHORT_CONTEXT the graph may take other rotary factors, and keys of before do not fit to those of
    after.
    """

    def __init__(self, cache: Sequence[NDArray[Any]], *, reuse: int = SHORT_CONTEXT) -> None:
        self._cache = tuple(cache)
        self._reuse = reuse
        count, _, self.capacity, _ = cache[0].shape
        self._rows = [Row(np.zeros(self.capacity, np.int32)) for _ in range(count)]
        self._clock = 0

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, owner: str, prompt: NDArray[np.int32]) -> int | None:
        """Tokens of the prompt that the owner's row holds already; None when every row has an owner."""
        free = [at for at, row in enumerate(self._rows) if row.owner is None]
        if not free:
            return None
        source, shared = self._closest(prompt)
        oldest = min(free, key=lambda at: self._rows[at].used)
        # In place only where little else would be lost: a long conversation is not given for its first words.
        keep = source in free and 2 * shared >= self._rows[source].read
        target = source if keep else oldest
        if shared and target != source:
            for array in self._cache:
                array[target, :, :shared] = array[source, :, :shared]
        row = self._rows[target]
        row.tokens[:shared] = prompt[:shared]
        row.length = row.read = shared
        row.owner, row.used = owner, self._tick()
        return shared

    def fork(self, source: str, owner: str) -> bool:
        """The owner has a row that holds what the source's holds; false when every row has an owner."""
        free = [at for at, row in enumerate(self._rows) if row.owner is None]
        if not free:
            return False
        target = min(free, key=lambda at: self._rows[at].used)
        here, row = self.index(source), self._rows[target]
        held = self._rows[here]
        for array in self._cache:
            array[target, :, : held.length] = array[here, :, : held.length]
        row.tokens[: held.length] = held.tokens[: held.length]
        row.length, row.read, row.owner, row.used = held.length, held.read, owner, self._tick()
        return True

    def give_back(self, owner: str) -> None:
        """The row is free and keeps what was read."""
        row = self._rows[self.index(owner)]
        row.owner, row.used = None, self._tick()
        row.length = row.read = row.read if self._reuse else 0

    def forget(self, owner: str) -> None:
        """The row is free and holds nothing: a run over it failed, or was stopped half way."""
        row = self._rows[self.index(owner)]
        row.owner, row.length, row.read, row.used = None, 0, 0, 0

    def index(self, owner: str) -> int:
        """Where the owner's row lies now. Raises KeyError for whoever has none."""
        for at, row in enumerate(self._rows):
            if row.owner == owner:
                return at
        raise KeyError(owner)

    def length(self, owner: str) -> int:
        """Tokens that the owner's row holds."""
        return self._rows[self.index(owner)].length

    def wrote(self, owner: str, tokens: Sequence[int] | NDArray[np.int32], *, read: bool) -> None:
        """The graph has put the keys and values of these tokens behind what the row held."""
        row = self._rows[self.index(owner)]
        end = row.length + len(tokens)
        row.tokens[row.length : end] = tokens
        if read and len(tokens) > 1 and row.read == row.length:
            row.read = end
        row.length = end

    def gather(self, owners: Iterable[str]) -> tuple[int, list[str]]:
        """The owners' rows are neighbours: the first one's index, and the owners in the order of their rows."""
        mine = {self.index(owner) for owner in owners}
        first = min(range(len(self._rows) - len(mine) + 1), key=lambda at: self._cost(at, mine))
        window = range(first, first + len(mine))
        outside = sorted(mine.difference(window))
        inside = [at for at in window if at not in mine]
        for here, there in zip(outside, inside, strict=True):
            self._exchange(here, there)
        return first, [str(self._rows[at].owner) for at in window]

    def _closest(self, prompt: NDArray[np.int32]) -> tuple[int, int]:
        """The row that shares the longest beginning, and how long that is; 0 when it is too short to matter."""
        # Two tokens at least are left to read: one alone would be computed with the other kernels.
        most = min(len(prompt) - 2, self._reuse)
        best, longest = 0, 0
        for at, row in enumerate(self._rows):
            shared = common(row.tokens[: min(row.read, most)], prompt) if most >= LEAST_SHARED else 0
            if shared > longest or (shared == longest and row.owner is None and self._rows[best].owner is not None):
                best, longest = at, shared
        return (best, longest) if longest >= LEAST_SHARED else (best, 0)

    def _cost(self, first: int, mine: set[int]) -> int:
        """Tokens that have to be moved so that `mine` lies from `first` on."""
        window = set(range(first, first + len(mine)))
        return sum(self._rows[at].length for at in mine ^ window)

    def _exchange(self, one: int, other: int) -> None:
        there, here = self._rows[one], self._rows[other]
        for array in self._cache:
            kept = array[other, :, : here.length].copy()
            array[other, :, : there.length] = array[one, :, : there.length]
            array[one, :, : here.length] = kept
        self._rows[one], self._rows[other] = here, there

    def _tick(self) -> int:
        self._clock += 1
        return self._clock


def common(held: NDArray[np.int32], prompt: NDArray[np.int32]) -> int:
    """How many tokens both begin with."""
    length = min(len(held), len(prompt))
    differ = np.flatnonzero(held[:length] != prompt[:length])
    return int(differ[0]) if len(differ) else length
