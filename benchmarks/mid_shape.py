"""Make Phi-4-mini's full width and vocabulary with four layers and random weights: what a step costs, in 0.7 GB.

    <store>/environments/converter-*/bin/python benchmarks/mid_shape.py FOLDER

Needs the converter's environment, 4 GB of memory and a minute. The real builder exports the layers with a small
vocabulary, because its copy of the full embedding would take 10 GB; the tied matrix is then widened, with random bytes.
The result is FOLDER/mid, for `decode_loop.py`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "cli" / "phi4_edge" / "artifacts" / "convert" / "scripts"))
import make_tiny
import numpy as np
import onnx

SCRIPTS = Path(make_tiny.__file__).parent
WORDS, VOCABULARY, BLOCKS = 2000, 200_064, 96
SHAPE = {"HIDDEN": 3072, "LAYERS": 4, "HEADS": 24, "KV_HEADS": 8, "HEAD_DIM": 128, "FFN": 8192, "LONG_CONTEXT": 131072}
OPTIONS = {
    "accuracy_level": 4, "block_size": 32, "shared_embeddings": "true", "prune_lm_head": "true", "hf_token": "false",
}  # fmt: skip
TIED, SCALES = "lm_head.MatMul.weight_Q4", "lm_head.MatMul.weight_scales"
ROWS = "model.embed_tokens.weight_Q4"  # the first one again, row by row


def export(folder: Path) -> Path:
    """The builder's export of four layers with the tiny model's vocabulary."""
    for name, value in SHAPE.items():
        setattr(make_tiny, name, value)
    make_tiny.write(folder / "checkpoint", 4, (SCRIPTS / "tiny_text.txt").read_text(encoding="utf-8"))
    arguments = {
        "input": str(folder / "checkpoint"), "output": str(folder / "small"), "cache": str(folder / "cache"),
        "precision": "int4", "provider": "cpu", "options": OPTIONS,
    }  # fmt: skip
    subprocess.run([sys.executable, "-I", SCRIPTS / "convert_onnx.py", json.dumps(arguments)], check=True)
    return folder / "small"


def weights(graph: Any, source: Path, target: Path) -> None:
    """Every tensor with its own bytes; the tied matrix and its scales have as many rows as the full vocabulary."""
    dice = np.random.default_rng(1)
    wide = {
        TIED: lambda: dice.integers(0, 256, VOCABULARY * BLOCKS * 16, dtype=np.uint8).tobytes(),
        SCALES: lambda: np.full(VOCABULARY * BLOCKS, 0.004, np.float32).tobytes(),
    }
    with source.open("rb") as old, target.open("wb") as new:
        for tensor in graph.initializer:
            place = {entry.key: entry for entry in tensor.external_data}
            if not place or tensor.name == ROWS:
                continue
            old.seek(int(place["offset"].value))
            data = wide[tensor.name]() if tensor.name in wide else old.read(int(place["length"].value))
            if tensor.name in wide:
                tensor.dims[0] = VOCABULARY
            place["offset"].value, place["length"].value = str(new.tell()), str(len(data))
            new.write(data)
    tied, rows = (next(one for one in graph.initializer if one.name == name) for name in (TIED, ROWS))
    rows.dims[0] = VOCABULARY
    del rows.external_data[:]
    rows.external_data.extend(tied.external_data)


def widen(graph: Any) -> None:
    """The nodes around that matrix, and the scores, have the full vocabulary too."""
    for node in graph.node:
        for attribute in node.attribute:
            if node.name.startswith("/lm_head") and attribute.name == "N":
                attribute.i = VOCABULARY
    for value in (*graph.value_info, *graph.output):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_value == WORDS:
                size.dim_value = VOCABULARY


def main(folder: Path) -> None:
    """Make it in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    small, result = export(folder), folder / "mid"
    result.mkdir()
    model = onnx.load(small / "model.onnx", load_external_data=False)
    weights(model.graph, small / "model.onnx.data", result / "model.onnx.data")
    widen(model.graph)
    onnx.save(model, result / "model.onnx")
    config = json.loads((small / "genai_config.json").read_text(encoding="utf-8"))
    config["model"]["vocab_size"] = VOCABULARY
    (result / "genai_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    tokenizer = json.loads((small / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["model"]["vocab"].update({f"nothing{number}": number for number in range(WORDS, VOCABULARY)})
    (result / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    for name in ("chat_template.jinja", "tokenizer_config.json"):
        shutil.copy(small / name, result / name)
    print(f"{(result / 'model.onnx.data').stat().st_size} bytes of weights in {result}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
