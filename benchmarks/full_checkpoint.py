"""Make a checkpoint of Phi-4-mini's full shape, with random weights: what converting it costs.

    <store>/environments/converter-*/bin/python benchmarks/full_checkpoint.py FOLDER

Needs the converter's environment, 10 GB of memory, 12 GB of disk and some minutes. Two layers are made and repeated, so
that there are 32, and 7.7 GB of weights in as many files as layers and one more. It is FOLDER/full, as the hub has it;
`phi4-edge model import phi-4-mini-instruct/safetensors FOLDER/full` takes it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import full_shape
from safetensors import safe_open
from safetensors.torch import save_file

BESIDE = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")


def repeat(source: Path, target: Path) -> None:
    """Write the checkpoint in `source` to the new folder `target`, its two layers again and again."""
    target.mkdir()
    for name in BESIDE:
        (target / name).write_bytes((source / name).read_bytes())
    config = json.loads((target / "config.json").read_text(encoding="utf-8"))
    (target / "config.json").write_text(json.dumps({**config, "num_hidden_layers": full_shape.LAYERS}))
    places: dict[str, str] = {}

    def write(number: int, tensors: dict[str, Any]) -> None:
        name = f"model-{number:05d}-of-{full_shape.LAYERS + 1:05d}.safetensors"
        save_file(tensors, target / name, metadata={"format": "pt"})
        places.update(dict.fromkeys(tensors, name))

    with safe_open(source / "model.safetensors", framework="pt") as file:
        names = list(file.keys())
        write(1, {name: file.get_tensor(name) for name in names if ".layers." not in name})
        for layer in range(full_shape.LAYERS):
            old, new = f"model.layers.{layer % 2}.", f"model.layers.{layer}."
            of_layer = [name for name in names if name.startswith(old)]
            write(layer + 2, {name.replace(old, new): file.get_tensor(name) for name in of_layer})
    index = {"metadata": {}, "weight_map": places}
    (target / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def main(folder: Path) -> None:
    """Make the checkpoint in `folder`, step by step; what one step left is not made again."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "checkpoint" / "model.safetensors").is_file():
        full_shape.checkpoint(folder / "checkpoint")
    repeat(folder / "checkpoint", folder / "full")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
