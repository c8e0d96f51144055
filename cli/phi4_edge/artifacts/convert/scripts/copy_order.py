"""The order in which llama-quantize writes a GGUF file, so that its COPY of one of ours is the same byte for byte.

Ollama makes such a copy of every model that it is given. Where it is the same, a host has the model once.
"""

from __future__ import annotations

import re
import sys
from typing import Any

# Dropped and written anew behind all others, in this order.
LAST = ("general.quantization_version", "general.file_type")
_LAYER = re.compile(r"blk\.(\d+)")


def place(name: str) -> tuple[int, bytes]:
    """Sorts tensors: those of no layer, then layer by layer; within each by the bytes of their names."""
    found = _LAYER.match(name)
    return int(found[1]) if found else -1, name.encode()


def arrange(writer: Any) -> None:
    """Put what gguf-py's writer holds, and has not written yet, in that order. Exits where it lacks a key of LAST."""
    (keys,), (tensors,) = writer.kv_data, writer.tensors
    lacking = [key for key in LAST if key not in keys]
    if lacking:
        sys.exit(f"llama.cpp's converter sets no {' and no '.join(lacking)}, which llama-quantize would add")
    for key in LAST:
        keys[key] = keys.pop(key)
    writer.tensors = [{name: tensors[name] for name in sorted(tensors, key=place)}]
