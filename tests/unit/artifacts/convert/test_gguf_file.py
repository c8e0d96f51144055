"""GGUF files of others: read within bounds, whatever is in them, and put in the order that Ollama keeps."""

from __future__ import annotations

import io
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from phi4_edge.artifacts.convert import gguf_file
from phi4_edge.artifacts.convert.scripts.copy_order import LAST
from phi4_edge.errors import ArtifactError
from tests.standins.gguf_file import text
from tests.standins.standin_ollama import gguf as llama_quantize
from tests.unit.artifacts.convert.published_gguf import TENSORS, Made, content


def read(tmp_path: Path, raw: bytes) -> gguf_file.Header:
    path = tmp_path / "model.gguf"
    path.write_bytes(raw)
    return gguf_file.read(path)


def copied(raw: bytes) -> bytes:
    """What the stand-in for llama-quantize's COPY makes of it; the real one was compared with it (docs/ollama.md)."""
    out = io.BytesIO()
    llama_quantize.copy(io.BytesIO(raw), out, llama_quantize.Gguf(io.BytesIO(raw)))
    return out.getvalue()


def test_what_a_header_says(tmp_path: Path) -> None:
    header = read(tmp_path, content())
    assert header.values["phi3.rope.dimension_count"] == 96
    assert header.lengths == {"tokenizer.ggml.tokens": 8}
    assert [(one.name, one.shape, one.type) for one in header.tensors] == list(TENSORS)
    assert header.in_copy_order


@pytest.mark.parametrize(
    "change",
    [
        lambda made: made.tensors.reverse(),
        lambda made: made.tensors.append(made.tensors.pop(0)),
        lambda made: made.values.update({"general.name": made.values.pop("general.name")}),
        lambda made: made.values.update({LAST[0]: made.values.pop(LAST[0])}),
    ],
)  # fmt: skip
def test_another_order_becomes_llama_quantizes_own(tmp_path: Path, change: Callable[[Made], object]) -> None:
    raw = content(change)
    header = read(tmp_path, raw)
    assert not header.in_copy_order
    arranged = tmp_path / "arranged.gguf"
    gguf_file.arrange(tmp_path / "model.gguf", header, arranged)
    again = gguf_file.read(arranged)
    assert again.in_copy_order
    assert {one.name: (one.shape, one.type) for one in again.tensors} == {
        one.name: (one.shape, one.type) for one in header.tensors
    }
    assert arranged.read_bytes() == copied(raw)


def test_a_file_in_the_order_is_the_copy_of_itself(tmp_path: Path) -> None:
    raw = content()
    gguf_file.arrange(tmp_path / "model.gguf", read(tmp_path, raw), tmp_path / "arranged.gguf")
    assert (tmp_path / "arranged.gguf").read_bytes() == copied(raw) == raw


def test_a_key_that_llama_quantize_would_add_is_not_made_up(tmp_path: Path) -> None:
    raw = content(lambda made: made.values.pop("general.file_type"))
    header = read(tmp_path, raw)
    with pytest.raises(ArtifactError, match=r"has no general\.file_type"):
        gguf_file.arrange(tmp_path / "model.gguf", header, tmp_path / "arranged.gguf")


def replaced(old: bytes, new: bytes) -> bytes:
    raw = content()
    assert raw.count(old) == 1
    return raw.replace(old, new)


BAD = {
    "no GGUF": b"GGML" + content()[4:],
    "empty": b"",
    "version": content(lambda made: setattr(made, "version", 4)),
    "many keys": b"GGUF" + struct.pack("<IQQ", 3, 1, 1 << 40),
    "many tensors": b"GGUF" + struct.pack("<IQQ", 3, 1 << 40, 0),
    "a long text": b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + text("a") + struct.pack("<IQ", 8, 1 << 60),
    "a long array": b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + text("a") + struct.pack("<IIQ", 9, 4, 1 << 60),
    "an array of arrays": b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + text("a") + struct.pack("<IIQ", 9, 9, 1),
    "a text in an array": b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + text("a") + struct.pack("<IIQQ", 9, 8, 1, 1 << 40),
    "a type": b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + text("a") + struct.pack("<I", 99),
    "a key twice": replaced(text("general.name"), text("general.file_type")),
    "no text": replaced(text("general.name"), struct.pack("<Q", 12) + b"\xff" * 12),
    "an alignment": content(lambda made: made.values.update({"general.alignment": 3})),
    "a tensor type": replaced(struct.pack("<QQI", 256, 32, 12), struct.pack("<QQI", 256, 32, 99)),
    "half a block": content(lambda made: made.tensors.append(("x", (48, 2), "F32"))).replace(
        struct.pack("<QQI", 48, 2, 0), struct.pack("<QQI", 48, 2, 12)
    ),
    "no dimension": content(lambda made: made.tensors.append(("x", (), "F32"))),
    "a tensor twice": content(lambda made: made.tensors.append(made.tensors[0])),
    "cut off": content()[:-1],
    "something behind it": content(lambda made: setattr(made, "tail", b"x")),
    "one in another": replaced(
        struct.pack("<QIQ", 48, 0, 1024) + struct.pack("<Q", 25), struct.pack("<QIQ", 48, 0, 0) + struct.pack("<Q", 25)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtifactError, match=r"model\.gguf cannot be used as a GGUF file"):
        read(tmp_path, BAD[name])


def test_nothing_that_is_cut_or_changed_is_more_than_refused(tmp_path: Path) -> None:
    raw, chance = content(), random.Random(4)
    head = raw.index(b"blk.0.ffn_up.weight") + 60
    for length in range(0, head, 3):
        with pytest.raises(ArtifactError):
            read(tmp_path, raw[:length])
    for _ in range(600):
        changed = bytearray(raw)
        for _ in range(chance.randint(1, 4)):
            changed[chance.randrange(head)] = chance.randrange(256)
        try:
            header = read(tmp_path, bytes(changed))
        except ArtifactError:
            continue
        assert all(one.offset + one.size <= len(raw) for one in header.tensors)
