"""Ties the embedding of an int4 export to its output matrix: half the size, half the memory, the same model.

`Gather(table, ids)` on an fp32 table becomes `GatherBlockQuantized(rows of the output matrix, ids, its scales)`, and
the table is left out. onnxruntime-genai's builder writes that with shared_embeddings=true, where the rows are a Reshape
of the matrix: onnxruntime computes it as it loads, and holds a second copy, of 307 MB. Here they are a second tensor at
the same place of the file, of which memory holds the rows that were looked up. Only the last token of a prompt goes
through the output matrix (`prune`). Everything else keeps its bytes. Needs no package and little memory: the model is
held twice, its weights pass through in pieces.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from phi4_edge.artifacts.convert import onnx_edit, onnx_graph, prune, rope, settings, untied
from phi4_edge.artifacts.convert.onnx_edit import CONTRIBUTED, Edit
from phi4_edge.artifacts.convert.onnx_graph import (
    GRAPH_INITIALIZER,
    TENSOR_DIMS,
    TENSOR_EXTERNAL,
    TENSOR_NAME,
    GraphError,
    Model,
    Place,
    Tensor,
)
from phi4_edge.artifacts.convert.protobuf import WireError, bytes_field, number_field, text_field
from phi4_edge.artifacts.convert.untied import BITS, BLOCK, IDS, Untied
from phi4_edge.artifacts.store import files
from phi4_edge.errors import ArtifactError
from phi4_edge.progress import Event, Progress, silent

GRAPH, DATA = "model.onnx", "model.onnx.data"
# The published graph has 52 MB, nearly all of it tables of angles. It is held twice.
MOST_GRAPH = 1 << 27
_PIECE = 1 << 22
_BASE = "/model/embed_tokens"
_ROWS, _NODE = "model.embed_tokens.weight_Q4", f"{_BASE}/GatherBlockQuantized"
_NEXT = (
    "Fetch the published files again, or convert the checkpoint instead ('phi4-edge model convert --from safetensors')."
)


@dataclass(frozen=True)
class Tied:
    """What was made: the matrix that serves as both, and the bytes of weights that it has now."""

    vocabulary: int
    hidden: int
    weights: int


def tie(
    source: Path, target: Path, name: str = "the model", progress: Progress = silent, long_rope: bool = False
) -> Tied:
    """Write the tied model of the untied one in the folder `source` to the new folder `target`.

    Read are model.onnx, model.onnx.data, genai_config.json, tokenizer.json, tokenizer_config.json, and
    chat_template.jinja if it is there; `target` has all six, and is what an engine loads. With `long_rope` it takes
    LongRoPE's long factors at every length, and has engine.json besides. `name` is what `progress` calls it. Raises
    ArtifactError when `source` is not the export that is known, before anything is written, and OSError where `target`
    cannot be written or is there already; after an error there is nothing new.
    """
    try:
        with _data(source / DATA) as data:
            content = _content(source / GRAPH)
            progress(Event(name, "checking the graph"))
            model = onnx_graph.read(content)
            size = os.fstat(data).st_size
            found = untied.check(model, DATA, size, lambda at, length: _read_at(data, at, length))
            beside = settings.read(source, GRAPH, found.vocabulary, found.hidden)
            edits = [_tie(model, found), prune.edit(model.graph, found.head, found.vocabulary)]
            if long_rope:
                edits.append(rope.edit(model.graph))
                beside[rope.FILE] = rope.SAID
            made = onnx_edit.applied(model, edits)
            target.mkdir()
            try:
                (target / GRAPH).write_bytes(made)
                weights = _copy(data, model, found, target / DATA, name, progress)
                for file, text in beside.items():
                    (target / file).write_bytes(text)
            except BaseException:
                files.erase(target)
                raise
    except (GraphError, WireError) as error:
        raise ArtifactError(f"{source / GRAPH} is not the export that can be tied: {error}. {_NEXT}") from error
    return Tied(found.vocabulary, found.hidden, weights)


def _content(path: Path) -> bytes:
    content = files.read_plain(path, MOST_GRAPH + 1)
    if content is None:
        raise GraphError("found no plain file, needed one")
    if len(content) > MOST_GRAPH:
        raise GraphError(f"found more than {MOST_GRAPH} bytes, needed a graph whose weights are in {DATA}")
    return content


@contextmanager
def _data(path: Path) -> Iterator[int]:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise GraphError(f"found no plain file {DATA} ({error.strerror}), needed one") from error
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise GraphError(f"found something else in the place of {DATA}, needed a plain file")
        yield handle
    finally:
        os.close(handle)


def _read_at(data: int, at: int, length: int) -> bytes:
    content = os.pread(data, length, at)
    if len(content) != length:
        raise GraphError(f"found that {DATA} ends at byte {at + len(content)}, needed {at + length}: it was cut off")
    return content


def _kept(model: Model, found: Untied) -> list[tuple[Tensor, Place, Place]]:
    """Each tensor that stays beside the model, where its data is, and where it goes: in the same order, no gaps."""
    kept, at = list[tuple[Tensor, Place, Place]](), 0
    for tensor in untied.outside(model.graph):
        if tensor.place and tensor is not found.table:
            kept.append((tensor, tensor.place, replace(tensor.place, offset=at)))
            at += tensor.place.length
    return kept


def _copy(data: int, model: Model, found: Untied, target: Path, name: str, progress: Progress) -> int:
    """Write the weights that stay, in pieces; return their bytes."""
    kept, done = _kept(model, found), 0
    total = sum(place.length for _, place, _ in kept)
    with target.open("xb") as stream:
        for _, old, _ in kept:
            for at in range(old.offset, old.end, _PIECE):
                done += stream.write(_read_at(data, at, min(_PIECE, old.end - at)))
                progress(Event(name, "tying", DATA, done, total))
    return done


def _tie(model: Model, found: Untied) -> Edit:
    """The other lookup, without the table, and the places of the weights as `_copy` leaves them."""
    replaced = {onnx_edit.at(found.lookup.part): _lookup(found), onnx_edit.at(found.table.part): b""}
    rows = b""
    for tensor, _, place in _kept(model, found):
        # Row by row, as the lookup needs them: the scales, and beside the matrix itself its bytes.
        dims = (found.vocabulary, found.hidden // BLOCK) if tensor is found.scales else ()
        replaced[onnx_edit.at(tensor.part)] = _placed(tensor, place, dims)
        if tensor is found.weights:
            rows = _placed(tensor, place, (found.vocabulary, found.hidden * BITS // 8), _ROWS)
    return Edit(replaced, (rows,), frozenset({_ROWS}))


def _placed(tensor: Tensor, place: Place, dims: tuple[int, ...] = (), name: str = "") -> bytes:
    """The tensor with its data at `place`; of another shape or name where one is given."""
    replaced = {TENSOR_EXTERNAL} | ({TENSOR_DIMS} if dims else set()) | ({TENSOR_NAME} if name else set())
    parts = list[bytes | memoryview](part.whole.raw for part in tensor.parts if part.number not in replaced)
    parts += [number_field(TENSOR_DIMS, dim) for dim in dims]
    parts += [text_field(TENSOR_NAME, name)] if name else []
    for key, value in (("location", place.location), ("offset", place.offset), ("length", place.length)):
        parts.append(bytes_field(TENSOR_EXTERNAL, text_field(1, key), text_field(2, str(value))))
    return bytes_field(GRAPH_INITIALIZER, *parts)


def _lookup(found: Untied) -> bytes:
    """The node in the place of Gather; what it makes keeps its name."""
    numbers = {"bits": BITS, "block_size": BLOCK, "gather_axis": 0, "quantize_axis": 1}
    (made,) = found.lookup.outputs
    inputs = (_ROWS, IDS, found.scales.name)
    return onnx_edit.node(_NODE, _NODE.rpartition("/")[2], CONTRIBUTED, inputs, made, numbers)
