"""Makes an INT4 checkpoint out of one with bf16 weights, in the form that compressed-tensors calls pack-quantized.

Each linear layer gets 4-bit integers with one scale for 128 of them, as tools that quantize Phi-4-mini write it;
embedding and norms stay as they are. Rounding to nearest, no calibration: for tests of what serves such a checkpoint.

Usage: int4_checkpoint.py SOURCE TARGET
"""

from __future__ import annotations

import array
import json
import shutil
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

GROUP, MOST = 128, 7
# Eight values of 4 bits, the first in the lowest bits, stored as what they are above -8.
PER_WORD, OFFSET = 8, 8
DESCRIPTION: dict[str, Any] = {
    "quant_method": "compressed-tensors",
    "format": "pack-quantized",
    "quantization_status": "compressed",
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {
                "num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": GROUP,
                "dynamic": False,
            },
        }
    },
    "ignore": ["lm_head"],
}  # fmt: skip


def make(source: Path, target: Path) -> Path:
    """`target`, which must not be there yet, with the checkpoint `source` quantized."""
    target.mkdir(parents=True)
    for path in source.iterdir():
        if path.name not in ("manifest.json", "model.safetensors", "config.json"):
            shutil.copyfile(path, target / path.name)
    config = json.loads((source / "config.json").read_text())
    (target / "config.json").write_text(json.dumps(config | {"quantization_config": DESCRIPTION}, indent=1))
    found = [part for name, part in read(source / "model.safetensors").items() for part in quantized(name, *part)]
    write(target / "model.safetensors", {name: (kind, shape, data) for name, kind, shape, data in found})
    return target


def read(path: Path) -> dict[str, tuple[str, list[int], bytes]]:
    """Type, shape and bytes of every tensor by name."""
    raw = path.read_bytes()
    length = int(struct.unpack("<Q", raw[:8])[0])
    header = json.loads(raw[8 : 8 + length])
    header.pop("__metadata__", None)
    body = raw[8 + length :]
    return {
        name: (one["dtype"], one["shape"], body[slice(*one["data_offsets"])]) for name, one in sorted(header.items())
    }


def write(path: Path, tensors: dict[str, tuple[str, list[int], bytes]]) -> None:
    """A safetensors file."""
    header, position = {}, 0
    for name, (kind, shape, data) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [position, position + len(data)]}
        position += len(data)
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors.values()))


def quantized(name: str, kind: str, shape: list[int], data: bytes) -> Iterator[tuple[str, str, list[int], bytes]]:
    """What a tensor becomes: a linear layer's weights their words, scales and shape; all others stay."""
    if not name.endswith("_proj.weight"):
        yield name, kind, shape, data
        return
    assert kind == "BF16" and shape[1] % GROUP == 0, f"{name} is {kind} {shape}"
    words, scales = pack(data)
    base = name.removesuffix("weight")
    yield base + "weight_packed", "I32", [shape[0], shape[1] // PER_WORD], words
    yield base + "weight_scale", "BF16", [shape[0], shape[1] // GROUP], scales
    yield base + "weight_shape", "I64", [2], struct.pack("<2q", *shape)


def pack(data: bytes) -> tuple[bytes, bytes]:
    """(words, scales) of bf16 numbers, row after row; no group of a row reaches into the next."""
    # bf16 is the upper half of a float32.
    halves = array.array("H", data)
    numbers = array.array("f", array.array("I", (half << 16 for half in halves)).tobytes())
    words, scales = array.array("I"), array.array("H")
    for start in range(0, len(numbers), GROUP):
        group = numbers[start : start + GROUP]
        scale = max(max(map(abs, group)) / MOST, 1e-8)
        upper = (struct.unpack("<I", struct.pack("<f", scale))[0] + 0x8000) >> 16
        scales.append(upper)
        scale = struct.unpack("<f", struct.pack("<I", upper << 16))[0]
        values = [min(MOST, max(-OFFSET, round(number / scale))) + OFFSET for number in group]
        for first in range(0, GROUP, PER_WORD):
            words.append(sum(value << 4 * place for place, value in enumerate(values[first : first + PER_WORD])))
    return words.tobytes(), scales.tobytes()


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path(sys.argv[2]))
