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


def content(file_type: str = "Q4_0", numbers: int = 1024, quantized: bool = True, note: str = "") -> bytes:
    """A file with one tensor. `quantized`: file type and version come last, as llama-quantize leaves them."""
    metadata = [
        pair("general.architecture", "phi3"), pair("general.name", "tiny"), pair("general.description", note),
        pair("phi3.context_length", 4096), pair("phi3.block_count", 1), pair("phi3.embedding_length", 32),
        pair("tokenizer.ggml.tokens", ["<|end|>", "<|endoftext|>", "a", "b", "c", "d"]),
        pair("tokenizer.chat_template", "{% for message in messages %}{{ message['content'] }}{% endfor %}"),
    ]  # fmt: skip
    own = [pair("general.quantization_version", 2), pair("general.file_type", FILE_TYPES[file_type])]
    metadata = metadata + own if quantized else own + metadata
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(metadata)) + b"".join(metadata)
    head += text("token_embd.weight") + struct.pack("<IQIQ", 1, numbers, F32, 0)
    head += b"\0" * (-len(head) % ALIGNMENT)
    return head + b"".join(struct.pack("<f", number % 7) for number in range(numbers))


def write(folder: Path, **options: int | str | bool) -> Path:
    """`folder/model.gguf`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.gguf"
    path.write_bytes(content(**options))  # type: ignore[arg-type]
    return path
