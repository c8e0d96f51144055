"""Has an export take LongRoPE's long factors at every length, so that a conversation may grow past 4096 tokens.

The builder's graph takes its tables of angles from an If in each call: the short one up to 4096 tokens, the long one
above. What was read with the short angles stays in the cache as it was, so that an answer across that length is wrong.
Without the If, the long tables are all there is: vLLM and llama.cpp serve a long context in the same way.
"""

from __future__ import annotations

import json
from pathlib import Path

from phi4_edge.artifacts.convert import onnx_edit, onnx_graph
from phi4_edge.artifacts.convert.onnx_edit import CONTRIBUTED, Edit
from phi4_edge.artifacts.convert.onnx_graph import FLOAT, Graph, GraphError, Node, Tensor, shown
from phi4_edge.artifacts.convert.protobuf import WireError
from phi4_edge.errors import ArtifactError

GRAPH = "model.onnx"
# What the engine reads beside the graph.
FILE = "engine.json"
SAID = (json.dumps({"rope_factors": "one"}) + "\n").encode()
# What a manifest says of it.
PARAMETER, LONG = "rope_factors", "long"
_SHORT, _LONG = "else_branch", "then_branch"  # of If(length > 4096)
_READER = "GroupQueryAttention"


def rewrite(folder: Path) -> None:
    """The export that a converter has left in `folder` takes the long factors alone, and says so.

    Raises ArtifactError when its graph is another than is known.
    """
    try:
        model = onnx_graph.read((folder / GRAPH).read_bytes())
        (folder / GRAPH).write_bytes(onnx_edit.applied(model, [edit(model.graph)]))
    except (GraphError, WireError) as error:
        raise ArtifactError(f"{GRAPH} was converted, but cannot be given the long factors alone: {error}") from error
    (folder / FILE).write_bytes(SAID)


def edit(graph: Graph) -> Edit:
    """The change that leaves the long tables alone: in the place of the If, the Constants of its longer branch.

    Raises GraphError when the graph chooses its tables in another way than is known.
    """
    choice = _choice(graph)
    condition = _condition(graph, choice)
    short, long = (_tables(choice, branch) for branch in (_SHORT, _LONG))
    for (_, less), (_, more) in zip(short, long, strict=True):
        if less.dims[1] != more.dims[1] or less.dims[0] >= more.dims[0]:
            raise GraphError(
                f"found tables of angles of {list(less.dims)} and {list(more.dims)}, needed a longer one of the same "
                "width for the longer contexts"
            )
    made = zip(choice.outputs, long, strict=True)
    nodes = b"".join(onnx_edit.rewired(node, (), (output,)) for output, (node, _) in made)
    return Edit({onnx_edit.at(choice.part): nodes, onnx_edit.at(condition.part): b""})


def _choice(graph: Graph) -> Node:
    """The one If, whose two tables nothing but attention reads."""
    found = [node for node in graph.nodes if node.operator == "If"]
    if len(found) != 1 or len(found[0].outputs) != 2 or set(found[0].graphs) != {_SHORT, _LONG}:
        raise GraphError(f"found {len(found)} nodes that choose, needed one If with two tables of angles")
    (choice,) = found
    readers = [node for node in graph.nodes if node.uses.intersection(choice.outputs)]
    other = [node for node in readers if (node.operator, node.domain) != (_READER, CONTRIBUTED)]
    if other or not readers or graph.outputs.keys() & set(choice.outputs):
        names = ", ".join(shown(node.operator) for node in other[:4]) or "nothing"
        raise GraphError(f"found that {names} reads the tables of angles, needed {_READER} alone")
    return choice


def _condition(graph: Graph, choice: Node) -> Node:
    """The node that compares the length, for the choice alone."""
    found = [node for node in graph.nodes if choice.inputs == node.outputs]
    readers = [node for node in graph.nodes if node.uses.intersection(choice.inputs)]
    if len(found) != 1 or found[0].operator != "Greater" or readers != [choice]:
        raise GraphError(f"found another condition of {shown(choice.name)}, needed Greater for it alone")
    return found[0]


def _tables(choice: Node, branch: str) -> list[tuple[Node, Tensor]]:
    """The Constants of cosines and sines in one branch, in the order in which it hands them out."""
    graph = choice.graphs[branch]
    made = {node.outputs: (node, node.tensors.get("value")) for node in graph.nodes if node.operator == "Constant"}
    found = [(node, tensor) for node, tensor in (made.get((name,), (None, None)) for name in graph.outputs)
             if node and tensor and tensor.kind == FLOAT and len(tensor.dims) == 2]  # fmt: skip
    if len(found) != 2 or len(graph.nodes) != 2 or graph.initializers:
        raise GraphError(f"found something else in the {branch} of {shown(choice.name)}, needed two tables in fp32")
    return found
