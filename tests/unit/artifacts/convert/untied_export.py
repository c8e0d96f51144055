"""A small untied int4 export, written field by field: the parts of the published graph that a tie looks at.

It is the same in names, operators, types and layout; it has no attention and cannot be run. What the real builder
writes is tied and run in tests/convert. `Export` has every part in the open, so that a test can break one.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from phi4_edge.artifacts.convert.protobuf import bytes_field, number_field, text_field
from phi4_edge.artifacts.convert.settings import STOP_TOKENS

VOCABULARY, HIDDEN, BLOCK, INNER = 96, 64, 32, 128
TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
INT4 = {"K": HIDDEN, "N": VOCABULARY, "accuracy_level": 4, "bits": 4, "block_size": BLOCK}


@dataclass(frozen=True)
class Weights:
    """One initializer: element type, shape and data; `place` overrides what the model says of where it is."""

    name: str
    kind: int
    dims: tuple[int, ...]
    data: bytes
    place: dict[str, str] = field(default_factory=dict)
    extra: bytes = b""

    def encoded(self, offset: int) -> bytes:
        """TensorProto, with its data outside of the model."""
        entries = {"location": "model.onnx.data", "offset": str(offset), "length": str(len(self.data)), **self.place}
        parts = [number_field(1, dim) for dim in self.dims]
        parts += [number_field(2, self.kind), text_field(8, self.name), number_field(14, 1), self.extra]
        parts += [bytes_field(13, text_field(1, key), text_field(2, text)) for key, text in entries.items() if text]
        return b"".join(parts)


@dataclass(frozen=True)
class Operation:
    """One node with integers as attributes."""

    name: str
    operator: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    numbers: dict[str, int] = field(default_factory=dict)
    extra: bytes = b""

    def encoded(self) -> bytes:
        """NodeProto."""
        parts = [text_field(1, name) for name in self.inputs] + [text_field(2, name) for name in self.outputs]
        parts += [text_field(3, self.name), text_field(4, self.operator)]
        parts += [attribute(name, number_field(3, number), 2) for name, number in self.numbers.items()]
        return b"".join([*parts, text_field(7, self.domain), self.extra])


def attribute(name: str, value: bytes, kind: int) -> bytes:
    """A field of a node: AttributeProto."""
    return bytes_field(5, text_field(1, name), value, number_field(20, kind))


def typed(*dims: int | str, kind: int = 1) -> bytes:
    """A field of an output: TypeProto, a tensor of this element type and shape."""
    sizes = (number_field(1, dim) if isinstance(dim, int) else text_field(2, dim) for dim in dims)
    shape = bytes_field(2, *(bytes_field(1, size) for size in sizes))
    return bytes_field(2, bytes_field(1, number_field(1, kind), shape))


@dataclass(frozen=True)
class Export:
    """The whole export, in the order in which the builder writes it."""

    weights: tuple[Weights, ...]
    operations: tuple[Operation, ...]
    inputs: tuple[str, ...] = ("input_ids", "attention_mask")
    outputs: tuple[str, ...] = ("logits",)
    opsets: tuple[tuple[str, int], ...] = (("", 14), ("com.microsoft", 1))
    ir_version: int = 7
    logits: tuple[int | str, ...] = ("batch_size", "sequence_length", VOCABULARY)
    graph_extra: bytes = b""
    model_extra: bytes = b""
    trailing: bytes = b""

    def model(self) -> bytes:
        """ModelProto."""
        parts, offset = [bytes_field(1, one.encoded()) for one in self.operations], 0
        parts.append(text_field(2, "main_graph"))
        for one in self.weights:
            parts.append(bytes_field(5, one.encoded(offset)))
            offset += len(one.data)
        parts += [bytes_field(11, text_field(1, name)) for name in self.inputs]
        parts += [bytes_field(12, text_field(1, name), typed(*self.logits)) for name in self.outputs]
        opsets = [bytes_field(8, text_field(1, name), number_field(2, version)) for name, version in self.opsets]
        head = number_field(1, self.ir_version) + text_field(2, "onnxruntime-genai")
        return b"".join([head, bytes_field(7, *parts, self.graph_extra), *opsets, self.model_extra])

    def write(self, folder: Path) -> Path:
        """The files in the new folder `folder`, which is returned."""
        folder.mkdir()
        (folder / "model.onnx").write_bytes(self.model())
        (folder / "model.onnx.data").write_bytes(b"".join(one.data for one in self.weights) + self.trailing)
        for name, content in beside().items():
            (folder / name).write_bytes(content)
        return folder

    def changed(self, which: str, /, **changes: Any) -> Export:
        """The same with other fields of the tensor or the node called `which`."""
        assert which in {one.name for one in self.weights} | {one.name for one in self.operations}
        return replace(
            self,
            weights=tuple(replace(one, **changes) if one.name == which else one for one in self.weights),
            operations=tuple(replace(one, **changes) if one.name == which else one for one in self.operations),
        )

    def of(self, name: str) -> Weights:
        """The tensor called `name`."""
        return next(one for one in self.weights if one.name == name)


def beside() -> dict[str, bytes]:
    """The files beside the graph, as the published folder has them: no chat_template.jinja, one stop token."""
    config = {
        "model": {
            "type": "phi3", "vocab_size": VOCABULARY, "eos_token_id": 1,
            "decoder": {"filename": "model.onnx", "hidden_size": HIDDEN},
        },
        "search": {"max_length": 131072, "top_k": 1},
    }  # fmt: skip
    added = [{"id": 90 + at, "content": name, "special": True} for at, name in enumerate(STOP_TOKENS)]
    documents = {
        "genai_config.json": config,
        "tokenizer.json": {"added_tokens": added},
        "tokenizer_config.json": {"chat_template": TEMPLATE, "model_max_length": 10**30},
    }
    return {name: json.dumps(document).encode() for name, document in documents.items()}


def make(seed: int = 4) -> Export:
    """The export as it should be: an fp32 table, and the same matrix in int4 as the output."""
    packed, scales, table = _matrix(random.Random(seed), VOCABULARY, HIDDEN)
    inner_packed, inner_scales, _ = _matrix(random.Random(seed + 1), INNER, HIDDEN)
    norm = struct.pack(f"<{HIDDEN}f", *[1.0] * HIDDEN)
    proj, head = "model.layers.0.mlp.up_proj.MatMul", "lm_head.MatMul"
    return Export(
        weights=(
            Weights("model.embed_tokens.weight", 1, (VOCABULARY, HIDDEN), table),
            Weights("model.layers.0.input_layernorm.weight", 1, (HIDDEN,), norm),
            Weights(f"{proj}.weight_Q4", 2, (INNER, HIDDEN // BLOCK, 16), inner_packed),
            Weights(f"{proj}.weight_scales", 1, (INNER * HIDDEN // BLOCK,), inner_scales),
            Weights(f"{head}.weight_Q4", 2, (VOCABULARY, HIDDEN // BLOCK, 16), packed),
            Weights(f"{head}.weight_scales", 1, (VOCABULARY * HIDDEN // BLOCK,), scales),
        ),
        operations=(
            Operation("angles", "If", "", ("longer",), ("cos", "sin"), extra=angles()),
            Operation("gather", "Gather", "", ("model.embed_tokens.weight", "input_ids"), ("embedded",)),
            Operation("norm", "SimplifiedLayerNormalization", "",
                      ("embedded", "model.layers.0.input_layernorm.weight"), ("normed",)),
            Operation("up", "MatMulNBits", "com.microsoft", ("normed", f"{proj}.weight_Q4", f"{proj}.weight_scales"),
                      ("up/out",), {**INT4, "N": INNER}),
            Operation("head", "MatMulNBits", "com.microsoft", ("normed", f"{head}.weight_Q4", f"{head}.weight_scales"),
                      ("logits",), INT4),
            Operation("compare", "Greater", "", ("attention_mask", "limit"), ("longer",)),
            Operation("attend", "GroupQueryAttention", "com.microsoft", ("normed", "cos", "sin"), ("attended",)),
        ),
    )  # fmt: skip


def angles(short: int = 2, long: int = 3, width: int = 2, **changed: bytes) -> bytes:
    """The attributes of the node that chooses LongRoPE's angles: two graphs, each with a table of cosines and of sines.

    `changed` are other graphs, by the name of the attribute.
    """
    graphs = {"else_branch": branch(short, width, "small"), "then_branch": branch(long, width, "large")} | changed
    return b"".join(attribute(name, bytes_field(6, graph), 5) for name, graph in graphs.items() if graph)


def branch(rows: int, width: int, name: str, kind: int = 1, operator: str = "Constant") -> bytes:
    """GraphProto with two tables whose numbers count from 0; the sines are written first."""
    nodes = list[bytes]()
    for offset, what in ((100, "sin"), (0, "cos")):
        numbers = struct.pack(f"<{rows * width}f", *range(offset, offset + rows * width))
        tensor = number_field(1, rows) + number_field(1, width) + number_field(2, kind) + bytes_field(9, numbers)
        made = text_field(2, f"{what}_{name}") + text_field(3, f"/{name}/{what}") + text_field(4, operator)
        nodes.append(bytes_field(1, made + attribute("value", bytes_field(5, tensor), 4)))
    outputs = (bytes_field(12, text_field(1, f"{what}_{name}")) for what in ("cos", "sin"))
    return b"".join((*nodes, *outputs))


def _matrix(chance: random.Random, rows: int, columns: int) -> tuple[bytes, bytes, bytes]:
    """Packed int4, fp32 scales, and in fp32 the matrix that they were rounded from."""
    packed, scales, exact = bytearray(), list[float](), list[float]()
    for _ in range(rows * columns // BLOCK):
        scale = chance.uniform(0.01, 0.03)
        numbers = [chance.randrange(16) for _ in range(BLOCK)]
        packed += bytes(low | high << 4 for low, high in _pairs(numbers))
        scales.append(scale)
        exact += [(number - 8 + chance.uniform(-0.4, 0.4)) * scale for number in numbers]
    return bytes(packed), struct.pack(f"<{len(scales)}f", *scales), struct.pack(f"<{len(exact)}f", *exact)


def _pairs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    yield from zip(numbers[::2], numbers[1::2], strict=True)
