"""Convert a checkpoint folder to ONNX with onnxruntime-genai's model builder and complete what it writes.

Runs inside the converter environment: `python -I convert_onnx.py '{"input": …, "output": …}'`. No network, and nothing
that came with the checkpoint is executed.
"""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

# Phi-4 ends a turn with <|end|> and a text with <|endoftext|>; an engine that knows only one of them talks on.
STOP_TOKENS = ("<|end|>", "<|endoftext|>")


def build(arguments: dict[str, Any]) -> None:
    """Run the builder's own command line in this process, so that one kill ends all of it."""
    options = [f"{name}={value}" for name, value in sorted(arguments["options"].items())]
    sys.argv = ["builder", "-i", arguments["input"], "-o", arguments["output"], "-c", arguments["cache"]]
    sys.argv += ["-p", arguments["precision"], "-e", arguments["provider"], "--extra_options", *options]
    runpy.run_module("onnxruntime_genai.models.builder", run_name="__main__", alter_sys=True)


def complete(output: Path, max_length: int) -> None:
    """Set what the builder leaves to each caller: the length to allocate for, and both stop tokens.

    Without max_length an engine allocates keys and values for the longest context: 32 GiB for Phi-4-mini.
    """
    path = output / "genai_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["search"]["max_length"] = max_length
    config["model"]["eos_token_id"] = stop_ids(output)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    if not (output / "chat_template.jinja").is_file():
        sys.exit("the checkpoint has no chat template (chat_template.jinja, or chat_template in tokenizer_config.json)")


def stop_ids(output: Path) -> list[int]:
    """Ids of the stop tokens in the converted tokenizer."""
    tokenizer = json.loads((output / "tokenizer.json").read_text(encoding="utf-8"))
    ids = {token["content"]: int(token["id"]) for token in tokenizer["added_tokens"]}
    if missing := [name for name in STOP_TOKENS if name not in ids]:
        sys.exit(f"the tokenizer lacks {', '.join(missing)}: this is not a Phi-4 checkpoint")
    return [ids[name] for name in STOP_TOKENS]


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    build(given)
    complete(Path(given["output"]), int(given["max_length"]))
