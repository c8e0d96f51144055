"""Make an untied int4 export of Phi-4-mini's full shape, with random weights: what tying, proving and serving cost.

    <store>/environments/converter-*/bin/python benchmarks/full_shape.py FOLDER

Needs the converter's environment, 10 GB of memory, 14 GB of disk and some minutes. The real builder exports two of the
32 layers with everything else as large as it is; the second one is then repeated with other weights, so that the result
has the published size: 4,856,573,952 bytes of weights. The tokenizer knows the tiny model's words and as many
names of nothing as the vocabulary has room for. It is FOLDER/published, as the hub has it.
"""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "cli" / "phi4_edge" / "artifacts" / "convert" / "scripts"))
import make_tiny
import numpy as np
import onnx

SCRIPTS = Path(make_tiny.__file__).parent
VOCABULARY, LAYERS = 200_064, 32
SHAPE = {"HIDDEN": 3072, "HEADS": 24, "KV_HEADS": 8, "HEAD_DIM": 128, "FFN": 8192, "LONG_CONTEXT": 131072}
OPTIONS = {"accuracy_level": 4, "block_size": 32, "shared_embeddings": "false", "hf_token": "false"}
PIECE = 1 << 24
LAYER = re.compile(r"(layers|past_key_values|present)\.([012])(?=[./])")


def checkpoint(folder: Path) -> None:
    """Two layers of the full width, and the whole embedding."""
    tokenizer = make_tiny.train_tokenizer((SCRIPTS / "tiny_text.txt").read_text(encoding="utf-8"))
    for name, value in {**SHAPE, "VOCABULARY": VOCABULARY}.items():
        setattr(make_tiny, name, value)
    # It is trained already, and has fewer tokens than the model.
    make_tiny.train_tokenizer = lambda text: tokenizer
    make_tiny.write(folder, 4, "")
    path = folder / "tokenizer.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    held = len(tokenizer.get_vocab())
    document["model"]["vocab"].update({f"nothing{number}": number for number in range(held, VOCABULARY)})
    path.write_text(json.dumps(document), encoding="utf-8")


def export(source: Path, folder: Path, work: Path) -> None:
    """The builder's own export of that."""
    arguments = {
        "input": str(source), "output": str(folder), "cache": str(work / "cache"), "precision": "int4",
        "provider": "cpu", "options": OPTIONS,
    }  # fmt: skip
    subprocess.run([sys.executable, "-I", SCRIPTS / "convert_onnx.py", json.dumps(arguments)], check=True)


def renamed(text: str, layer: int) -> str:
    """A name of layer 1 as that of `layer`; what belongs to the layer before and after it moves along."""
    return LAYER.sub(lambda found: f"{found[1]}.{int(found[2]) + layer - 1}", text)


def moved(message: Any, layer: int) -> Any:
    """A copy of a node, tensor or value with the names of `layer`."""
    made = copy.deepcopy(message)
    made.name = renamed(made.name, layer)
    for field in ("input", "output"):
        if names := getattr(made, field, None):
            names[:] = [renamed(name, layer) for name in names]
    return made


def of_layer(name: str, layer: int) -> bool:
    """Whether `name` is one of the layer's own."""
    return bool(re.search(rf"(layers|past_key_values|present)\.{layer}[./]", name))


def deepen(graph: Any) -> None:
    """Have 32 layers in the graph: the second one again and again, and the norm at the end behind the last."""
    nodes = [node for node in graph.node if not of_layer(node.name, 1) and not of_layer(node.name, 2)]
    layer = [node for node in graph.node if of_layer(node.name, 1)]
    last = [node for node in graph.node if of_layer(node.name, 2)]
    head = [node for node in nodes if node.name.startswith("/lm_head")]
    body = [node for node in nodes if not node.name.startswith("/lm_head")]
    deep = [moved(node, number) for number in range(1, LAYERS) for node in layer]
    ending = [moved(node, LAYERS - 1) for node in (*last, *head)]
    graph.ClearField("node")
    graph.node.extend([*body, *deep, *ending])
    for kind in ("initializer", "value_info", "input", "output"):
        found = list(getattr(graph, kind))
        fresh = [moved(one, number) for number in range(2, LAYERS) for one in found if of_layer(one.name, 1)]
        for one in found:
            if of_layer(one.name, 2):
                one.name = renamed(one.name, LAYERS - 1)
        getattr(graph, kind).extend(fresh)


def rewrite(graph: Any, source: Path, target: Path) -> None:
    """Give every tensor bytes of its own, in the order of the graph.

    Each layer's matrices differ: onnxruntime holds what it has packed of equal ones only once.
    """
    at = 0
    with source.open("rb") as old, target.open("wb") as new:
        for tensor in graph.initializer:
            place = {entry.key: entry for entry in tensor.external_data}
            if not place:
                continue
            old.seek(int(place["offset"].value))
            left = int(place["length"].value)
            place["offset"].value = str(at)
            at += left
            layer = re.search(r"layers\.(\d+)\..*_Q4$", tensor.name)
            other = np.uint8(int(layer[1]) if layer else 0)
            while left:
                piece = np.frombuffer(old.read(min(PIECE, left)), np.uint8)
                left -= new.write((piece ^ other).tobytes())


def main(folder: Path) -> None:
    """Make the export in `folder`, step by step; what one step left is not made again."""
    folder.mkdir(parents=True, exist_ok=True)
    source, two, result = folder / "checkpoint", folder / "two-layers", folder / "published"
    if not (source / "model.safetensors").is_file():
        checkpoint(source)
    if not (two / "genai_config.json").is_file():
        export(source, two, folder)
    model = onnx.load(two / "model.onnx", load_external_data=False)
    deepen(model.graph)
    result.mkdir()
    rewrite(model.graph, two / "model.onnx.data", result / "model.onnx.data")
    onnx.save(model, result / "model.onnx")
    config = json.loads((two / "genai_config.json").read_text(encoding="utf-8"))
    config["model"]["decoder"]["num_hidden_layers"] = LAYERS
    (result / "genai_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    (result / "tokenizer.json").write_bytes((two / "tokenizer.json").read_bytes())
    tokenizer = json.loads((two / "tokenizer_config.json").read_text(encoding="utf-8"))
    tokenizer["chat_template"] = (two / "chat_template.jinja").read_text(encoding="utf-8")
    (result / "tokenizer_config.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    print(f"{(result / 'model.onnx.data').stat().st_size} bytes of weights in {result}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
