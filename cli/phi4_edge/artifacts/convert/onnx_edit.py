"""Changes of an ONNX model, field by field: whatever is not changed keeps its bytes.

Source of the field numbers: onnx/onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from phi4_edge.artifacts.convert.onnx_graph import (
    GRAPH_INITIALIZER,
    GRAPH_NODE,
    INT64,
    MODEL_GRAPH,
    NODE_INPUT,
    NODE_OUTPUT,
    TENSOR_DIMS,
    TENSOR_NAME,
    TENSOR_RAW,
    TENSOR_TYPE,
    GraphError,
    Model,
    Node,
)
from phi4_edge.artifacts.convert.protobuf import Field, bytes_field, number_field, text_field

CONTRIBUTED = "com.microsoft"


@dataclass(frozen=True)
class Edit:
    """A change of the main graph: what goes in the place of which of its fields, what is added, and names it takes.

    `replaced` has the first byte of a field as its key, and no bytes for a field that is left out.
    """

    replaced: Mapping[int, bytes] = field(default_factory=dict)
    added: tuple[bytes, ...] = ()
    names: frozenset[str] = frozenset()


def at(part: Field) -> int:
    """What `Edit.replaced` calls this field."""
    return part.whole.start


def applied(model: Model, edits: Iterable[Edit]) -> bytes:
    """`model` with `edits`, no two of which change the same field. Raises GraphError where a name is taken."""
    replaced, added = dict[int, bytes](), list[bytes]()
    for edit in edits:
        if taken := edit.names & model.graph.names:
            raise GraphError(f"found a value called {min(taken)}, needed the name for the tie")
        replaced |= edit.replaced
        added += edit.added
    graph = [replaced.get(at(part), part.whole.raw) for part in model.graph.parts]
    whole = bytes_field(MODEL_GRAPH, *graph, *added)
    return b"".join(whole if part.number == MODEL_GRAPH else part.whole.raw for part in model.parts)


def node(
    name: str, operator: str, domain: str, inputs: tuple[str, ...], output: str, numbers: Mapping[str, int]
) -> bytes:
    """A field of the graph: a node with integers as attributes."""
    parts = [text_field(NODE_INPUT, one) for one in inputs]
    parts += [text_field(NODE_OUTPUT, output), text_field(3, name), text_field(4, operator)]
    for key, value in numbers.items():
        parts.append(bytes_field(5, text_field(1, key), number_field(3, value), number_field(20, 2)))
    if domain:
        parts.append(text_field(7, domain))
    return bytes_field(GRAPH_NODE, *parts)


def rewired(old: Node, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> bytes:
    """A field of the graph: `old`, which reads `inputs` and makes `outputs` in place of its own."""
    kept = (part.whole.raw for part in old.parts if part.number not in (NODE_INPUT, NODE_OUTPUT))
    named = [text_field(NODE_INPUT, one) for one in inputs] + [text_field(NODE_OUTPUT, one) for one in outputs]
    return bytes_field(GRAPH_NODE, *named, *kept)


def integers(name: str, *numbers: int) -> bytes:
    """A field of the graph: an initializer of one dimension with int64 `numbers`."""
    return bytes_field(
        GRAPH_INITIALIZER,
        number_field(TENSOR_DIMS, len(numbers)),
        number_field(TENSOR_TYPE, INT64),
        text_field(TENSOR_NAME, name),
        bytes_field(TENSOR_RAW, b"".join(number.to_bytes(8, "little", signed=True) for number in numbers)),
    )
