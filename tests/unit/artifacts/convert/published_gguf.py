"""Makes GGUF files as a library publishes them: a model's metadata and tensors in the right types, small, no sense.

And a catalog whose model has that shape, with a library that is a stand-in registry.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from phi4_edge.artifacts.convert import gguf_file
from phi4_edge.artifacts.images.registry import DOCKER_MANIFEST
from phi4_edge.core.catalog.library import Library, LibraryFile
from phi4_edge.core.catalog.model import Architecture, Catalog
from phi4_edge.data import load_catalog
from tests.standins.gguf_file import pair, text
from tests.unit.artifacts.images.standin_registry import StandinRegistry, name_of

REPOSITORY, TAG, VARIANT = "library/phi4-mini", "3.8b-q4_K_M", "gguf-q4_K_M"
MODEL, LICENCE, TEMPLATE = (f"application/vnd.ollama.image.{name}" for name in ("model", "license", "template"))
LICENCE_TEXT = b"MIT License\n"
_NUMBERS = {name: number for number, (name, _, _) in gguf_file.TYPES.items()}

VALUES: Mapping[str, Any] = {
    "general.architecture": "phi3", "general.name": "Small", "phi3.context_length": 131072, "phi3.block_count": 1,
    "phi3.embedding_length": 256, "phi3.attention.head_count": 2, "phi3.attention.head_count_kv": 1,
    "phi3.rope.dimension_count": 96, "tokenizer.ggml.tokens": [f"t{number}" for number in range(8)],
    "general.quantization_version": 2, "general.file_type": 15,
}  # fmt: skip
# Name, shape and type, in llama-quantize's order.
TENSORS: Sequence[tuple[str, tuple[int, ...], str]] = (
    ("output_norm.weight", (256,), "F32"),
    ("rope_factors_long.weight", (48,), "F32"),
    ("rope_factors_short.weight", (48,), "F32"),
    ("token_embd.weight", (256, 8), "Q6_K"),
    ("blk.0.attn_norm.weight", (256,), "F32"),
    ("blk.0.attn_qkv.weight", (256, 4), "Q5_K"),
    ("blk.0.ffn_up.weight", (256, 32), "Q4_K"),
)
SHAPE = Architecture(parameters=2 * 256 + 256 * (8 + 4 + 32), layers=1, kv_heads=1, head_dim=128, vocabulary=8)


@dataclass
class Made:
    """What a file is made of; a test changes it before `content`."""

    values: dict[str, Any] = field(default_factory=lambda: dict(VALUES))
    tensors: list[tuple[str, tuple[int, ...], str]] = field(default_factory=lambda: list(TENSORS))
    version: int = 3
    tail: bytes = b""

    def content(self) -> bytes:
        pairs = b"".join(pair(key, value) for key, value in self.values.items())
        head = b"GGUF" + struct.pack("<IQQ", self.version, len(self.tensors), len(self.values)) + pairs
        data = b""
        for name, shape, kind in self.tensors:
            _, numbers, size = gguf_file.TYPES[_NUMBERS[kind]]
            head += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
            head += struct.pack("<IQ", _NUMBERS[kind], len(data))
            total = 1
            for side in shape:
                total *= side
            data += hashlib.shake_256(name.encode()).digest(total // numbers * size)
            data += bytes(-len(data) % 32)
        return head + bytes(-len(head) % 32) + data + self.tail


def content(change: Callable[[Made], object] = lambda made: None) -> bytes:
    made = Made()
    change(made)
    return made.content()


def publish(registry: StandinRegistry, raw: bytes, tag: str = TAG, **changes: Any) -> str:
    """The library has `raw` under `tag`, with a licence and a template as Ollama's have; its SHA-256."""
    registry.blobs |= {
        name_of(raw): raw,
        name_of(LICENCE_TEXT): LICENCE_TEXT,
        name_of(b"{{ .Prompt }}"): b"{{ .Prompt }}",
    }
    layers = [(MODEL, raw), (TEMPLATE, b"{{ .Prompt }}"), (LICENCE, LICENCE_TEXT)]
    document = {
        "schemaVersion": 2, "mediaType": DOCKER_MANIFEST,
        "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": name_of(b"{}"), "size": 2},
        "layers": [{"mediaType": kind, "digest": name_of(blob), "size": len(blob)} for kind, blob in layers],
        **changes,
    }  # fmt: skip
    registry.put(REPOSITORY, tag, DOCKER_MANIFEST, json.dumps(document).encode())
    return name_of(raw).removeprefix("sha256:")


def catalog(
    host: str, raw: bytes, sha256: str = "", shape: Architecture = SHAPE, rotary: int = 96, variant: str = VARIANT,
    context: int = 131072,
) -> Catalog:  # fmt: skip
    """Ours, with a model `sample` whose library is at `host` and has `raw`; 12 digits of its digest are known."""
    ours = load_catalog()
    known = sha256 or hashlib.sha256(raw).hexdigest()[:12]
    library = Library(host, REPOSITORY, rotary, context, {variant: LibraryFile(TAG, known, len(raw))})
    sample = replace(ours.models["phi-4-mini-instruct"], id="sample", architecture=shape, library=library)
    return replace(ours, models=MappingProxyType({**ours.models, "sample": sample}))
