"""Convert a checkpoint folder to ONNX with onnxruntime-genai's model builder.

Runs inside the converter environment: `python -I convert_onnx.py '{"input": …, "output": …}'`. No network, and nothing
that came with the checkpoint is executed.
"""

from __future__ import annotations

import json
import runpy
import sys
from typing import Any


def build(arguments: dict[str, Any]) -> None:
    """Run the builder's own command line in this process, so that one kill ends all of it."""
    options = [f"{name}={value}" for name, value in sorted(arguments["options"].items())]
    sys.argv = ["builder", "-i", arguments["input"], "-o", arguments["output"], "-c", arguments["cache"]]
    sys.argv += ["-p", arguments["precision"], "-e", arguments["provider"], "--extra_options", *options]
    runpy.run_module("onnxruntime_genai.models.builder", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    build(json.loads(sys.argv[1]))
