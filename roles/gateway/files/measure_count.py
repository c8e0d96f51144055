"""How many tokens a text has, as llama.cpp counts them for models with a byte-level BPE.

Python 3.8, standard library. The time is bounded whatever the text is: each of its steps is linear, or n log n, and
ends when it is over.
"""

from __future__ import annotations

import heapq
import re
import time
import unicodedata
from array import array
from bisect import bisect_left
from typing import Dict, List, NamedTuple, Pattern, Tuple

from measure_gguf import RANK_BITS, RANK_MASK, TOKEN_BITS, Vocabulary

# As llama.cpp does it, a sign beyond ASCII counts as one for all of its kind: a letter, a number, a space, another one.
_LETTER, _NUMBER, _SPACE, _OTHER = "\u00aa", "\u00b2", "\u00a0", "\u00a7"
# Those that Unicode calls White_Space.
_SPACES = {0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}
_L, _N, _S = "A-Za-z" + _LETTER, "0-9" + _NUMBER, "\\t-\\r " + _SPACE
_ENDING = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?"
# By the name in `tokenizer.ggml.pre`, from src/llama-vocab.cpp. In gpt-4o's only letters of ASCII have a case.
PATTERNS: Dict[str, Pattern[str]] = {
    "gpt-2": re.compile(
        "'s|'t|'re|'ve|'m|'ll|'d| ?[{L}]+| ?[{N}]+| ?[^{S}{L}{N}]+|[{S}]+(?![^{S}])|[{S}]+".format(L=_L, N=_N, S=_S)
    ),
    "gpt-4o": re.compile(
        "[^\\r\\n{L}{N}]?[A-Z{O}]*[a-z{O}]+{E}|[^\\r\\n{L}{N}]?[A-Z{O}]+[a-z{O}]*{E}|[{N}]{{1,3}}"
        "| ?[^{S}{L}{N}]+[\\r\\n/]*|[{S}]*[\\r\\n]+|[{S}]+(?![^{S}])|[{S}]+".format(
            L=_L, N=_N, S=_S, O=_LETTER, E=_ENDING
        )
    ),
}
# A piece of a text is hardly ever longer; for those that are, a heap is faster.
_SHORT = 48
# Merging a longer one may take a noticeable time.
_LONG = 2048
_KEPT_PIECES, _KEPT_SIGNS, _KEPT_MERGES, _LOOK_EVERY = 8192, 16384, 32768, 2048
_NONE = 1 << 62


class Counted(NamedTuple):
    """Tokens of a text; `whole` is False where the time was over before its end, and there may be more."""

    tokens: int
    whole: bool


class OverTimeError(Exception):
    """The time for one text is over."""


class _Kinds(Dict[int, str]):
    """The sign that stands for each one beyond ASCII."""

    def __missing__(self, code: int) -> str:
        kind = unicodedata.category(chr(code))[0]
        found = (
            chr(code) if code < 0x80 else _SPACE if code in _SPACES else {"L": _LETTER, "N": _NUMBER}.get(kind, _OTHER)
        )
        if len(self) >= _KEPT_SIGNS:
            self.clear()
        self[code] = found
        return found


class Counter:
    """Counts tokens with one vocabulary. Raises ValueError for one whose texts are cut in a way that is not known."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        pattern = PATTERNS.get(vocabulary.pre)
        if pattern is None:
            known = ", ".join(sorted(PATTERNS))
            raise ValueError("found a text cut as in %.40r, needed one of %s" % (vocabulary.pre, known))
        self._pattern, self._merges, self._made = pattern, vocabulary.merges, vocabulary.made
        self._bytes, self._lead, self._longest = vocabulary.bytes, vocabulary.lead, vocabulary.longest
        longest_first = sorted(vocabulary.special, key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
        self._kinds, self._known = _Kinds(), {}  # type: Tuple[_Kinds, Dict[bytes, int]]
        self._ranks: Dict[int, int] = {}
        # Where every merge of two bytes begins: the first thing that is asked of each piece.
        self._first: "array[int]" = array(
            "q", (self._look_up(one << TOKEN_BITS | two) for one in self._bytes for two in self._bytes)
        )

    def count(self, text: str, limit: int, seconds: float) -> Counted:
        """The tokens of a text. Once there are more than `limit` a tenth of the time is left to count the rest."""
        began = time.monotonic()
        self._end, total = began + seconds, self._lead
        hurried = False
        try:
            for part, special in self._parts(text):
                total += special
                for piece in self._pieces(part):
                    if len(piece) > _LONG and total + self._least(piece) > limit:  # merging it would change nothing
                        return Counted(total + self._least(piece), False)
                    total += self._tokens(piece)
                    if total > limit and not hurried:
                        hurried, self._end = True, min(self._end, time.monotonic() + seconds / 10)
                    if len(piece) > _SHORT or not total & 0xFF:
                        self._look()
        except OverTimeError:
            return Counted(total, False)
        return Counted(total, True)

    def _least(self, piece: bytes) -> int:
        """Tokens that a piece has at least: each begins with one of its bytes, and is no longer than such ones are."""
        return len(piece) // max(self._longest[byte] for byte in set(piece))

    def _look(self) -> None:
        if time.monotonic() > self._end:
            raise OverTimeError

    def _parts(self, text: str) -> "List[Tuple[str, int]]":
        """What lies before, between and behind special tokens, with how many of them come before it."""
        if self._special is None:
            return [(text, 0)]
        parts = self._special.split(text)
        return [(part, int(number > 0)) for number, part in enumerate(parts)]

    def _pieces(self, text: str) -> "List[bytes]":
        if not text:
            return []
        if text.isascii():
            return [piece.encode() for piece in self._pattern.findall(text)]
        shown = text.translate(self._kinds)
        return [text[found.start() : found.end()].encode() for found in self._pattern.finditer(shown)]

    def _tokens(self, piece: bytes) -> int:
        size = len(piece)
        if size == 1:
            return 1
        if size > _SHORT:
            return self._many(piece)
        found = self._known.get(piece)
        if found is None:
            found = self._few(piece)
            if len(self._known) >= _KEPT_PIECES:
                self._known.clear()
            self._known[piece] = found
        return found

    def _merge(self, left: int, right: int) -> int:
        """The rank at which two tokens are merged; a large number where they are not."""
        wanted = left << TOKEN_BITS | right
        known = self._ranks.get(wanted)
        if known is not None:
            return known
        rank = self._look_up(wanted)
        if len(self._ranks) >= _KEPT_MERGES:
            self._ranks.clear()
        self._ranks[wanted] = rank
        return rank

    def _look_up(self, pair: int) -> int:
        place = bisect_left(self._merges, pair << RANK_BITS)
        found = self._merges[place] if place < len(self._merges) else -1
        return found & RANK_MASK if found >> RANK_BITS == pair else _NONE

    def _few(self, piece: bytes) -> int:
        first, of_bytes, made = self._first, self._bytes, self._made
        tokens = [of_bytes[byte] for byte in piece]
        ranks = [first[left << 8 | right] for left, right in zip(piece, piece[1:])]  # noqa: B905, RUF007 - of Python 3.10
        while ranks:
            least = min(ranks)
            if least == _NONE:
                break
            place = ranks.index(least)
            tokens[place] = made[least]
            del tokens[place + 1], ranks[place]
            if place:
                ranks[place - 1] = self._merge(tokens[place - 1], tokens[place])
            if place < len(ranks):
                ranks[place] = self._merge(tokens[place], tokens[place + 1])
        return len(tokens)

    def _many(self, piece: bytes) -> int:
        """The same for a long piece: merges wait in a heap, by rank and then by place; tokens are a linked list."""
        size, first = len(piece), self._first
        tokens, after, before = array("q", (self._bytes[byte] for byte in piece)), array("q"), array("q")
        after.extend(range(1, size + 1))
        before.extend(range(-1, size - 1))
        places = size.bit_length()
        heap: List[int] = []
        for place in range(size - 1):
            rank = first[piece[place] << 8 | piece[place + 1]]
            if rank != _NONE:
                heap.append(rank << places | place)
        heapq.heapify(heap)
        left, steps = size, 0
        while heap:
            steps += 1
            if not steps % _LOOK_EVERY:
                self._look()
            said = heapq.heappop(heap)
            place, rank = said & ((1 << places) - 1), said >> places
            behind = after[place]
            if tokens[place] < 0 or behind >= size or self._merge(tokens[place], tokens[behind]) != rank:
                continue  # one of the two has been merged with another
            tokens[place], tokens[behind], left = self._made[rank], -1, left - 1
            follower = after[place] = after[behind]
            if follower < size:
                before[follower] = place
            for one, other in ((place, follower), (before[place], place)):
                if one >= 0 and other < size:
                    rank = self._merge(tokens[one], tokens[other])
                    if rank != _NONE:
                        heapq.heappush(heap, rank << places | one)
        return left
