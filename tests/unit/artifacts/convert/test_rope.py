"""The long factors alone: what is left of the choice, and the graphs that choose in another way."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from phi4_edge.artifacts.convert import onnx_graph, rope, tie
from phi4_edge.errors import ArtifactError
from tests.unit.artifacts.convert.untied_export import Export, Operation, angles, branch, make

EXPORT = make()
Change = Callable[[Export], Export]


def long(folder: Path, export: Export = EXPORT) -> Path:
    """The folder with `export`, tied, with the long factors alone."""
    tie.tie(export.write(folder / "source"), folder / "target", long_rope=True)
    return folder / "target"


def test_the_tables_of_the_longer_branch_take_the_place_of_the_choice(tmp_path: Path) -> None:
    folder = long(tmp_path)
    graph = onnx_graph.read((folder / "model.onnx").read_bytes()).graph
    cosines, sines = graph.nodes[:2]
    assert (cosines.operator, cosines.inputs, cosines.outputs) == ("Constant", (), ("cos",))
    assert (sines.operator, sines.inputs, sines.outputs) == ("Constant", (), ("sin",))
    for node, first in ((cosines, 0), (sines, 100)):
        table = node.tensors["value"]
        assert (table.kind, table.dims) == (onnx_graph.FLOAT, (3, 2))
        assert table.parts[-1].content.raw == struct.pack("<6f", *range(first, first + 6))
    operators = [node.operator for node in graph.nodes]
    assert "If" not in operators and "Greater" not in operators
    assert json.loads((folder / "engine.json").read_text()) == {"rope_factors": "one"}


def test_nothing_else_differs_from_what_chooses(tmp_path: Path) -> None:
    tie.tie(EXPORT.write(tmp_path / "same"), tmp_path / "short")
    folder = long(tmp_path)
    assert not (tmp_path / "short" / "engine.json").exists()
    for path in (tmp_path / "short").iterdir():
        assert (folder / path.name).read_bytes() == path.read_bytes() or path.name == "model.onnx", path.name
    short, made = (onnx_graph.read((one / "model.onnx").read_bytes()).graph for one in (tmp_path / "short", folder))
    kept = [node.part.whole.raw for node in short.nodes if node.name not in ("angles", "compare")]
    assert [node.part.whole.raw for node in made.nodes[2:]] == kept


def test_what_a_converter_has_made_is_rewritten_in_place(tmp_path: Path) -> None:
    folder = EXPORT.write(tmp_path / "made")
    rope.rewrite(folder)
    assert onnx_graph.read((folder / "model.onnx").read_bytes()).graph.nodes[0].operator == "Constant"
    assert (folder / "engine.json").read_bytes() == rope.SAID
    with pytest.raises(ArtifactError, match="cannot be given the long factors alone: found 0 nodes that choose"):
        rope.rewrite(folder)


def chosen(**changed: bytes) -> Change:
    """Other branches."""
    return lambda export: export.changed("angles", extra=angles(**changed))


def further(*operations: Operation) -> Change:
    """More nodes."""
    return lambda export: replace(export, operations=(*export.operations, *operations))


REFUSED: dict[str, tuple[Change, str]] = {
    "no choice": (lambda export: replace(export, operations=export.operations[1:]), "found 0 nodes that choose"),
    "two choices": (further(Operation("more", "If", "", ("x",), ("y",), extra=angles())), "found 2 nodes that choose"),
    "one table": (lambda export: export.changed("angles", outputs=("cos",)), "needed one If with two tables"),
    "one branch": (chosen(else_branch=b""), "needed one If with two tables"),
    "the longer table for the shorter contexts": (
        lambda export: export.changed("angles", extra=angles(3, 2)), r"of \[3, 2\] and \[2, 2\], needed a longer one"
    ),
    "the same table twice": (lambda export: export.changed("angles", extra=angles(3, 3)), "needed a longer one"),
    "tables of other widths": (chosen(then_branch=branch(3, 4, "large")), "of the same width"),
    "a table of another type": (chosen(then_branch=branch(3, 2, "large", 10)), "in the then_branch of 'angles'"),
    "a table that is computed": (
        chosen(else_branch=branch(2, 2, "small", operator="Cos")), "in the else_branch of 'angles', needed two tables"
    ),
    "another reader": (further(Operation("spy", "Cast", "", ("sin",), ("y",))), "found that 'Cast' reads"),
    "no reader": (lambda export: export.changed("attend", inputs=("normed",)), "found that nothing reads"),
    "attention of another maker": (lambda export: export.changed("attend", domain=""), "needed GroupQueryAttention"),
    "tables as outputs": (lambda export: replace(export, outputs=("logits", "cos")), "needed GroupQueryAttention"),
    "another condition": (lambda export: export.changed("compare", operator="Less"), "found another condition"),
    "a condition that others read": (
        further(Operation("spy", "Cast", "", ("longer",), ("y",))), "needed Greater for it alone"
    ),
    "a condition from outside": (lambda export: export.changed("angles", inputs=("input_ids",)), "another condition"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_graph_that_chooses_otherwise_is_refused(name: str, tmp_path: Path) -> None:
    change, why = REFUSED[name]
    source = change(EXPORT).write(tmp_path / "source")
    with pytest.raises(ArtifactError, match=why):
        tie.tie(source, tmp_path / "target", long_rope=True)
    assert not (tmp_path / "target").exists()
