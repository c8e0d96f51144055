"""onnxruntime-genai's Generator, one answer at a time: what the decode loop is measured against."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime_genai as og


def endless(directory: Path, folder: Path) -> Path:
    """The model of `directory` in `folder`, where only a token that is never said ends an answer.

    The loop too goes on behind an end, until somebody stops it.
    """
    for file in directory.iterdir():
        (folder / file.name).symlink_to(file.absolute())
    path = folder / "genai_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["model"]["eos_token_id"] = config["model"]["vocab_size"] - 1
    path.unlink()
    path.write_text(json.dumps(config), encoding="utf-8")
    return folder


class Reference:
    """A model as onnxruntime-genai runs it, with the same threads."""

    def __init__(self, directory: Path, *, context_length: int, threads: int) -> None:
        session = {"intra_op_num_threads": threads, "session.force_spinning_stop": "1"}
        with tempfile.TemporaryDirectory() as folder:
            config = og.Config(str(endless(directory, Path(folder))))
            config.clear_providers()
            config.overlay(json.dumps({"model": {"decoder": {"session_options": session}}}))
            self._model = og.Model(config)
        self._context_length = context_length

    def generator(self) -> Any:
        """A fresh, greedy one."""
        params = og.GeneratorParams(self._model)
        params.set_search_options(max_length=self._context_length, min_length=0, do_sample=False, num_beams=1)
        return og.Generator(self._model, params)

    def greedy(self, prompt: Sequence[int], tokens: int) -> list[int]:
        """The answer to a prompt that is read in one piece."""
        generator = self.generator()
        generator.append_tokens(np.array(prompt, np.int32))
        found = []
        for _ in range(tokens):
            generator.generate_next_token()
            found.append(int(generator.get_next_tokens()[0]))
        return found
