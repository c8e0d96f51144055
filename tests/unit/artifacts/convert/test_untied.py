"""Every export that is not the known one is refused, with the reason, and leaves nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.artifacts.convert import tie, untied
from phi4_edge.artifacts.convert.protobuf import bytes_field, number_field, text_field, varint
from phi4_edge.errors import ArtifactError
from tests.unit.artifacts.convert.untied_export import (
    HIDDEN,
    INT4,
    VOCABULARY,
    Export,
    Operation,
    Weights,
    attribute,
    make,
)

TABLE, GATHER, HEAD = "model.embed_tokens.weight", "gather", "head"
PACKED, SCALES = "lm_head.MatMul.weight_Q4", "lm_head.MatMul.weight_scales"
NORM = "model.layers.0.input_layernorm.weight"
EXPORT = make()
END = sum(len(one.data) for one in EXPORT.weights)
Change = Callable[[Export], Export]


def head(**numbers: int) -> Change:
    """The output matrix with other numbers."""
    return lambda export: export.changed(HEAD, numbers={**INT4, **numbers})


def tensor(which: str, **changes: Any) -> Change:
    """One tensor or node with other fields."""
    return lambda export: export.changed(which, **changes)


def further(*operations: Operation) -> Change:
    """More nodes."""
    return lambda export: replace(export, operations=(*export.operations, *operations))


def swapped(one: str, other: str) -> Change:
    """Two tensors whose data changed places."""

    def change(export: Export) -> Export:
        first, second = export.of(one).data, export.of(other).data
        return export.changed(one, data=second).changed(other, data=first)

    return change


def lookup(*inputs: str, **numbers: int) -> Change:
    return lambda export: export.changed(GATHER, inputs=inputs, numbers=numbers)


def nested(export: Export) -> Export:
    """A graph within a node that reads the embedding."""
    inner = bytes_field(1, text_field(1, TABLE) + text_field(2, "x") + text_field(4, "Identity"))
    spy = attribute("else_branch", bytes_field(6, inner), 5)
    return replace(export, operations=(*export.operations, Operation("spy", "If", "", ("cos",), ("y",), extra=spy)))


def deep(export: Export) -> Export:
    """Graphs in graphs in graphs."""
    graph = b""
    for _ in range(40):
        node = text_field(4, "If") + attribute("then_branch", bytes_field(6, graph), 5)
        graph = bytes_field(1, node)
    return replace(export, graph_extra=graph)


def halves(data: bytes) -> bytes:
    """fp32 as the upper half of each number: bf16."""
    return b"".join(data[at + 2 : at + 4] for at in range(0, len(data), 4))


BROKEN_CONSTANT = attribute(
    "value", bytes_field(5, number_field(14, 1) + bytes_field(13, text_field(1, "location"))), 4
)
REFUSED: dict[str, tuple[Change, str]] = {
    "8 bits": (head(bits=8), "with bits 8, needed 4"),
    "blocks of 128": (head(block_size=128), "with block_size 128, needed 32"),
    "another accuracy": (head(accuracy_level=1), "with accuracy_level 1, needed 4"),
    "an unknown property": (head(weight_prepacked=1), "weight_prepacked, needed N, K"),
    "another width": (head(K=32), r"needed \[96, 1, 16\] of 2"),
    "another height": (head(N=95), r"\[96, 2, 16\] of element type 2, needed \[95, 2, 16\] of 2"),
    "no rows": (head(N=0), "of 0 x 64"),
    "negative rows": (head(N=(1 << 64) - 96), "of -96 x 64"),
    "zero points": (
        lambda export: replace(
            export.changed(HEAD, inputs=("normed", PACKED, SCALES, "lm_head.MatMul.weight_zp")),
            weights=(*export.weights, Weights("lm_head.MatMul.weight_zp", 2, (VOCABULARY,), b"\x88" * VOCABULARY)),
        ),
        "'lm_head.MatMul.weight_zp', needed weights and scales alone: no zero points",
    ),
    "zero points of a layer": (
        lambda export: export.changed("up", inputs=(*export.operations[3].inputs, NORM)), "needed weights and scales"
    ),
    "8 bits of a layer": (lambda export: export.changed("up", numbers={**INT4, "bits": 8}), "with bits 8, needed 4"),
    "scales of 16 bits": (
        lambda export: export.changed(SCALES, kind=10, data=halves(export.of(SCALES).data)),
        "of element type 10, needed",
    ),
    "signed weights": (tensor(PACKED, kind=3), "of element type 3, needed"),
    "an embedding of 16 bits": (
        lambda export: export.changed(TABLE, kind=16, data=halves(export.of(TABLE).data)), "needed fp32"
    ),
    "an embedding of another shape": (tensor(TABLE, dims=(HIDDEN, VOCABULARY)), "needed 64 x 96"),
    "an embedding of one dimension": (tensor(TABLE, dims=(VOCABULARY * HIDDEN,)), "needed fp32"),
    "an output matrix of another name": (
        lambda export: export.changed(PACKED, name="x_Q4").changed(HEAD, inputs=("normed", "x_Q4", SCALES)),
        "needed one called lm_head",
    ),
    "another reader of the embedding": (
        further(Operation("spy", "Gather", "", (TABLE, "attention_mask"), ("x",))), "'gather', 'spy' reads"
    ),
    "a nested reader of the embedding": (nested, "'gather', 'spy' reads"),
    "another reader of the weights": (further(Operation("spy", "Cast", "", (PACKED,), ("x",))), "more than one node"),
    "an embedding that is an output": (lambda export: replace(export, outputs=("logits", TABLE)), "one Gather alone"),
    "an embedding that is an input": (lambda export: replace(export, inputs=("input_ids", TABLE)), "one Gather alone"),
    "another operator": (tensor(GATHER, operator="GatherND"), r"'GatherND'\("),
    "another axis": (lookup(TABLE, "input_ids", axis=1), "on axis 0"),
    "other ids": (lookup(TABLE, "attention_mask"), "needed Gather"),
    "tied already": (
        lambda export: replace(export, weights=export.weights[1:], operations=export.operations[2:]), "tied already"
    ),
    "no input": (lambda export: replace(export, inputs=()), "no input input_ids"),
    "no output": (lambda export: replace(export, outputs=("x",)), "and logits as an output"),
    "an output that is not quantized": (tensor(HEAD, operator="MatMul"), "needed MatMulNBits, int4"),
    "a name of ours": (
        further(Operation("x", "Cast", "", ("cos",), ("model.embed_tokens.weight_Q4",))), "needed the name"
    ),
    "logits of another width": (
        lambda export: replace(export, logits=("batch_size", "tokens", HIDDEN)), r"\[\?, \?, 64\] of element type 1"
    ),
    "logits of two dimensions": (lambda export: replace(export, logits=("tokens", VOCABULARY)), "needed .rows, tokens"),
    "an output matrix that reads something else": (
        tensor("norm", operator="Relu"), "found that 'Relu' makes what the output matrix reads"
    ),
    "an output matrix that reads an input": (
        lambda export: export.changed(HEAD, inputs=("attention_mask", PACKED, SCALES)), "found that 'nothing' makes"
    ),
    "another output of the last norm": (
        tensor("norm", outputs=("mean", "normed")), "needed the first output of SkipSimplifiedLayerNormalization"
    ),
    "logits of one token that are not pruned": (
        lambda export: replace(export, logits=("batch_size", 1, VOCABULARY)), "and every token's"
    ),
    "a name of the pruning": (
        further(Operation("x", "Cast", "", ("cos",), ("/lm_head/prune/last",))), "needed the name"
    ),
    "swapped weights": (swapped(PACKED, "model.layers.0.mlp.up_proj.MatMul.weight_Q4"), "bytes for"),
    "swapped places": (
        lambda export: export.changed(TABLE, data=export.of(TABLE).data[::-1]), "not that of the embedding"
    ),
    "another model's output": (
        lambda export: export.changed(PACKED, data=make(9).of(PACKED).data), "row 0 is not that of the embedding"
    ),
    "no numbers": (tensor(TABLE, data=b"\xff" * VOCABULARY * HIDDEN * 4), "not that of the embedding"),
    "an absolute place": (tensor(NORM, place={"location": "/etc/passwd"}), "in the file '/etc/passwd'"),
    "a place above": (tensor(NORM, place={"location": "../model.onnx.data"}), "in the file '../model.onnx.data'"),
    "a second file": (tensor(NORM, place={"location": "more.data"}), "needed model.onnx.data alone"),
    "an overlap": (tensor(NORM, place={"offset": "0"}), "at byte 0, needed it at byte 256"),
    "a gap": (tensor(SCALES, place={"offset": str(END + (1 << 20))}), f"at byte {END + (1 << 20)}, needed it at"),
    "a place beyond": (tensor(SCALES, place={"offset": str(END)}), f"bytes, needed {END + 768}"),
    "a huge place": (tensor(SCALES, place={"offset": "9" * 30}), "needed two numbers of bytes"),
    "a negative place": (tensor(SCALES, place={"offset": "-1"}), "needed two numbers of bytes"),
    "another length": (tensor(NORM, place={"length": "255"}), r"255 bytes for .* \[64\], needed 256"),
    "no length": (tensor(NORM, place={"length": ""}), "needed two numbers of bytes"),
    "a checksum": (tensor(NORM, place={"checksum": "x"}), "unknown in the place"),
    "data within as well": (tensor(NORM, extra=bytes_field(9, b"x")), "needed it in one place"),
    "a huge shape": (tensor(NORM, dims=(1 << 50,)), "no model has such"),
    "many dimensions": (tensor(NORM, dims=(1,) * 100), "100 dimensions"),
    "a constant outside": (
        further(Operation("x", "Constant", "", (), ("x",), extra=BROKEN_CONSTANT)), "needed it inside"
    ),
    "two tensors of a name": (lambda export: replace(export, weights=(*export.weights, export.of(NORM))), "two ten"),
    "unknown operators": (lambda export: replace(export, opsets=(*export.opsets, ("ai.x", 1))), "operators of 'ai.x'"),
    "old operators": (lambda export: replace(export, opsets=(("", 9), ("com.microsoft", 1))), "ai.onnx 9, needed 14"),
    "no operators": (lambda export: replace(export, opsets=()), "ai.onnx none"),
    "operators twice": (lambda export: replace(export, opsets=(*export.opsets, ("", 15))), "two versions"),
    "another IR": (lambda export: replace(export, ir_version=3), "ONNX IR 3"),
    "functions": (lambda export: replace(export, model_extra=bytes_field(25, b"")), "field 25 in a model"),
    "a second graph": (lambda export: replace(export, model_extra=bytes_field(7, b"")), "field 7 of a model twice"),
    "sparse tensors": (lambda export: replace(export, graph_extra=bytes_field(15, b"")), "field 15 in a graph"),
    "a group": (lambda export: replace(export, model_extra=varint(14 << 3 | 3)), "of kind 3"),
    "a long number": (lambda export: replace(export, model_extra=varint(5 << 3) + b"\xff" * 12), "64 bits"),
    "field 0": (lambda export: replace(export, model_extra=b"\0\0"), "not the beginning of a field"),
    "a huge field": (lambda export: replace(export, model_extra=varint(14 << 3 | 2) + varint(1 << 60)), "ends at byte"),
    "a name that is no text": (lambda export: replace(export, graph_extra=bytes_field(11, bytes_field(1, b"\xff"))),
                               "not UTF-8"),
    "graphs in graphs": (deep, "more than 4 deep"),
    "many fields": (lambda export: replace(export, model_extra=number_field(14, 0) * 200_000), "more fields"),
    "more data": (lambda export: replace(export, trailing=b"x"), f"of {END + 1} bytes, needed {END}"),
    "less data": (
        lambda export: export.changed(SCALES, data=export.of(SCALES).data[:-4], place={"length": "768"}),
        f"of {END - 4} bytes, needed {END}",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_another_graph_is_refused_with_the_reason_and_leaves_nothing(case: str, tmp_path: Path) -> None:
    change, message = REFUSED[case]
    source = change(EXPORT).write(tmp_path / "source")
    with pytest.raises(ArtifactError, match=message) as error:
        tie.tie(source, tmp_path / "target")
    assert str(error.value).startswith(f"{source / 'model.onnx'} is not the export that can be tied: ")
    assert "--from safetensors" in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_rows_are_compared_from_the_first_to_the_last() -> None:
    rows = list(untied._spread(200_064))
    assert (rows[0], rows[-1], len(rows)) == (0, 200_063, 64)
    assert list(untied._spread(1)) == [0]
