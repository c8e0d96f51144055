"""GGUF files that others made: their header, read within bounds, and their content in llama-quantize's order.

The format is llama.cpp's, version 2 and 3, little-endian: key-value pairs, a list of tensors, and their numbers.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from phi4_edge.artifacts.convert.scripts.copy_order import LAST, place
from phi4_edge.errors import ArtifactError

# Phi-4-mini's takes 8 MB, most of it 200,064 tokens and as many merges.
_MOST_HEADER = 64 << 20
_MOST_KEYS, _MOST_TENSORS, _MOST_ITEMS, _MOST_NAME, _MOST_TEXT = 1000, 10_000, 4_000_000, 1000, 4 << 20
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_ALIGNMENT, _MOST_ALIGNMENT = 32, 4096
# Name, numbers and bytes of a block, by llama.cpp's number of the type.
TYPES: Mapping[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210),
    30: ("BF16", 1, 2),
}  # fmt: skip
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Tensor:
    """`shape` as the file has it, the fastest dimension first; `head`: its line up to the offset; bytes elsewhere."""

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int
    size: int
    head: bytes

    @property
    def numbers(self) -> int:
        """How many it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Header:
    """`values`: scalars and texts by key; `lengths`: of arrays by key; `spans`: where each pair lies, in the file's
    order. `start`: where the pairs begin, `data`: where the numbers do."""

    values: Mapping[str, object]
    lengths: Mapping[str, int]
    spans: Mapping[str, tuple[int, int]]
    tensors: tuple[Tensor, ...]
    start: int
    data: int
    alignment: int

    @property
    def in_copy_order(self) -> bool:
        """Whether llama-quantize's copy of it is the same byte for byte, as far as the order of its parts decides."""
        keys = [*(key for key in self.spans if key not in LAST), *LAST]
        return list(self.spans) == keys and list(self.tensors) == _ordered(self.tensors) and self._dense()

    def _dense(self) -> bool:
        offset = 0
        for tensor in self.tensors:
            if tensor.offset != offset:
                return False
            offset += _padded(tensor.size, self.alignment)
        return True


def read(path: Path) -> Header:
    """The header of the file at `path`. Raises ArtifactError for what is none, or says what cannot be."""
    with path.open("rb") as stream:
        size = path.stat().st_size
        try:
            return _Reader(stream).header(size)
        except (ValueError, struct.error) as error:
            raise ArtifactError(f"{path.name} cannot be used as a GGUF file: {error}") from None


def arrange(source: Path, header: Header, target: Path) -> None:
    """`target` is `source` with keys and tensors as llama-quantize writes them: what Ollama keeps on hosts.

    Nothing else is changed. Raises ArtifactError where a key is missing that llama-quantize would add.
    """
    if lacking := [key for key in LAST if key not in header.spans]:
        raise ArtifactError(f"{source.name} has no {' and no '.join(lacking)}, which its quantizer writes")
    keys = [*(key for key in header.spans if key not in LAST), *LAST]
    tensors = _ordered(header.tensors)
    with source.open("rb") as old, target.open("xb") as new:
        _pass(old, new, 0, header.start)
        for key in keys:
            begin, end = header.spans[key]
            _pass(old, new, begin, end - begin)
        offset = 0
        for tensor in tensors:
            new.write(tensor.head + struct.pack("<Q", offset))
            offset += _padded(tensor.size, header.alignment)
        for tensor in tensors:
            new.write(bytes(-new.tell() % header.alignment))
            _pass(old, new, header.data + tensor.offset, tensor.size)
        new.write(bytes(-new.tell() % header.alignment))


class _Reader:
    """Reads one header. Raises ValueError for what cannot be, and struct.error where the file ends too early."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def header(self, size: int) -> Header:
        if self._stream.read(4) != b"GGUF":
            raise ValueError("it does not begin with GGUF")
        version, tensors, pairs = self._number("I"), self._number("Q"), self._number("Q")
        if version not in (2, 3) or pairs > _MOST_KEYS or not 0 < tensors <= _MOST_TENSORS:
            raise ValueError(f"found version {version}, {pairs} keys and {tensors} tensors")
        values, lengths, spans, start = dict[str, object](), dict[str, int](), dict[str, tuple[int, int]](), 24
        for _ in range(pairs):
            begin = self._stream.tell()
            key, kind = self._text(_MOST_NAME), self._number("I")
            if key in spans:
                raise ValueError(f"it has the key {key!a} twice")
            if kind == _ARRAY:
                lengths[key] = self._array()
            else:
                values[key] = self._value(kind)
            spans[key] = (begin, self._place())
        alignment = values.get("general.alignment", _ALIGNMENT)
        if type(alignment) is not int or not 8 <= alignment <= _MOST_ALIGNMENT or alignment & (alignment - 1):
            raise ValueError(f"found an alignment of {alignment!a}")
        listed = tuple(self._tensor() for _ in range(tensors))
        data = _padded(self._place(), alignment)
        _require_room(listed, size - data, alignment)
        return Header(values, lengths, spans, listed, start, data, alignment)

    def _place(self) -> int:
        place = self._stream.tell()
        if place > _MOST_HEADER:
            raise ValueError(f"its header has more than {_MOST_HEADER} bytes")
        return place

    def _number(self, code: str) -> int:
        return int(struct.unpack(f"<{code}", self._stream.read(struct.calcsize(code)))[0])

    def _text(self, most: int) -> str:
        length = self._number("Q")
        if length > most:
            raise ValueError(f"a text has {length} bytes, at most {most} are read")
        raw = self._stream.read(length)
        if len(raw) != length:
            raise ValueError("it ends in its header")
        return raw.decode("utf-8")

    def _value(self, kind: int) -> object:
        if kind == _STRING:
            return self._text(_MOST_TEXT)
        if kind not in _SCALARS:
            raise ValueError(f"found a value of type {kind}")
        code = f"<{_SCALARS[kind]}"
        found: object = struct.unpack(code, self._stream.read(struct.calcsize(code)))[0]
        return found

    def _array(self) -> int:
        """Passes over an array; how many items it has."""
        kind, count = self._number("I"), self._number("Q")
        if count > _MOST_ITEMS or (kind != _STRING and kind not in _SCALARS):
            raise ValueError(f"found an array of {count} items of type {kind}")
        if kind != _STRING:
            self._stream.seek(count * struct.calcsize(_SCALARS[kind]), 1)
            return count
        for _ in range(count):
            self._stream.seek(self._number("Q") & ((1 << 32) - 1), 1)
            self._place()
        return count

    def _tensor(self) -> Tensor:
        begin = self._stream.tell()
        name, dimensions = self._text(_MOST_NAME), self._number("I")
        if not 0 < dimensions <= 4:
            raise ValueError(f"the tensor {name!a} has {dimensions} dimensions")
        shape = tuple(self._number("Q") for _ in range(dimensions))
        kind, end, offset = self._number("I"), self._stream.tell(), self._number("Q")
        if kind not in TYPES:
            raise ValueError(f"the tensor {name!a} has the type {kind}, which Phi-4-mini's files do not")
        word, numbers, size = TYPES[kind]
        if not all(0 < side < 1 << 40 for side in shape) or shape[0] % numbers:
            raise ValueError(f"the tensor {name!a} has the shape {shape} in blocks of {numbers}")
        self._stream.seek(begin)
        head = self._stream.read(end - begin)
        self._stream.seek(8, 1)
        self._place()
        return Tensor(name, shape, word, offset, math.prod(shape) // numbers * size, head)


def _require_room(tensors: tuple[Tensor, ...], room: int, alignment: int) -> None:
    """Raise ValueError unless every tensor has bytes of its own in the file, and nothing follows the last."""
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise ValueError("it has a tensor twice")
    end = 0
    for tensor in sorted(tensors, key=lambda one: one.offset):
        if tensor.offset < end or tensor.offset % alignment:
            raise ValueError(f"the tensor {tensor.name!a} lies in another one, or off the alignment")
        end = tensor.offset + tensor.size
    if not end <= room <= _padded(end, alignment):
        raise ValueError(f"its tensors end at {end} of {room} bytes: it is cut off, or something follows them")


def _ordered(tensors: tuple[Tensor, ...]) -> list[Tensor]:
    return sorted(tensors, key=lambda tensor: place(tensor.name))


def _padded(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


def _pass(old: BinaryIO, new: BinaryIO, begin: int, size: int) -> None:
    old.seek(begin)
    for block in _blocks(old, size):
        new.write(block)


def _blocks(stream: BinaryIO, size: int) -> Iterator[bytes]:
    while size:
        block = stream.read(min(size, _BLOCK))
        if not block:
            raise ArtifactError("a GGUF file became shorter while it was read; run the same command again")
        size -= len(block)
        yield block
