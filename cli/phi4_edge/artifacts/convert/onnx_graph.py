"""An ONNX model as far as one must know it to change it: nodes, initializers, and the place of each in the file.

Source of the field numbers: onnx/onnx.proto. A field that is not listed here is not understood, and refused; so are
fields that may occur once and do so twice, which readers merge.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from phi4_edge.artifacts.convert import protobuf
from phi4_edge.artifacts.convert.protobuf import Budget, Field, Span
from phi4_edge.core.text import clean

FLOAT, UINT8, INT64 = 1, 2, 7
# Bytes per element of the types that a tensor outside of the file may have.
_WIDTHS = {FLOAT: 4, UINT8: 1, 3: 1, 6: 4, INT64: 8, 9: 1, 10: 2, 11: 8, 16: 2}
MODEL_GRAPH, GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_INPUT, GRAPH_OUTPUT = 7, 1, 5, 11, 12
NODE_INPUT, NODE_OUTPUT = 1, 2
TENSOR_DIMS, TENSOR_TYPE, TENSOR_NAME, TENSOR_RAW, TENSOR_EXTERNAL = 1, 2, 8, 9, 13
_EXTERNAL = 1  # of TensorProto.DataLocation
_INT = 2  # of AttributeProto.AttributeType
# Of each message: the fields that may occur once, and those that may repeat.
_SHAPES = {
    "model": (frozenset({1, 2, 3, 4, 5, 6, 7}), frozenset({8, 14})),
    "opset": (frozenset({1, 2}), frozenset[int]()),
    "graph": (frozenset({2, 10}), frozenset({1, 5, 11, 12, 13, 16})),
    "node": (frozenset({3, 4, 6, 7}), frozenset({1, 2, 5, 9})),
    "attribute": (frozenset({1, 2, 3, 4, 5, 6, 13, 20}), frozenset({7, 8, 9})),
    "tensor": (frozenset({2, 8, 9, 12, 14}), frozenset({1, 4, 5, 6, 7, 10, 11, 13, 16})),
    "entry": (frozenset({1, 2}), frozenset[int]()),
    "value": (frozenset({1, 2, 3}), frozenset({4})),
    "type": (frozenset({1, 6}), frozenset[int]()),
    "tensor type": (frozenset({1, 2}), frozenset[int]()),
    "shape": (frozenset[int](), frozenset({1})),
    "dimension": (frozenset({1, 2, 3}), frozenset[int]()),
}
# A model of 32 layers has some 20,000; the limits leave room for another one, not for an attack.
_MOST_FIELDS, _MOST_DEPTH, _MOST_DIMS = 200_000, 4, 8
_PLACE = re.compile(r"0|[1-9][0-9]{0,14}")


class GraphError(ValueError):
    """The model has something that is not understood here; the text says what was found and what was needed."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the data of a tensor lies: a file beside the model, first byte, number of bytes."""

    location: str
    offset: int
    length: int

    @property
    def end(self) -> int:
        """The first byte after it."""
        return self.offset + self.length


@dataclass(frozen=True, slots=True)
class Tensor:
    """An initializer; `place` is None where its data is in the model itself."""

    name: str
    kind: int
    dims: tuple[int, ...]
    place: Place | None
    parts: tuple[Field, ...]
    part: Field


@dataclass(frozen=True, slots=True)
class Node:
    """One operation. `attributes` has the value of an integer, and None for an attribute of another type.

    Of those, `tensors` and `graphs` have the ones that are one.
    """

    name: str
    operator: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, int | None]
    tensors: Mapping[str, Tensor]
    graphs: Mapping[str, Graph]
    parts: tuple[Field, ...]
    part: Field

    @property
    def uses(self) -> frozenset[str]:
        """The names that it reads, those inside of its nested graphs included."""
        inner = (name for graph in self.graphs.values() for name in graph.uses)
        return frozenset((*(name for name in self.inputs if name), *inner))


@dataclass(frozen=True, slots=True)
class Value:
    """What the model says of an output: element type (0: nothing), and shape, None for what it leaves open."""

    kind: int
    dims: tuple[int | None, ...]
    part: Field


@dataclass(frozen=True, slots=True)
class Graph:
    """A graph; `parts` are all its fields in their order."""

    nodes: tuple[Node, ...]
    initializers: Mapping[str, Tensor]
    inputs: tuple[str, ...]
    outputs: Mapping[str, Value]
    parts: tuple[Field, ...]

    @property
    def uses(self) -> frozenset[str]:
        """The names that its nodes read or that it hands out."""
        return frozenset(name for node in self.nodes for name in node.uses).union(self.outputs)

    @property
    def names(self) -> frozenset[str]:
        """Every name that stands for a value."""
        made = (name for node in self.nodes for name in node.outputs)
        return frozenset((*self.inputs, *self.initializers, *made))


@dataclass(frozen=True, slots=True)
class Model:
    """A model; `opsets` are versions by domain ("" is ONNX's own)."""

    ir_version: int
    opsets: Mapping[str, int]
    graph: Graph
    parts: tuple[Field, ...]


def read(content: bytes) -> Model:
    """The model in `content`. Raises WireError or GraphError for anything that is not one, or not understood."""
    return _Reader().model(Span(memoryview(content), 0, len(content)))


def size_of(kind: int, dims: tuple[int, ...]) -> int:
    """Bytes of a tensor of element type `kind`. Raises GraphError for a type without a fixed width here."""
    if kind not in _WIDTHS:
        raise GraphError(f"found a tensor of element type {kind}, needed one of {', '.join(map(str, _WIDTHS))}")
    return math.prod(dims) * _WIDTHS[kind]


class _Reader:
    def __init__(self) -> None:
        self._budget = Budget(_MOST_FIELDS)

    def model(self, span: Span) -> Model:
        parts = self._parts("model", span)
        opsets: dict[str, int] = {}
        for part in (part for part in parts if part.number == 8):
            entry = self._parts("opset", part.content)
            domain = protobuf.text(entry, 1)
            if domain in opsets:
                raise GraphError(f"found operators of {domain or 'ai.onnx'} in two versions, needed one")
            opsets[domain] = protobuf.number(entry, 2)
        found = protobuf.message(parts, MODEL_GRAPH)
        if found is None:
            raise GraphError("found no graph, needed one")
        return Model(protobuf.number(parts, 1), opsets, self._graph(found.content, 0), parts)

    def _parts(self, what: str, span: Span) -> tuple[Field, ...]:
        once, often = _SHAPES[what]
        found = tuple(protobuf.fields(span, self._budget))
        seen = set[int]()
        for part in found:
            if part.number not in once | often:
                raise GraphError(f"found field {part.number} in a {what}, which this release does not know")
            if part.number in once and part.number in seen:
                raise GraphError(f"found field {part.number} of a {what} twice, needed it once")
            seen.add(part.number)
        return found

    def _graph(self, span: Span, depth: int) -> Graph:
        if depth > _MOST_DEPTH:
            raise GraphError(f"found graphs in graphs, more than {_MOST_DEPTH} deep")
        parts = self._parts("graph", span)
        nodes, initializers, outputs = list[Node](), dict[str, Tensor](), dict[str, Value]()
        for part in parts:
            if part.number == GRAPH_NODE:
                nodes.append(self._node(part, depth))
            elif part.number == GRAPH_INITIALIZER:
                tensor = self._tensor(part, beside=not depth)
                if tensor.name in initializers:
                    raise GraphError(f"found two tensors called {shown(tensor.name)}, needed one")
                initializers[tensor.name] = tensor
            elif part.number == GRAPH_OUTPUT:
                name, value = self._output(part)
                if name in outputs:
                    raise GraphError(f"found two outputs called {shown(name)}, needed one")
                outputs[name] = value
        inputs = tuple(
            protobuf.text(self._parts("value", one.content), 1) for one in parts if one.number == GRAPH_INPUT
        )
        return Graph(tuple(nodes), initializers, inputs, outputs, parts)

    def _output(self, part: Field) -> tuple[str, Value]:
        """Name, type and shape."""
        value = self._parts("value", part.content)
        tensor = self._within("tensor type", self._within("type", value, 2), 1)
        shape = self._within("shape", tensor, 2)
        sizes = [self._parts("dimension", one.content) for one in shape]
        dims = tuple(protobuf.number(size, 1) if any(one.number == 1 for one in size) else None for size in sizes)
        return protobuf.text(value, 1), Value(protobuf.number(tensor, 1), dims, part)

    def _within(self, what: str, parts: tuple[Field, ...], number: int) -> tuple[Field, ...]:
        """The fields of the message in field `number`; none where there is no such field."""
        found = protobuf.message(parts, number)
        return self._parts(what, found.content) if found else ()

    def _node(self, part: Field, depth: int) -> Node:
        parts = self._parts("node", part.content)
        attributes = dict[str, int | None]()
        tensors, graphs = dict[str, Tensor](), dict[str, Graph]()
        for one in (self._parts("attribute", one.content) for one in parts if one.number == 5):
            name = protobuf.text(one, 1)
            if name in attributes:
                raise GraphError(f"found the attribute {shown(name)} twice in a node, needed it once")
            attributes[name] = protobuf.signed(protobuf.number(one, 3)) if protobuf.number(one, 20) == _INT else None
            if tensor := protobuf.message(one, 5):
                tensors[name] = self._tensor(tensor, beside=False)
            if graph := protobuf.message(one, 6):
                graphs[name] = self._graph(graph.content, depth + 1)
        return Node(
            name=protobuf.text(parts, 3),
            operator=protobuf.text(parts, 4),
            domain=protobuf.text(parts, 7),
            inputs=protobuf.texts(parts, NODE_INPUT),
            outputs=protobuf.texts(parts, NODE_OUTPUT),
            attributes=attributes,
            tensors=tensors,
            graphs=graphs,
            parts=parts,
            part=part,
        )

    def _tensor(self, part: Field, beside: bool) -> Tensor:
        """One tensor; only with `beside` may its data be in another file."""
        parts = self._parts("tensor", part.content)
        name, kind = protobuf.text(parts, TENSOR_NAME), protobuf.number(parts, TENSOR_TYPE)
        dims = self._dims(parts, name)
        entries = [one for one in parts if one.number == TENSOR_EXTERNAL]
        if protobuf.number(parts, 14) != _EXTERNAL:
            if entries:
                raise GraphError(f"found {shown(name)} both in the model and outside of it, needed it in one place")
            return Tensor(name, kind, dims, None, parts, part)
        if not beside:
            raise GraphError(f"found the data of the constant {shown(name)} outside of the model, needed it inside")
        inside = (one for one in parts if one.number in (4, 5, 6, 7, TENSOR_RAW, 10, 11))
        if any(one.kind != protobuf.BYTES or len(one.content.raw) for one in inside):  # empty ones mean nothing
            raise GraphError(f"found {shown(name)} both in the model and outside of it, needed it in one place")
        place, needed = self._place(entries, name), size_of(kind, dims)
        if place.length != needed:
            raise GraphError(f"found {place.length} bytes for {shown(name)} {list(dims)}, needed {needed}")
        return Tensor(name, kind, dims, place, parts, part)

    def _dims(self, parts: tuple[Field, ...], name: str) -> tuple[int, ...]:
        """The shape, whose numbers may be written one by one or packed."""
        dims = list[int]()
        for part in (part for part in parts if part.number == TENSOR_DIMS):
            if part.kind == protobuf.VARINT:
                dims.append(part.value)
            else:
                dims += protobuf.packed(part.content, self._budget)
        if len(dims) > _MOST_DIMS or any(dim >> 40 for dim in dims):
            raise GraphError(f"found {shown(name)} of {len(dims)} dimensions, up to {max(dims)}; no model has such")
        return tuple(dims)

    def _place(self, entries: list[Field], name: str) -> Place:
        found = dict[str, str]()
        for entry in entries:
            parts = self._parts("entry", entry.content)
            key = protobuf.text(parts, 1)
            if key in found or key not in ("location", "offset", "length"):
                raise GraphError(f"found {shown(key)} twice or unknown in the place of {shown(name)}")
            found[key] = protobuf.text(parts, 2)
        offset, length = found.get("offset", "0"), found.get("length", "")
        if not _PLACE.fullmatch(offset) or not _PLACE.fullmatch(length):
            raise GraphError(
                f"found offset {shown(offset)} and length {shown(length)} of {shown(name)}, needed two numbers of bytes"
            )
        return Place(found.get("location", ""), int(offset), int(length))


def shown(name: str) -> str:
    """A name out of the model, for a message."""
    return repr(clean(name, 80))
