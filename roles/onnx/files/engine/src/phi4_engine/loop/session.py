"""The exported graph in onnxruntime, run directly: continuous batching, which onnxruntime-genai does not have on CPUs.

A run takes a range of rows of the KV cache as it lies in memory, and writes to the same place. Its bindings are made
once for each range and kept; per run only tokens, mask and scores change. onnxruntime releases the interpreter lock
meanwhile.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# onnxruntime >= 1.29 reports to its maker unless this is set before it is loaded.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from phi4_engine.errors import ConfigurationError
from phi4_engine.loop.schedule import WHOLE_PIECE
from phi4_engine.modeldir import ModelFiles

_TYPES: dict[str, Any] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_ONLY_ERRORS = 3
VERSION: str = onnxruntime.__version__


class Session:
    """A loaded graph with a cache for `rows` sequences of `capacity` tokens, whose pages exist once they are written.

    `graph`: the one to load in place of the model's own. `keep`: where to write what the runtime makes of the graph and
    its weights, a path and the name of a file beside it; see `repacked`. Raises ConfigurationError for a graph that
    wants to be run in another way, RuntimeError when the runtime refuses it.
    """

    def __init__(
        self,
        files: ModelFiles,
        *,
        rows: int,
        capacity: int,
        threads: int,
        graph: Path | None = None,
        keep: tuple[Path, str] | None = None,
    ) -> None:
        options = _options(threads)
        if keep is not None:
            _keep(options, *keep)
        try:
            self._session = onnxruntime.InferenceSession(
                str(graph or files.graph), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's errors have no other root
            raise RuntimeError(str(error)) from error
        kind, self._vocabulary, self._pruned = _contract(self._session, files)
        shape = (rows, files.decoder.kv_heads, capacity, files.decoder.head_size)
        names = [f"{layer}.{part}" for layer in range(files.decoder.layers) for part in ("key", "value")]
        self._cache = {name: _pages(shape, kind) for name in names}
        self._bindings: dict[tuple[int, int], Any] = {}
        most = max(rows, WHOLE_PIECE)
        self._tokens = np.zeros(most, np.int64)
        self._mask = np.zeros(rows * capacity, np.int64)
        self._scores = np.zeros((rows if self._pruned else most) * self._vocabulary, kind)
        self._places = np.arange(capacity)
        self._run_options = onnxruntime.RunOptions()
        self._run_options.log_severity_level = _ONLY_ERRORS + 1

    @property
    def cache(self) -> Sequence[NDArray[Any]]:
        """Every array of keys or values, [rows, heads, capacity, head size]."""
        return tuple(self._cache.values())

    def read(self, row: int, start: int, tokens: NDArray[np.int32]) -> NDArray[Any]:
        """The row holds these tokens from `start` on; returns the scores for the next one, [vocabulary].

        At most WHOLE_PIECE tokens. The result is valid until the next run.
        """
        scores: NDArray[Any] = self._run(row, tokens[None], np.array([start]))[0]
        return scores

    def step(self, first: int, tokens: NDArray[np.int32], lengths: NDArray[np.int32]) -> NDArray[Any]:
        """The rows from `first` on hold one token more each, at `lengths`; returns scores, [rows, vocabulary].

        The result is valid until the next run.
        """
        return self._run(first, tokens[:, None], lengths)

    def halt(self, stop: bool) -> None:
        """With true the run in progress ends within milliseconds, with an error; with false the next ones run again."""
        self._run_options.terminate = stop

    def _run(self, first: int, tokens: NDArray[np.int32], lengths: NDArray[Any]) -> NDArray[Any]:
        count, width = tokens.shape
        total = int(lengths.max()) + width
        binding = self._bindings.get((first, count)) or self._bind(first, count)
        self._tokens[: count * width] = tokens.ravel()
        mask = self._mask[: count * total].reshape(count, total)
        np.less(self._places[:total], (lengths + width)[:, None], out=mask, casting="unsafe")
        _give(binding.bind_input, "input_ids", self._tokens, (count, width))
        _give(binding.bind_input, "attention_mask", self._mask, (count, total))
        scored = 1 if self._pruned else width
        _give(binding.bind_output, "logits", self._scores, (count, scored, self._vocabulary))
        try:
            self._session.run_with_iobinding(binding, self._run_options)
        except Exception as error:  # onnxruntime's errors have no other root
            raise RuntimeError(str(error)) from error
        scores = self._scores[: count * scored * self._vocabulary]
        return scores.reshape(count, scored, self._vocabulary)[:, -1]

    def _bind(self, first: int, count: int) -> Any:
        binding = self._session.io_binding()
        for name, array in self._cache.items():
            rows = array[first : first + count]
            _give(binding.bind_input, f"past_key_values.{name}", rows, rows.shape)
            _give(binding.bind_output, f"present.{name}", rows, rows.shape)
        self._bindings[first, count] = binding
        return binding


def _pages(shape: tuple[int, ...], kind: Any) -> NDArray[Any]:
    """Zeros of the system, in small pages: memory is taken page by page, when a row grows into it.

    A huge page holds thousands of tokens of a head, and the first of them would take it.
    """
    memory = mmap.mmap(-1, math.prod(shape) * np.dtype(kind).itemsize, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a kernel that has none
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, kind).reshape(shape)


def _give(bind: Any, name: str, array: NDArray[Any], shape: tuple[int, ...]) -> None:
    bind(name, "cpu", 0, array.dtype, shape, array.ctypes.data)


def _options(threads: int) -> Any:
    """Threads that wait for the next operator of a run spin, which makes a step up to a tenth faster; after the run
    they would burn whole cores, and sleep. The thread count is always given, because left to itself the runtime ignores
    cpusets and quotas. Every run has other shapes: plans of memory for each would pile up.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.enable_mem_pattern = False
    options.log_severity_level = _ONLY_ERRORS
    return options


def _keep(options: Any, graph: Path, weights: str) -> None:
    options.optimized_model_filepath = str(graph)
    for name, value in (
        ("save_external_prepacked_constant_initializers", "1"),
        ("optimized_model_external_initializers_file_name", weights),
        ("optimized_model_external_initializers_min_size_in_bytes", "1024"),
    ):
        options.add_session_config_entry(f"session.{name}", value)


def _contract(session: Any, files: ModelFiles) -> tuple[Any, int, bool]:
    """Type of the cache, size of the vocabulary, whether only the last token is scored.

    Raises ConfigurationError for a graph with other inputs, outputs, types or shapes than this engine gives and takes.
    """
    layers, heads = files.decoder.layers, files.decoder.kv_heads
    parts = [f"{layer}.{part}" for layer in range(layers) for part in ("key", "value")]
    inputs = {one.name: one for one in session.get_inputs()}
    outputs = {one.name: one for one in session.get_outputs()}
    wanted = {"input_ids", "attention_mask", *(f"past_key_values.{part}" for part in parts)}
    given = {"logits", *(f"present.{part}" for part in parts)}
    for what, found, needed in (("inputs", set(inputs), wanted), ("outputs", set(outputs), given)):
        if found != needed:
            raise _other(files, f"its {what} differ by {', '.join(sorted(found ^ needed)[:4])}")
    caches = [inputs[f"past_key_values.{part}"] for part in parts] + [outputs[f"present.{part}"] for part in parts]
    kinds = {one.type for one in (*caches, outputs["logits"])}
    if len(kinds) != 1 or not kinds <= set(_TYPES):
        raise _other(files, f"its caches and scores are {', '.join(sorted(kinds))}")
    for one in caches:
        if len(one.shape) != 4 or one.shape[1] != heads:
            raise _other(files, f"{one.name} is {one.shape}, not [rows, {heads}, tokens, {files.decoder.head_size}]")
    for name in ("input_ids", "attention_mask"):
        if inputs[name].type != "tensor(int64)" or len(inputs[name].shape) != 2:
            raise _other(files, f"{name} is {inputs[name].type} {inputs[name].shape}, not int64 [rows, tokens]")
    scores = outputs["logits"].shape
    if len(scores) != 3 or scores[2] != files.decoder.vocabulary:
        raise _other(files, f"logits is {scores}, not [rows, tokens, {files.decoder.vocabulary}]")
    return _TYPES[kinds.pop()], files.decoder.vocabulary, scores[1] == 1


def _other(files: ModelFiles, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"{files.graph} is not a graph that this engine can run: {what}. Convert the model with phi4-edge again"
    )
