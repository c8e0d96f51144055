"""Tying a small export: what comes out, what is refused, and that nothing half made ever remains."""

from __future__ import annotations

import errno
import json
import os
import random
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from phi4_edge.artifacts.convert import onnx_graph, tie
from phi4_edge.artifacts.convert.onnx_graph import Place
from phi4_edge.artifacts.convert.protobuf import bytes_field
from phi4_edge.artifacts.store import files
from phi4_edge.errors import ArtifactError
from phi4_edge.progress import Event
from tests.unit.artifacts.convert.untied_export import (
    HIDDEN,
    INT4,
    TEMPLATE,
    VOCABULARY,
    Export,
    beside,
    make,
)

TABLE, GATHER, HEAD = "model.embed_tokens.weight", "gather", "head"
PACKED, SCALES = "lm_head.MatMul.weight_Q4", "lm_head.MatMul.weight_scales"
ROWS = "model.embed_tokens.weight_Q4"
EXPORT = make()
END = sum(len(one.data) for one in EXPORT.weights)


def tied(folder: Path, export: Export = EXPORT) -> Path:
    """The folder with the tied `export`."""
    tie.tie(export.write(folder / "source"), folder / "target")
    return folder / "target"


def test_the_table_is_gone_and_the_lookup_reads_the_output_matrix(tmp_path: Path) -> None:
    found = tie.tie(EXPORT.write(tmp_path / "source"), tmp_path / "target")
    kept = [one for one in EXPORT.weights if one.name != TABLE]
    assert (tmp_path / "target" / "model.onnx.data").read_bytes() == b"".join(one.data for one in kept)
    assert found == tie.Tied(VOCABULARY, HIDDEN, sum(len(one.data) for one in kept))
    graph = onnx_graph.read((tmp_path / "target" / "model.onnx").read_bytes()).graph
    lookup = graph.nodes[1]
    assert (lookup.operator, lookup.domain) == ("GatherBlockQuantized", "com.microsoft")
    assert lookup.inputs == (ROWS, "input_ids", SCALES)
    assert lookup.outputs == ("embedded",)
    assert lookup.attributes == {"bits": 4, "block_size": 32, "gather_axis": 0, "quantize_axis": 1}
    # A second tensor at the place of the output matrix, so that nobody has to compute and hold a copy.
    rows, matrix = graph.initializers[ROWS], graph.initializers[PACKED]
    assert (rows.kind, rows.place) == (matrix.kind, matrix.place)
    assert rows.dims == (VOCABULARY, HIDDEN // 2)
    others = [one.operator for one in graph.nodes if one is not lookup]
    assert others[1:5] == ["SimplifiedLayerNormalization", "MatMulNBits", "Gather", "MatMulNBits"]
    assert [others[0], *others[5:]] == ["If", "Greater", "GroupQueryAttention"]


def test_only_the_last_token_goes_through_the_output_matrix(tmp_path: Path) -> None:
    graph = onnx_graph.read((tied(tmp_path) / "model.onnx").read_bytes()).graph
    last, head = graph.nodes[4:6]
    assert (last.operator, last.domain, last.attributes) == ("Gather", "", {"axis": 1})
    index = graph.initializers[last.inputs[1]]
    assert (last.inputs[0], index.kind, index.dims) == ("normed", onnx_graph.INT64, (1,))
    assert index.parts[-1].content.raw.tobytes() == struct.pack("<q", -1)
    assert (head.inputs, head.outputs) == ((*last.outputs, PACKED, SCALES), ("logits",))
    assert head.attributes == INT4
    assert (graph.outputs["logits"].kind, graph.outputs["logits"].dims) == (onnx_graph.FLOAT, (None, 1, VOCABULARY))


def test_what_computes_one_token_already_stays_as_it_is(tmp_path: Path) -> None:
    export = replace(EXPORT.changed("norm", operator="Unsqueeze"), logits=("batch_size", 1, VOCABULARY))
    graph = onnx_graph.read((tied(tmp_path, export) / "model.onnx").read_bytes()).graph
    (head,) = (node for node in graph.nodes if node.name == HEAD)
    assert head.inputs == ("normed", PACKED, SCALES)
    assert [one.operator for one in graph.nodes].count("Gather") == 0


def test_every_tensor_has_its_bytes_and_all_else_is_as_it_was(tmp_path: Path) -> None:
    target = tied(tmp_path)
    model, data = onnx_graph.read((target / "model.onnx").read_bytes()), (target / "model.onnx.data").read_bytes()
    found = {
        name: data[tensor.place.offset : tensor.place.end]
        for name, tensor in model.graph.initializers.items()
        if isinstance(tensor.place, Place)
    }
    packed = next(one.data for one in EXPORT.weights if one.name == PACKED)
    assert found == {one.name: one.data for one in EXPORT.weights if one.name != TABLE} | {ROWS: packed}
    assert model.graph.initializers[SCALES].dims == (VOCABULARY, HIDDEN // 32)
    assert model.graph.initializers["model.layers.0.mlp.up_proj.MatMul.weight_scales"].dims == (256,)
    raw = (target / "model.onnx").read_bytes()
    assert all(one.encoded() in raw for one in EXPORT.operations if one.name not in (GATHER, HEAD))
    assert (model.ir_version, dict(model.opsets)) == (7, {"": 14, "com.microsoft": 1})


def test_an_empty_field_for_data_within_is_no_data_within(tmp_path: Path) -> None:
    export = EXPORT.changed(SCALES, extra=bytes_field(9) + bytes_field(4))
    assert onnx_graph.read((tied(tmp_path, export) / "model.onnx").read_bytes()).graph.initializers[SCALES].place


def test_tables_between_other_tensors_and_aligned_ones_are_taken_out_too(tmp_path: Path) -> None:
    first, *others = EXPORT.weights
    padded = replace(others[0], data=others[0].data + b"\0" * 100, place={"length": str(len(others[0].data))})
    target = tied(tmp_path, replace(EXPORT, weights=(padded, first, *others[1:])))
    assert (target / "model.onnx.data").read_bytes() == b"".join(one.data for one in others)


def test_the_files_beside_the_graph_are_those_of_a_conversion(tmp_path: Path) -> None:
    target = tied(tmp_path)
    assert sorted(path.name for path in target.iterdir()) == [
        "chat_template.jinja", "genai_config.json", "model.onnx", "model.onnx.data", "tokenizer.json",
        "tokenizer_config.json",
    ]  # fmt: skip
    config = json.loads((target / "genai_config.json").read_text())
    assert config["search"] == {"max_length": 4096, "top_k": 1}
    assert config["model"]["eos_token_id"] == [90, 91]
    assert (target / "chat_template.jinja").read_text() == TEMPLATE
    assert (target / "tokenizer.json").read_bytes() == beside()["tokenizer.json"]


def test_the_same_export_gives_the_same_bytes_and_says_how_far_it_is(tmp_path: Path) -> None:
    events: list[Event] = []
    source = EXPORT.write(tmp_path / "source")
    for name in ("one", "two"):
        tie.tie(source, tmp_path / name, "tiny/onnx-int4", events.append)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    assert events[-1].done == events[-1].total == (tmp_path / "one" / "model.onnx.data").stat().st_size
    assert {event.step for event in events} == {"checking the graph", "tying"}


def refused(folder: Path, source: Path) -> str:
    """Why `source` is refused; nothing beside it must have been made."""
    with pytest.raises(ArtifactError) as error:
        tie.tie(source, folder / "target")
    assert not (folder / "target").exists()
    return str(error.value)


def test_a_graph_that_ends_anywhere_is_refused(tmp_path: Path) -> None:
    source = EXPORT.write(tmp_path / "source")
    whole, chance = (source / "model.onnx").read_bytes(), random.Random(14)
    for length in {0, 1, len(whole) - 1, *(chance.randrange(len(whole)) for _ in range(300))}:
        (source / "model.onnx").write_bytes(whole[:length])
        assert "is not the export that can be tied" in refused(tmp_path, source), length


def test_a_graph_with_any_other_byte_is_tied_or_refused(tmp_path: Path) -> None:
    source = EXPORT.write(tmp_path / "source")
    whole, chance = (source / "model.onnx").read_bytes(), random.Random(15)
    for _ in range(600):
        broken = bytearray(whole)
        broken[chance.randrange(len(whole))] = chance.randrange(256)
        (source / "model.onnx").write_bytes(broken)
        try:
            tie.tie(source, tmp_path / "target")
        except ArtifactError:
            assert not (tmp_path / "target").exists()
        else:  # a name, or a version, that nothing depends on
            assert (tmp_path / "target" / "model.onnx.data").stat().st_size == END - len(EXPORT.of(TABLE).data)
            files.erase(tmp_path / "target")


def test_data_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    source = EXPORT.write(tmp_path / "source")
    for length in (0, 1, END // 2, END - 1):
        os.truncate(source / "model.onnx.data", length)
        assert f"of {length} bytes, needed {END}" in refused(tmp_path, source)
        (source / "model.onnx.data").write_bytes(b"".join(one.data for one in EXPORT.weights))


def test_data_that_is_cut_off_while_it_is_copied_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = EXPORT.write(tmp_path / "source")

    def cut(event: Event) -> None:
        if event.step == "tying":
            os.truncate(source / "model.onnx.data", 5)

    with pytest.raises(ArtifactError, match=r"model\.onnx\.data ends at byte .*: it was cut off"):
        tie.tie(source, tmp_path / "target", "tiny/onnx-int4", cut)
    assert not (tmp_path / "target").exists()


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tie, "_copy", full)
    with pytest.raises(OSError, match="No space left"):
        tie.tie(EXPORT.write(tmp_path / "source"), tmp_path / "target")
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data", *beside()])
@pytest.mark.parametrize("kind", ["missing", "link", "folder"])
def test_a_file_that_is_none_is_refused(name: str, kind: str, tmp_path: Path) -> None:
    source = EXPORT.write(tmp_path / "source")
    (source / name).rename(tmp_path / "elsewhere")
    if kind == "link":
        (source / name).symlink_to(tmp_path / "elsewhere")
    elif kind == "folder":
        (source / name).mkdir()
    assert str(source) in refused(tmp_path, source)


def test_a_graph_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    source = EXPORT.write(tmp_path / "source")
    os.truncate(source / "model.onnx", tie.MOST_GRAPH + 1)
    assert f"more than {tie.MOST_GRAPH} bytes" in refused(tmp_path, source)


def test_a_target_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "mine").write_text("mine")
    with pytest.raises(FileExistsError):
        tie.tie(EXPORT.write(tmp_path / "source"), tmp_path / "target")
    assert (tmp_path / "target" / "mine").read_text() == "mine"
