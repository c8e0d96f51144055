"""What to run next. Pure: it knows how many decode and how much there is to read, and decides.

Each turn is one step for all who decode, and then, if a prompt waits, one piece of the oldest one. Whoever decodes is
never held up for longer than one piece, and the oldest prompt always gets on, so nobody starves.

A piece is 128 tokens when nobody decodes, which is as fast as reading gets. Beside others it is what fits in 250 ms
at the speed of the last piece, a pause that the reader of a stream does not mind; 16 tokens at least, because smaller
ones cost more than they are worth: pieces of 16 take 19 to 35 % of the speed, of 32 10 to 19 % (measured with the full
width and four layers).
"""

from __future__ import annotations

from dataclasses import dataclass

WHOLE_PIECE = 128
"""Tokens. It also bounds how long a cancel waits, and the memory of the scores, which an unpruned graph computes for
every token: 200,064 x 4 bytes x 128 = 102 MB.
"""
LEAST_PIECE = 16
PIECE_SECONDS = 0.25


@dataclass(frozen=True)
class Step:
    """One token for everybody who decodes."""


@dataclass(frozen=True)
class Piece:
    """So many tokens of the oldest prompt."""

    tokens: int


class Schedule:
    """Whose turn it is."""

    def __init__(self) -> None:
        self._stepped = False
        self._speed = 0.0

    def choose(self, *, decoding: bool, left: int) -> Step | Piece | None:
        """The next unit; `left` tokens of the oldest prompt are to be read, 0 without one. None: nothing to do."""
        if decoding and not (left and self._stepped):
            self._stepped = True
            return Step()
        self._stepped = False
        return Piece(self._size(left, decoding)) if left else None

    def measured(self, tokens: int, seconds: float) -> None:
        """A piece of so many tokens took so long."""
        self._speed = tokens / max(seconds, 1e-9)

    def _size(self, left: int, decoding: bool) -> int:
        fits = int(self._speed * PIECE_SECONDS) if decoding else WHOLE_PIECE
        size = min(left, max(LEAST_PIECE, min(WHOLE_PIECE, fits)))
        # Never one token by itself at the end: the runtime computes it with other kernels (see `rows`).
        return size - 1 if left - size == 1 else size
