"""Has an export compute the logits of a prompt's last token alone: nobody asks for those of the others.

The output matrix is the largest of the model, and every token of a prompt goes through it. One Gather before it leaves
the last: what onnxruntime-genai's builder writes with prune_lm_head=true, as a Gather and an Unsqueeze.
"""

from __future__ import annotations

from phi4_edge.artifacts.convert import onnx_edit
from phi4_edge.artifacts.convert.onnx_edit import Edit
from phi4_edge.artifacts.convert.onnx_graph import FLOAT, GRAPH_OUTPUT, Graph, GraphError, Node, Value, shown
from phi4_edge.artifacts.convert.protobuf import bytes_field, number_field, text_field
from phi4_edge.artifacts.convert.untied import LOGITS

_GATHER, _LAST, _HIDDEN = "/lm_head/prune/Gather", "/lm_head/prune/last", "/lm_head/prune/Gather/output_0"
# What the last layer's sum goes through; its first output has [rows, tokens, hidden].
_NORMS = ("SkipSimplifiedLayerNormalization", "SimplifiedLayerNormalization")
_TOKENS = 1  # the axis


def edit(graph: Graph, head: Node, vocabulary: int) -> Edit:
    """The change that leaves one token to `head`, which makes the logits; no change where one token is left already.

    Raises GraphError when the logits have another type or shape than is known, or `head` reads something else than the
    output of the last normalization.
    """
    logits = graph.outputs[LOGITS]
    if logits.kind != FLOAT or len(logits.dims) != 3 or logits.dims[2] != vocabulary:
        raise GraphError(
            f"found {LOGITS} {_shape(logits)} of element type {logits.kind}, needed "
            f"[rows, tokens, {vocabulary}] of {FLOAT}"
        )
    hidden = head.inputs[0]
    maker = next((node for node in graph.nodes if hidden in node.outputs), None)
    operator = maker.operator if maker else "nothing"
    if logits.dims[_TOKENS] == 1 and operator == "Unsqueeze":
        return Edit()
    if maker is None or operator not in _NORMS or maker.outputs[0] != hidden or logits.dims[_TOKENS] == 1:
        raise GraphError(
            f"found that {shown(operator)} makes what the output matrix reads, for {LOGITS} {_shape(logits)}, needed "
            f"the first output of {_NORMS[0]}, and every token's"
        )
    lookup = onnx_edit.node(_GATHER, "Gather", "", (hidden, _LAST), _HIDDEN, {"axis": _TOKENS})
    return Edit(
        replaced={
            onnx_edit.at(head.part): lookup + onnx_edit.rewired(head, (_HIDDEN, *head.inputs[1:]), head.outputs),
            onnx_edit.at(logits.part): _declared(vocabulary),
        },
        added=(onnx_edit.integers(_LAST, -1),),
        names=frozenset({_GATHER, _LAST, _HIDDEN}),
    )


def _declared(vocabulary: int) -> bytes:
    """A field of the graph: the logits as an output of [batch_size, 1, vocabulary], as the builder calls that."""
    dims = (text_field(2, "batch_size"), number_field(1, 1), number_field(1, vocabulary))
    shape = bytes_field(2, *(bytes_field(1, dim) for dim in dims))
    tensor = bytes_field(1, number_field(1, FLOAT), shape)
    return bytes_field(GRAPH_OUTPUT, text_field(1, LOGITS), bytes_field(2, tensor))


def _shape(value: Value) -> str:
    return f"[{', '.join('?' if dim is None else str(dim) for dim in value.dims)}]"
