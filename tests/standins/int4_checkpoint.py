"""Makes an INT4 checkpoint out of one with bf16 weights: AWQ's form, or what compressed-tensors calls pack-quantized.

Each linear layer gets 4-bit integers with one scale for 128 of them, as tools that quantize Phi-4-mini write it;
embedding and norms stay as they are. Rounding to nearest, no calibration: for tests of what serves such a checkpoint.

Usage: int4_checkpoint.py SOURCE TARGET [awq]
"""

from __future__ import annotations

import array
import json
import shutil
import struct
import sys
from collections.abc import Iterator, Sequence
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

# AWQ packs eight neighbours along the output; the place of each is this.
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
AWQ = {"quant_method": "awq", "bits": 4, "group_size": GROUP, "zero_point": True, "version": "gemm"}


def make(source: Path, target: Path, awq: bool = False) -> Path:
    """`target`, which must not be there yet, with the checkpoint `source` quantized."""
    target.mkdir(parents=True)
    for path in source.iterdir():
        if path.name not in ("manifest.json", "model.safetensors", "config.json"):
            shutil.copyfile(path, target / path.name)
    config = json.loads((source / "config.json").read_text())
    (target / "config.json").write_text(
        json.dumps(config | {"quantization_config": AWQ if awq else DESCRIPTION}, indent=1)
    )
    found = [part for name, part in read(source / "model.safetensors").items() for part in quantized(name, *part, awq)]
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


def quantized(
    name: str, kind: str, shape: list[int], data: bytes, awq: bool
) -> Iterator[tuple[str, str, list[int], bytes]]:
    """What a tensor becomes: a linear layer's weights their words and scales; all others stay."""
    if not name.endswith("_proj.weight"):
        yield name, kind, shape, data
        return
    assert kind == "BF16" and shape[1] % GROUP == 0, f"{name} is {kind} {shape}"
    (rows, columns), (values, scales) = shape, rounded(data)
    base, groups = name.removesuffix("weight"), columns // GROUP
    if not awq:
        yield base + "weight_packed", "I32", [rows, columns // PER_WORD], packed(values, range(PER_WORD))
        yield base + "weight_scale", "BF16", [rows, groups], scales.tobytes()
        yield base + "weight_shape", "I64", [2], struct.pack("<2q", *shape)
        return
    turned = [values[row * columns + column] for column in range(columns) for row in range(rows)]
    halves = array.array("H", (scales[row * groups + group] for group in range(groups) for row in range(rows)))
    middle = packed([OFFSET] * rows * groups, AWQ_ORDER)
    yield base + "qweight", "I32", [columns, rows // PER_WORD], packed(turned, AWQ_ORDER)
    yield base + "qzeros", "I32", [groups, rows // PER_WORD], middle
    yield base + "scales", "BF16", [groups, rows], halves.tobytes()


def rounded(data: bytes) -> tuple[list[int], array.array[int]]:
    """Values of 0 to 15, and bf16 scales, of bf16 numbers row after row; no group of a row reaches into the next."""
    # bf16 is the upper half of a float32.
    halves = array.array("H", data)
    numbers = array.array("f", array.array("I", (half << 16 for half in halves)).tobytes())
    values, scales = list[int](), array.array("H")
    for start in range(0, len(numbers), GROUP):
        group = numbers[start : start + GROUP]
        upper = (struct.unpack("<I", struct.pack("<f", max(max(map(abs, group)) / MOST, 1e-8)))[0] + 0x8000) >> 16
        scale = struct.unpack("<f", struct.pack("<I", upper << 16))[0]
        scales.append(upper)
        values += [min(MOST, max(-OFFSET, round(number / scale))) + OFFSET for number in group]
    return values, scales


def packed(values: Sequence[int], order: Sequence[int]) -> bytes:
    """Words of eight values; `order` says which of the eight has the lowest bits, and so on."""
    starts = range(0, len(values), PER_WORD)
    return array.array(
        "I", (sum(values[start + one] << 4 * place for place, one in enumerate(order)) for start in starts)
    ).tobytes()


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path(sys.argv[2]), awq=sys.argv[3:] == ["awq"])
