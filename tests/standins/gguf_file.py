"""A GGUF file as small as Ollama and its stand-in take one; it has the metadata of a model, and no sense."""

from __future__ import annotations

import struct
from pathlib import Path

STRING, UINT32, ARRAY, F32 = 8, 4, 9, 0
ALIGNMENT = 32
FILE_TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q8_0": 7, "Q5_1": 9, "Q4_K_M": 15}


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def pair(key: str, value: int | str | list[str]) -> bytes:
    """One line of metadata."""
    if isinstance(value, int):
        return text(key) + struct.pack("<II", UINT32, value)
    if isinstance(value, str):
        return text(key) + struct.pack("<I", STRING) + text(value)
    words = b"".join(text(word) for word in value)
    return text(key) + struct.pack("<IIQ", ARRAY, STRING, len(value)) + words


# What decides the size of the KV cache; Phi-4-mini's own takes 131,072 bytes for each token in f16.
SMALL = {"block_count": 1, "embedding_length": 32}
PHI4_MINI = {
    "block_count": 32, "embedding_length": 3072, "attention.head_count": 24, "attention.head_count_kv": 8,
    "attention.key_length": 128,
}  # fmt: skip


def content(
    file_type: str = "Q4_0",
    numbers: int = 1024,
    quantized: bool = True,
    note: str = "",
    shaped: bool = False,
    tensors: tuple[str, ...] = ("token_embd.weight",),
) -> bytes:
    """A file with one tensor, or several of different content.

    `quantized`: file type and version come last, as llama-quantize leaves them. `shaped`: its metadata say that it has
    Phi-4-mini's shape, so that as much memory is taken for its KV cache.
    """
    metadata = [
        pair("general.architecture", "phi3"), pair("general.name", "tiny"), pair("general.description", note),
        pair("phi3.context_length", 4096),
        *(pair(f"phi3.{key}", value) for key, value in (PHI4_MINI if shaped else SMALL).items()),
        pair("tokenizer.ggml.tokens", ["<|end|>", "<|endoftext|>", "a", "b", "c", "d"]),
        pair("tokenizer.chat_template", "{% for message in messages %}{{ message['content'] }}{% endfor %}"),
    ]  # fmt: skip
    own = [pair("general.quantization_version", 2), pair("general.file_type", FILE_TYPES[file_type])]
    metadata = metadata + own if quantized else own + metadata
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata)) + b"".join(metadata)
    data = b""
    for name in tensors:
        head += text(name) + struct.pack("<IQIQ", 1, numbers, F32, len(data))
        first = 0 if len(tensors) == 1 else len(name)
        data += b"".join(struct.pack("<f", (number + first) % 7) for number in range(numbers))
        data += b"\0" * (-len(data) % ALIGNMENT)
    head += b"\0" * (-len(head) % ALIGNMENT)
    return head + data


def write(folder: Path, **options: int | str | bool) -> Path:
    """`folder/model.gguf`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.gguf"
    path.write_bytes(content(**options))  # type: ignore[arg-type]
    return path
