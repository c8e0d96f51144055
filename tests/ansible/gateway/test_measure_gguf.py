"""A vocabulary is read from the head of a GGUF file; a file that is none, or lies, is refused within bounds."""

from __future__ import annotations

import random
import struct
import time
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.gateway.measuring import measure_gguf
from tests.standins.ollama_store import TINY

SIGNS = measure_gguf.signs()
TOKENS = [*SIGNS, "ab", "abc", "<|end|>"]


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def listed(values: list[str]) -> bytes:
    return struct.pack("<IQ", 8, len(values)) + b"".join(map(text, values))


def numbers(values: list[int]) -> bytes:
    return struct.pack(f"<IQ{len(values)}i", 5, len(values), *values)


KEYS: dict[str, tuple[int, bytes]] = {
    "general.architecture": (8, text("phi3")),
    "general.tags": (9, listed(["one", "two"])),
    "phi3.context_length": (4, struct.pack("<I", 4096)),
    "phi3.rope.scaling": (9, struct.pack("<IQ2f", 6, 2, 1.0, 2.0)),
    "tokenizer.ggml.model": (8, text("gpt2")),
    "tokenizer.ggml.pre": (8, text("gpt-4o")),
    "tokenizer.ggml.tokens": (9, listed(TOKENS)),
    "tokenizer.ggml.token_type": (9, numbers([1] * 258 + [3])),
    "tokenizer.ggml.merges": (9, listed(["a b", "ab c"])),
    "tokenizer.ggml.add_bos_token": (7, b"\x01"),
}


def gguf(path: Path, begin: bytes = b"", **changed: Any) -> str:
    """A file with these keys; None leaves one out."""
    keys = {**KEYS, **{name.replace("__", "."): value for name, value in changed.items()}}
    pairs = [text(name) + struct.pack("<I", kind) + raw for name, (kind, raw) in keys.items() if raw is not None]
    path.write_bytes((begin or b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs))) + b"".join(pairs))
    return str(path)


def test_a_vocabulary_has_what_a_count_needs(tmp_path: Path) -> None:
    found = measure_gguf.read(gguf(tmp_path / "a.gguf"))
    assert (found.pre, found.lead, found.special, found.context) == ("gpt-4o", 1, ("<|end|>",), 4096)
    assert [found.longest[ord(sign)] for sign in "abc"] == [3, 1, 1]
    assert [TOKENS[token] for token in found.bytes] == SIGNS
    assert [TOKENS[token] for token in found.made] == ["ab", "abc"]
    assert list(found.merges) == sorted(found.merges)


def test_the_tiny_models_own(tmp_path: Path) -> None:
    found = measure_gguf.read(str(TINY))
    assert (found.pre, found.lead, len(found.made), len(found.special)) == ("gpt-2", 0, 1733, 11)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"tokenizer__ggml__model": (8, text("llama"))}, "needed a byte-level BPE, gpt2"),
        ({"tokenizer__ggml__merges": (0, None)}, "found no tokenizer.ggml.merges"),
        ({"tokenizer__ggml__tokens": (0, None)}, "found no tokenizer.ggml.tokens"),
        ({"tokenizer__ggml__token_type": (9, numbers([1] * 3))}, "found 259 tokens of 3 kinds"),
        ({"tokenizer__ggml__tokens": (9, numbers([1] * 259))}, "259 of kind 5"),
        ({"tokenizer__ggml__merges": (9, listed(["a b", "x y"]))}, "found no token b'xy'"),
        ({"tokenizer__ggml__merges": (9, listed(["ab"]))}, "found no token"),
        ({"tokenizer__ggml__tokens": (9, listed(["x"] * 259))}, "found no token"),
        ({"tokenizer__ggml__tokens": (9, listed(["x" * 5000, *TOKENS[1:]]))}, "found a token of 5000 bytes"),
        ({"general__tags": (9, struct.pack("<IQ", 8, 1 << 60))}, "found the end of the head|needed them within"),
        ({"general__tags": (9, struct.pack("<IQ", 5, 1 << 60))}, "needed them within the head"),
        ({"general__tags": (9, struct.pack("<IQ", 9, 1))}, "found an array of kind 9"),
        ({"general__tags": (77, b"")}, "found a value of kind 77"),
        ({"general__architecture": (8, struct.pack("<Q", 1 << 63))}, "needed them within the head"),
        ({"begin": b"GGUF" + struct.pack("<IQQ", 9, 0, 1)}, "needed a GGUF file of version 2 or 3"),
        ({"begin": b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 40)}, "needed at most 4096"),
        ({"begin": b"ZIPF" + struct.pack("<IQQ", 3, 0, 1)}, "needed a GGUF file"),
    ],
)
def test_a_file_that_lies_is_told(tmp_path: Path, changed: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        measure_gguf.read(gguf(tmp_path / "a.gguf", **changed))


def test_a_file_that_ends_anywhere_is_told(tmp_path: Path) -> None:
    raw = Path(gguf(tmp_path / "a.gguf")).read_bytes()
    for end in [*range(0, 400, 7), *range(400, len(raw), 61), len(raw) - 30]:
        (tmp_path / "b.gguf").write_bytes(raw[:end])
        with pytest.raises(ValueError, match="found"):
            measure_gguf.read(str(tmp_path / "b.gguf"))


def test_damage_is_told_or_harmless_and_takes_no_time(tmp_path: Path) -> None:
    raw, picked, began = Path(gguf(tmp_path / "a.gguf")).read_bytes(), random.Random(6), time.monotonic()
    for _ in range(400):
        bad = bytearray(raw)
        for _ in range(picked.randint(1, 6)):
            bad[picked.randrange(len(bad))] = picked.randrange(256)
        (tmp_path / "b.gguf").write_bytes(bad)
        try:
            found = measure_gguf.read(str(tmp_path / "b.gguf"))
        except ValueError:
            continue
        assert len(found.bytes) == 256
    assert time.monotonic() - began < 30


def test_no_file_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        measure_gguf.read(str(tmp_path / "none"))
