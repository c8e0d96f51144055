"""A GGUF of random weights in the form of Phi-3's family, as llama.cpp's server loads it; always the same file."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass
from pathlib import Path

# ggml's numbers: types of metadata, and of tensors.
STRING, UINT32, FLOAT32, ARRAY, INT32 = 8, 4, 6, 9, 5
F32, Q4_0, Q6_K = 0, 2, 14
# Numbers in a block, its bytes, and where in it the scale of half precision stands.
BLOCKS = {Q4_0: (32, 18, 0), Q6_K: (256, 210, 208)}
SCALE = {Q4_0: 0.01, Q6_K: 0.00002}


@dataclass(frozen=True)
class Shape:
    """Sizes of the model; `embedding`: the type of the matrix that is both lookup and output."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head: int
    ffn: int
    words: int
    rotary: int
    embedding: int = Q4_0


def write(path: Path, shape: Shape) -> None:
    """Write it; the vocabulary is one word for each number."""
    chance = random.Random(4)
    samples = {kind: _blocks(kind, chance) for kind in BLOCKS}
    listed, pairs = _tensors(shape), _metadata(shape)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(listed), len(pairs)) + b"".join(pairs)
    sizes, offset = [], 0
    for name, sides, kind in listed:
        count = sides[0] * (sides[1] if len(sides) > 1 else 1)
        sizes.append(count * 4 if kind == F32 else count // BLOCKS[kind][0] * BLOCKS[kind][1])
        head += _text(name) + struct.pack(f"<I{len(sides)}QIQ", len(sides), *sides, kind, offset)
        offset += -(-sizes[-1] // 32) * 32
    with path.open("wb") as stream:
        stream.write(head + b"\0" * (-len(head) % 32))
        for (_name, _sides, kind), size in zip(listed, sizes, strict=True):
            sample = struct.pack("<f", 1.0) * 65536 if kind == F32 else samples[kind]
            whole, rest = divmod(size, len(sample))
            for _ in range(whole):
                stream.write(sample)
            stream.write(sample[:rest] + b"\0" * (-size % 32))


def _blocks(kind: int, chance: random.Random) -> bytes:
    """So many blocks of the type that two rows of one matrix are rarely alike."""
    _, size, at = BLOCKS[kind]
    scale, random_bytes = struct.pack("<e", SCALE[kind]), chance.randbytes
    return b"".join(random_bytes(at) + scale + random_bytes(size - at - 2) for _ in range(65536))


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def _metadata(shape: Shape) -> list[bytes]:
    """What llama.cpp asks of a model of Phi-3's family."""
    words = [f"w{number}" for number in range(shape.words)]
    numbers = {
        "context_length": 131072, "embedding_length": shape.width, "feed_forward_length": shape.ffn,
        "block_count": shape.layers, "attention.head_count": shape.heads, "attention.head_count_kv": shape.kv_heads,
        "rope.dimension_count": shape.rotary,
    }  # fmt: skip
    found = [_text("general.architecture") + struct.pack("<I", STRING) + _text("phi3")]
    found += [_text(f"phi3.{name}") + struct.pack("<II", UINT32, value) for name, value in numbers.items()]
    found.append(_text("phi3.attention.layer_norm_rms_epsilon") + struct.pack("<If", FLOAT32, 1e-5))
    found.append(_text("tokenizer.ggml.model") + struct.pack("<I", STRING) + _text("gpt2"))
    found.append(_text("tokenizer.ggml.pre") + struct.pack("<I", STRING) + _text("gpt-4o"))
    listed = struct.pack("<IIQ", ARRAY, STRING, shape.words) + b"".join(map(_text, words))
    found.append(_text("tokenizer.ggml.tokens") + listed)
    kinds = struct.pack(f"<{shape.words}i", *[1] * shape.words)
    found.append(_text("tokenizer.ggml.token_type") + struct.pack("<IIQ", ARRAY, INT32, shape.words) + kinds)
    found.append(_text("tokenizer.ggml.merges") + struct.pack("<IIQ", ARRAY, STRING, 1) + _text("w 0"))
    found += [_text(f"tokenizer.ggml.{name}_token_id") + struct.pack("<II", UINT32, 0) for name in ("bos", "eos")]
    return found


def _tensors(shape: Shape) -> list[tuple[str, tuple[int, ...], int]]:
    """Names, shapes and types."""
    width, attention = shape.width, shape.heads * shape.head
    qkv = attention + 2 * shape.kv_heads * shape.head
    found = [("token_embd.weight", (width, shape.words), shape.embedding), ("output_norm.weight", (width,), F32)]
    for layer in range(shape.layers):
        found += [
            (f"blk.{layer}.attn_norm.weight", (width,), F32), (f"blk.{layer}.ffn_norm.weight", (width,), F32),
            (f"blk.{layer}.attn_qkv.weight", (width, qkv), Q4_0),
            (f"blk.{layer}.attn_output.weight", (attention, width), Q4_0),
            (f"blk.{layer}.ffn_up.weight", (width, 2 * shape.ffn), Q4_0),
            (f"blk.{layer}.ffn_down.weight", (shape.ffn, width), Q4_0),
        ]  # fmt: skip
    return found
