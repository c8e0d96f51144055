"""GGUF files: what Ollama reads of them, and the copy that its llama-quantize makes when a model is created."""

from __future__ import annotations

import re
import struct
from typing import Any, BinaryIO, NamedTuple

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
# llama.cpp's numbers of file types that have a name in Ollama.
FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 32: "BF16",
}  # fmt: skip
QUANTIZE = ("F32", "F16", "Q4_K_S", "Q4_K_M", "Q8_0")
# llama-quantize drops these and writes them again behind all others.
REWRITTEN = ("general.quantization_version", "general.file_type")
BLOCK = 1 << 20


class GgufError(Exception):
    """The file is no GGUF that Ollama could load; the message is like Ollama's."""


class Tensor(NamedTuple):
    """A line of the list of tensors; `head` is all of it before the offset, `offset` from where the data begin."""

    name: str
    shape: list[int]
    offset: int
    head: bytes


class Gguf:
    """Metadata and tensors of a GGUF file, little-endian, version 2 or 3."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        stream.seek(0)
        if stream.read(4) != b"GGUF":
            raise GgufError("supplied file was not in GGUF format")
        self.version = self._scalar(4)
        if self.version not in (2, 3):
            raise GgufError("invalid file magic")
        tensors, pairs = self._scalar(10), self._scalar(10)
        self.kv: dict[str, Any] = {}
        self.spans: dict[str, tuple[int, int]] = {}
        self.pairs_start = stream.tell()
        for _ in range(pairs):
            start = stream.tell()
            key = self._text()
            self.kv[key] = self._value(self._scalar(4))
            self.spans[key] = (start, stream.tell())
        self.pairs_end = stream.tell()
        self.tensors = [self._tensor() for _ in range(tensors)]
        self.infos_end = stream.tell()
        if not isinstance(self.kv.get("general.architecture"), str) or not self.tensors:
            raise GgufError("unknown model architecture: ''")

    def _read(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) != size:
            raise GgufError("unexpected EOF")
        return data

    def _scalar(self, kind: int) -> Any:
        code = "<" + SCALARS[kind]
        return struct.unpack(code, self._read(struct.calcsize(code)))[0]

    def _text(self) -> str:
        return self._read(self._scalar(10)).decode("utf-8", "replace")

    def _value(self, kind: int) -> Any:
        if kind == STRING:
            return self._text()
        if kind == ARRAY:
            of, count = self._scalar(4), self._scalar(10)
            return [self._value(of) for _ in range(count)]
        if kind not in SCALARS:
            raise GgufError(f"invalid type: {kind}")
        return self._scalar(kind)

    def _tensor(self) -> Tensor:
        start = self._stream.tell()
        name = self._text()
        shape = [self._scalar(10) for _ in range(self._scalar(4))]
        self._scalar(4)
        end = self._stream.tell()
        offset = self._scalar(10)
        self._stream.seek(start)
        head = self._read(end - start)
        self._read(8)
        return Tensor(name, shape, offset, head)

    @property
    def file_type(self) -> str:
        return FILE_TYPES.get(self.kv.get("general.file_type", 1024), "unknown")

    def parameters(self) -> int:
        """How many numbers all tensors hold."""
        total = 0
        for one in self.tensors:
            count = 1
            for size in one.shape:
                count *= size
            total += count
        return total


def human(count: int) -> str:
    """A count of parameters as Ollama writes it: 3.8B, 270.00M, 5.00K."""
    for limit, unit in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= limit:
            value = count / limit
            return f"{value:.1f}{unit}" if unit == "B" else f"{value:.2f}{unit}"
    return str(count)


def place(name: str) -> tuple[int, str]:
    """Where llama-quantize writes a tensor: first those of no block, then block by block, by name within each."""
    block = re.match(r"blk\.(\d+)\.", name)
    return (int(block[1]) if block else -1, name)


def copy(source: BinaryIO, target: BinaryIO, found: Gguf) -> None:
    """`target` holds what llama-quantize's COPY makes of `source`; a file of its own comes out byte for byte.

    File type and version move behind the other keys, and tensors are written in an order of its own.
    """
    moved = [key for key in REWRITTEN if key in found.spans]
    spans = [span for key, span in found.spans.items() if key not in moved] + [found.spans[key] for key in moved]
    source.seek(0)
    target.write(source.read(found.pairs_start))
    for start, end in spans:
        source.seek(start)
        target.write(source.read(end - start))
    align = found.kv.get("general.alignment", 32)
    data = -(-found.infos_end // align) * align
    ends = sorted(one.offset for one in found.tensors)[1:]
    source.seek(0, 2)
    last = source.tell() - data
    offset = 0
    ordered = sorted(found.tensors, key=lambda one: place(one.name))
    sizes = {one.name: next((end for end in ends if end > one.offset), last) - one.offset for one in ordered}
    for one in ordered:
        target.write(one.head + struct.pack("<Q", offset))
        offset += -(-sizes[one.name] // align) * align
    for one in ordered:
        target.write(b"\0" * (-target.tell() % align))
        source.seek(data + one.offset)
        left = sizes[one.name]
        while left:
            block = source.read(min(left, BLOCK))
            if not block:
                raise GgufError("unexpected EOF")
            left -= target.write(block)
