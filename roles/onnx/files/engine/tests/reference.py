"""onnxruntime-genai's Generator, one answer at a time: what the decode loop is measured against."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime_genai as og


class Reference:
    """A model as onnxruntime-genai runs it, with the same threads."""

    def __init__(self, directory: Path, *, context_length: int, threads: int) -> None:
        session = {"intra_op_num_threads": threads, "session.intra_op.allow_spinning": "0"}
        config = og.Config(str(directory))
        config.clear_providers()
        config.overlay(json.dumps({"model": {"decoder": {"session_options": session}}}))
        self._model = og.Model(config)
        self._context_length = context_length

    def greedy(self, prompt: Sequence[int], tokens: int) -> list[int]:
        """The answer to a prompt that is read in one piece."""
        params = og.GeneratorParams(self._model)
        params.set_search_options(max_length=self._context_length, min_length=0, do_sample=False, num_beams=1)
        generator = og.Generator(self._model, params)
        generator.append_tokens(np.array(prompt, np.int32))
        found = []
        for _ in range(tokens):
            generator.generate_next_token()
            found.append(int(generator.get_next_tokens()[0]))
        return found
