"""The tiny model as its maker would publish it for ONNX: the same builder, untied, the folder as the hub has it."""

from __future__ import annotations

import json
from pathlib import Path

from phi4_edge.artifacts.convert import environment, onnx
from phi4_edge.artifacts.convert.worker import SOURCE, run_worker
from phi4_edge.artifacts.store.store import Store

# The published folder has the chat template in the tokenizer's configuration.
AS_PUBLISHED = {"block_size": 32, "shared_embeddings": "false", "prune_lm_head": "false"}
FILES = ("model.onnx", "model.onnx.data", "genai_config.json", "tokenizer.json", "tokenizer_config.json")


def export(store: Store, folder: Path, **options: object) -> Path:
    """The untied export of `tiny/safetensors` in `store`, made in `folder`; `options` of the builder differ."""
    output = folder / "published"
    arguments: dict[str, object] = {
        "input": str(store.path(store.digest(f"tiny/{SOURCE}"))),
        "output": str(output),
        "cache": str(folder / "cache"),
        "precision": onnx.PRECISION,
        "provider": onnx.PROVIDER,
        "options": {**onnx.OPTIONS, **AS_PUBLISHED, **options},
    }
    run_worker(environment.ensure(store), "convert_onnx", arguments, folder, "no untied export", lambda line: None)
    config = json.loads((output / "tokenizer_config.json").read_text())
    config["chat_template"] = (output / "chat_template.jinja").read_text()
    (output / "tokenizer_config.json").write_text(json.dumps(config))
    (output / "chat_template.jinja").unlink()
    assert sorted(path.name for path in output.iterdir()) == sorted(FILES)
    return output


def template(folder: Path) -> str:
    """The chat template of a published folder."""
    return str(json.loads((folder / "tokenizer_config.json").read_text())["chat_template"])
