"""What an untied int4 export must be, so that its embedding can be taken from its output matrix.

Known is one graph: that of onnxruntime-genai's builder for Phi-3 and Phi-4-mini, symmetric int4 in blocks of 32 with
fp32 scales, and the embedding beside it as an fp32 table. Anything else is refused, with what was found and needed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from phi4_edge.artifacts.convert.onnx_edit import CONTRIBUTED
from phi4_edge.artifacts.convert.onnx_graph import FLOAT, UINT8, Graph, GraphError, Model, Node, Tensor, shown

BITS, BLOCK, ACCURACY = 4, 32, 4
EMBEDDING, IDS, LOGITS = "model.embed_tokens.weight", "input_ids", "logits"
_BLOB = BLOCK * BITS // 8  # bytes of a block's numbers
_DOMAINS = {"": range(14, 26), CONTRIBUTED: range(1, 2)}
_VERSIONS = range(7, 14)
_HEAD = "lm_head."
# Padding between two tensors, as a writer that aligns them leaves it.
_WIDEST_GAP = 1 << 16
# Rows of the two matrices that are compared. Rounding to int4 costs about 1 % of a row's energy, another matrix all.
_ROWS, _MOST_ERROR = 64, 0.1

ReadAt = Callable[[int, int], bytes]  # gets (first byte, number of bytes) of the data beside the model


@dataclass(frozen=True, slots=True)
class Untied:
    """What the tie needs of a model that was checked: the lookup and its table, the output matrix and its user."""

    lookup: Node
    table: Tensor
    head: Node
    weights: Tensor
    scales: Tensor
    vocabulary: int
    hidden: int


def check(model: Model, location: str, size: int, read_at: ReadAt) -> Untied:
    """The parts of `model`, whose data is the file `location` of `size` bytes. Raises GraphError for another model."""
    graph = model.graph
    _require_versions(model)
    table = _table(graph)  # first: what is tied already has two tensors at one place
    _require_layout(graph, location, size)
    lookup = _lookup(graph)
    vocabulary, hidden = table.dims
    head = _head(graph)
    for node in (node for node in graph.nodes if node.operator == "MatMulNBits"):
        _require_int4(graph, node)
    weights, scales = (graph.initializers[name] for name in head.inputs[1:3])
    found = head.attributes["N"], head.attributes["K"]
    if found != (vocabulary, hidden):
        raise GraphError(f"found an output matrix of {found[0]} x {found[1]}, needed {vocabulary} x {hidden}")
    for tensor in (weights, scales):
        if not tensor.name.startswith(_HEAD):
            raise GraphError(f"found the output matrix {shown(tensor.name)}, needed one called {_HEAD}…")
        _require_one_user(graph, tensor.name, head)
    untied = Untied(lookup, table, head, weights, scales, vocabulary, hidden)
    _require_same_matrix(untied, read_at)
    return untied


def _require_versions(model: Model) -> None:
    opsets = {"" if domain == "ai.onnx" else domain: version for domain, version in model.opsets.items()}
    if model.ir_version not in _VERSIONS:
        raise GraphError(f"found ONNX IR {model.ir_version}, needed {_VERSIONS[0]} to {_VERSIONS[-1]}")
    for domain, known in _DOMAINS.items():
        if opsets.get(domain) not in known:
            found = opsets.get(domain, "none")
            raise GraphError(f"found operators {domain or 'ai.onnx'} {found}, needed {known[0]} to {known[-1]}")
    if further := sorted(set(opsets) - set(_DOMAINS)):
        raise GraphError(f"found operators of {shown(further[0])}, needed only ai.onnx and {CONTRIBUTED}")


def _require_layout(graph: Graph, location: str, size: int) -> None:
    """Every tensor lies in the one file, none over another, and nothing else is in there."""
    at = 0
    for tensor in outside(graph):
        assert tensor.place is not None, "that is what outside means"  # noqa: S101
        if tensor.place.location != location:
            raise GraphError(
                f"found {shown(tensor.name)} in the file {shown(tensor.place.location)}, needed {location} alone"
            )
        if not 0 <= tensor.place.offset - at < _WIDEST_GAP:
            raise GraphError(f"found {shown(tensor.name)} at byte {tensor.place.offset}, needed it at byte {at}")
        at = tensor.place.end
    if at != size:
        raise GraphError(f"found {location} of {size} bytes, needed {at}, which the model describes")


def outside(graph: Graph) -> list[Tensor]:
    """The tensors whose data is beside the model, in its order there."""
    found = [tensor for tensor in graph.initializers.values() if tensor.place]
    return sorted(found, key=lambda tensor: (tensor.place.offset, tensor.place.end) if tensor.place else (0, 0))


def _table(graph: Graph) -> Tensor:
    table = graph.initializers.get(EMBEDDING)
    if table is None:
        raise GraphError(f"found no tensor {EMBEDDING}, needed the embedding apart: is it tied already?")
    if table.kind != FLOAT or len(table.dims) != 2 or not all(table.dims) or table.dims[1] % BLOCK or not table.place:
        raise GraphError(
            f"found {EMBEDDING} {list(table.dims)} of element type {table.kind}, needed fp32 ({FLOAT}) outside of the "
            f"model with rows of a multiple of {BLOCK}"
        )
    return table


def _lookup(graph: Graph) -> Node:
    """The one node that reads the embedding."""
    users = [node for node in graph.nodes if EMBEDDING in node.uses]
    if len(users) != 1 or EMBEDDING in (*graph.inputs, *graph.outputs):
        names = ", ".join(shown(node.name) for node in users[:4]) or "nothing"
        raise GraphError(f"found that {names} reads {EMBEDDING}, needed one Gather alone")
    (lookup,) = users
    plain = all(name == "axis" and value == 0 for name, value in lookup.attributes.items())
    if not _is(lookup, "Gather", "") or lookup.inputs != (EMBEDDING, IDS) or not plain or len(lookup.outputs) != 1:
        raise GraphError(f"found {_signature(lookup)} on the embedding, needed Gather({EMBEDDING}, {IDS}) on axis 0")
    if IDS not in graph.inputs:
        raise GraphError(f"found no input {IDS}, needed one")
    return lookup


def _head(graph: Graph) -> Node:
    makers = [node for node in graph.nodes if LOGITS in node.outputs]
    if len(makers) != 1 or LOGITS not in graph.outputs:
        raise GraphError(f"found {len(makers)} nodes that make {LOGITS}, needed one, and {LOGITS} as an output")
    (head,) = makers
    if not _is(head, "MatMulNBits", CONTRIBUTED):
        raise GraphError(f"found {_signature(head)} as what makes {LOGITS}, needed MatMulNBits, int4")
    return head


def _require_int4(graph: Graph, node: Node) -> None:
    """A quantized matrix as the builder writes it: 4 bits, blocks of 32, fp32 scales, no zero points."""
    where, known = shown(node.name), {"bits": BITS, "block_size": BLOCK, "accuracy_level": ACCURACY}
    if node.domain != CONTRIBUTED or set(node.attributes) != {"N", "K", *known}:
        raise GraphError(f"found {where} with {', '.join(sorted(node.attributes)) or 'nothing'}, needed N, K, "
                         f"{', '.join(known)} alone")  # fmt: skip
    for name, needed in known.items():
        if node.attributes[name] != needed:
            raise GraphError(f"found {where} with {name} {node.attributes[name]}, needed {needed}")
    if any(node.inputs[3:]) or len(node.inputs) < 3:
        further = ", ".join(shown(name) for name in node.inputs[3:] if name) or "fewer inputs"
        raise GraphError(f"found {where} with {further}, needed weights and scales alone: no zero points, no order")
    rows, columns = node.attributes["N"] or 0, node.attributes["K"] or 0
    if rows <= 0 or columns <= 0 or columns % BLOCK:
        raise GraphError(f"found {where} of {rows} x {columns}, needed rows of a multiple of {BLOCK}")
    blocks = columns // BLOCK
    weights, scales = (_matrix(graph, name) for name in node.inputs[1:3])
    if weights.kind != UINT8 or weights.dims != (rows, blocks, _BLOB):
        raise GraphError(f"found {shown(weights.name)} {list(weights.dims)} of element type {weights.kind}, needed "
                         f"{[rows, blocks, _BLOB]} of {UINT8}")  # fmt: skip
    if scales.kind != FLOAT or scales.dims not in ((rows, blocks), (rows * blocks,)):
        raise GraphError(f"found {shown(scales.name)} {list(scales.dims)} of element type {scales.kind}, needed "
                         f"{[rows, blocks]} of {FLOAT}")  # fmt: skip


def _matrix(graph: Graph, name: str) -> Tensor:
    tensor = graph.initializers.get(name)
    if tensor is None or tensor.place is None or name in graph.inputs:
        raise GraphError(f"found no data for {shown(name)} outside of the model, needed it there")
    return tensor


def _require_one_user(graph: Graph, name: str, user: Node) -> None:
    others = [node for node in graph.nodes if name in node.uses and node is not user]
    if others or name in graph.outputs or user.inputs.count(name) != 1:
        raise GraphError(f"found that more than one node reads {shown(name)}, needed {shown(user.name)} alone")


def _require_same_matrix(untied: Untied, read_at: ReadAt) -> None:
    """The output matrix is the embedding, rounded to int4; else the tied model would read other words than it writes.

    Compared are rows all over the vocabulary: neither shapes nor sizes tell one matrix from another.
    """
    for row in _spread(untied.vocabulary):
        exact = struct.unpack(f"<{untied.hidden}f", _row(untied.table, row, untied.hidden * 4, read_at))
        blocks = untied.hidden // BLOCK
        scales = struct.unpack(f"<{blocks}f", _row(untied.scales, row, blocks * 4, read_at))
        packed = _row(untied.weights, row, blocks * _BLOB, read_at)
        rounded = ((number - 8) * scales[at // BLOCK] for at, number in enumerate(_unpacked(packed)))
        error = sum((one - other) ** 2 for one, other in zip(exact, rounded, strict=True))
        energy = sum(one * one for one in exact)
        if not error <= _MOST_ERROR * energy:  # not a number is refused as well
            raise GraphError(
                f"found an output matrix whose row {row} is not that of the embedding, needed the same matrix in both: "
                "the model has not tied its embedding, or the files belong to different models"
            )


def _spread(rows: int) -> Iterable[int]:
    """Numbers of rows from the first to the last."""
    return sorted({at * (rows - 1) // max(_ROWS - 1, 1) for at in range(_ROWS)})


def _row(tensor: Tensor, row: int, length: int, read_at: ReadAt) -> bytes:
    assert tensor.place is not None, "its data was required to be outside"  # noqa: S101
    return read_at(tensor.place.offset + row * length, length)


def _unpacked(packed: bytes) -> Iterable[int]:
    """Two numbers from 0 to 15 of each byte, the lower half first."""
    for byte in packed:
        yield byte & 15
        yield byte >> 4


def _is(node: Node, operator: str, domain: str) -> bool:
    return node.operator == operator and ("" if node.domain == "ai.onnx" else node.domain) == domain


def _signature(node: Node) -> str:
    return f"{shown(node.operator)}({', '.join(shown(name) for name in node.inputs[:4])})"
