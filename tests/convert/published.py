"""The tiny model as its maker would publish it for ONNX: the same builder, untied, the folder as the hub has it."""

from __future__ import annotations

import json
from pathlib import Path

from phi4_edge.artifacts.convert import environment, taught
from phi4_edge.artifacts.convert.worker import SOURCE
from phi4_edge.artifacts.store.store import Store

FILES = ("model.onnx", "model.onnx.data", "genai_config.json", "tokenizer.json", "tokenizer_config.json")


def export(store: Store, folder: Path, **options: object) -> Path:
    """The untied export of `tiny/safetensors` in `store`, made in `folder`; `options` of the builder differ."""
    output = folder / "published"
    taught.export(environment.ensure(store), store.path(store.digest(f"tiny/{SOURCE}")), output, folder, **options)
    assert sorted(path.name for path in output.iterdir()) == sorted(FILES)
    return output


def template(folder: Path) -> str:
    """The chat template of a published folder."""
    return str(json.loads((folder / "tokenizer_config.json").read_text())["chat_template"])
