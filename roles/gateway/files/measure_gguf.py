"""The vocabulary of a model, from the head of its GGUF file: what a byte-level BPE needs to count tokens.

Python 3.8, standard library. The file is data: each length is held to what is there, and to a bound of ours.
"""

from __future__ import annotations

import mmap
import os
import struct
from array import array
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

# Phi-4-mini's is 9 MB, with 200,064 tokens and as many merges.
MOST_HEAD, MOST_KEYS, MOST_TOKENS, MOST_MERGES, MOST_TEXT = 64 << 20, 4096, 1 << 19, 1 << 20, 4096
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY, _INT32 = 8, 9, 5
# As llama.cpp has them: unknown, control, user-defined. They stand for themselves wherever they are in a text.
_SPECIAL = (2, 3, 4)
# A merge is one number: its left token, its right one, and its rank.
TOKEN_BITS = RANK_BITS = 20
RANK_MASK = (1 << RANK_BITS) - 1


class Vocabulary(NamedTuple):
    """`pre`: how a text is cut into pieces first. `lead`: tokens that stand before every prompt.

    `bytes`: the token of each byte. `merges`: sorted numbers of a left token, a right token and a rank; `made`: what
    the merge of a rank makes. `longest`: bytes of the longest token that begins with each byte. `special`: texts that
    are a token each. `context`: the longest that the model knows.
    """

    pre: str
    lead: int
    bytes: "array[int]"
    merges: "array[int]"
    made: "array[int]"
    longest: "array[int]"
    special: Tuple[str, ...]
    context: int


def read(path: str) -> Vocabulary:
    """The vocabulary of the model in a file. Raises OSError, and ValueError for what is none that can be used."""
    with open(path, "rb") as stream:
        size = min(os.fstat(stream.fileno()).st_size, MOST_HEAD)
        if size < 24:
            raise ValueError("found %d bytes, needed a GGUF file" % size)
        with mmap.mmap(stream.fileno(), size, access=mmap.ACCESS_READ) as head:
            return _vocabulary(_Reader(head))


class _Reader:
    """Reads one value behind the other. Raises ValueError where the head ends before, or is too long."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at = data, 0

    def scalar(self, kind: int) -> Any:
        code = _SCALARS.get(kind)
        if code is None:
            raise ValueError("found a value of kind %d, needed one that GGUF knows" % kind)
        try:
            (found,) = struct.unpack_from("<" + code, self.data, self.at)
        except struct.error:
            raise ValueError("found the end of the head at byte %d, needed more of it" % len(self.data)) from None
        self.at += struct.calcsize(code)
        return found

    def text(self) -> bytes:
        size = self.scalar(10)
        self.skip(size)
        return self.data[self.at - size : self.at]

    def skip(self, size: int) -> None:
        if size > len(self.data) - self.at:
            raise ValueError("found %d bytes at byte %d, needed them within the head" % (size, self.at))
        self.at += size

    def array(self) -> Tuple[int, int]:
        """Kind and number of the elements that follow."""
        return self.scalar(4), self.scalar(10)

    def texts(self, count: int) -> Iterator[bytes]:
        for _ in range(count):
            found = self.text()
            if len(found) > MOST_TEXT:
                raise ValueError("found a token of %d bytes, needed at most %d" % (len(found), MOST_TEXT))
            yield found

    def pass_over(self, kind: int) -> None:
        """One value that nobody needs."""
        if kind == _STRING:
            self.skip(self.scalar(10))
        elif kind == _ARRAY:
            of, count = self.array()
            if of in _SCALARS:
                self.skip(count * struct.calcsize(_SCALARS[of]))
            elif of == _STRING:
                for _ in range(count):
                    self.skip(self.scalar(10))
            else:
                raise ValueError("found an array of kind %d, needed one of numbers or texts" % of)
        else:
            self.scalar(kind)


_KEPT = ("general.architecture", "tokenizer.ggml.model", "tokenizer.ggml.pre", "tokenizer.ggml.add_bos_token")


def _vocabulary(reader: _Reader) -> Vocabulary:
    reader.skip(4)
    if reader.data[:4] != b"GGUF" or reader.scalar(4) not in (2, 3):
        raise ValueError("found %r, needed a GGUF file of version 2 or 3" % reader.data[:8])
    reader.scalar(10)
    keys = reader.scalar(10)
    if keys > MOST_KEYS:
        raise ValueError("found %d keys, needed at most %d" % (keys, MOST_KEYS))
    said: Dict[str, Any] = {}
    places: Dict[str, int] = {}
    for _ in range(keys):
        name, kind = reader.text().decode("utf-8", "replace"), reader.scalar(4)
        if name in _KEPT or name.endswith(".context_length"):
            said[name] = reader.text().decode("utf-8", "replace") if kind == _STRING else reader.scalar(kind)
            continue
        if kind == _ARRAY:
            places[name] = reader.at
        reader.pass_over(kind)
    if said.get("tokenizer.ggml.model") != "gpt2":
        raise ValueError("found the tokenizer %.40r, needed a byte-level BPE, gpt2" % said.get("tokenizer.ggml.model"))
    context = said.get("%s.context_length" % said.get("general.architecture"))
    pre, lead = str(said.get("tokenizer.ggml.pre", "")), int(said.get("tokenizer.ggml.add_bos_token") is True)
    return _indexed(reader, places, pre, lead, context if isinstance(context, int) else 0)


def _listed(reader: _Reader, places: Dict[str, int], name: str, of: int, most: int) -> int:
    """The number of elements of an array, which come next. Raises ValueError for one that cannot be."""
    if name not in places:
        raise ValueError("found no %s, needed it to count tokens" % name)
    reader.at = places[name]
    kind, count = reader.array()
    if kind != of or count > most:
        raise ValueError("%s: found %d of kind %d, needed at most %d of kind %d" % (name, count, kind, most, of))
    return count


def _indexed(reader: _Reader, places: Dict[str, int], pre: str, lead: int, context: int) -> Vocabulary:
    count = _listed(reader, places, "tokenizer.ggml.token_type", _INT32, MOST_TOKENS)
    kinds = struct.unpack_from("<%di" % count, reader.data, reader.at)
    count = _listed(reader, places, "tokenizer.ggml.tokens", _STRING, MOST_TOKENS)
    if count != len(kinds):
        raise ValueError("found %d tokens of %d kinds, needed as many" % (count, len(kinds)))
    ids: Dict[bytes, int] = {}
    special: List[str] = []
    longest = dict.fromkeys(signs(), 1)
    for number, token in enumerate(reader.texts(count)):
        ids.setdefault(token, number)
        if kinds[number] in _SPECIAL and token:
            special.append(token.decode("utf-8", "replace"))
        elif token:
            shown = token.decode("utf-8", "replace")  # a sign for each byte
            longest[shown[0]] = max(longest.get(shown[0], 1), len(shown))
    count = _listed(reader, places, "tokenizer.ggml.merges", _STRING, MOST_MERGES)
    merges: List[int] = []
    made: "array[int]" = array("I")
    try:
        for rank, merge in enumerate(reader.texts(count)):
            left, _, right = merge.partition(b" ")
            merges.append(((ids[left] << TOKEN_BITS | ids[right]) << RANK_BITS) | rank)
            made.append(ids[left + right])
        of_bytes = array("I", (ids[sign.encode()] for sign in signs()))
    except KeyError as error:
        raise ValueError("found no token %.80r, needed it for the merges" % error.args) from None
    merges.sort()
    lengths = array("I", (longest[sign] for sign in signs()))
    return Vocabulary(pre, lead, of_bytes, array("Q", merges), made, lengths, tuple(special), context)


def signs() -> List[str]:
    """The sign that stands for each byte: itself where it can be seen, else one of those from U+0100 on."""
    seen = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in seen else next(others)) for byte in range(256)]
