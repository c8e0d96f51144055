"""What llama-server writes to stderr at the fixed verbosity that Ollama starts it with; its form, not its content."""

from __future__ import annotations

import argparse
import sys
import time

from . import gguf

STARTED = time.monotonic()
# About as many lines as were counted with the real one.
LOAD_LINES, REQUEST_LINES = 200, 60


def line(text: str, level: str = "I") -> None:
    """One line as llama.cpp's log has it: minutes, seconds, milliseconds, microseconds, level."""
    micro = int((time.monotonic() - STARTED) * 1e6)
    clock = f"{micro // 60_000_000}.{micro // 1_000_000 % 60:02d}.{micro // 1000 % 1000:03d}.{micro % 1000:03d}"
    sys.stderr.write(f"{clock} {level} {text}\n")


def warn(text: str) -> None:
    line(f"srv    operator(): {text}", "W")
    sys.stderr.flush()


def failed(text: str) -> None:
    line(f"srv    load_model: {text}", "E")
    sys.stderr.flush()


def loading(found: gguf.Gguf, options: argparse.Namespace, threads: int, cache: int) -> None:
    """What is said while a model is loaded."""
    line(f"system_info: n_threads = {threads} (n_threads_batch = {threads}) / {threads} | CPU : LLAMAFILE = 1 |")
    line(f"srv    load_model: loading model '{options.model}'")
    said = 4
    for number, key in enumerate(list(found.kv)[:40]):
        line(f"llama_model_loader: - kv {number:3d}: {key:>40} = {str(found.kv[key])[:40]!r}")
        said += 1
    line(f"llama_context: n_ctx = {options.ctx_size}")
    if cache:
        limit = "no limit" if cache < 0 else f"{cache >> 20} MiB"
        line(f"srv    load_model: prompt cache is enabled, size limit: {limit}")
    else:
        line("srv    load_model: prompt cache is disabled - use `--cache-ram N` to enable it")
    for number in range(LOAD_LINES - said):
        line(f"load_tensors: layer {number:3d} assigned to device CPU, is_swa = 0")
    sys.stderr.flush()


def loaded(options: argparse.Namespace) -> None:
    line(f"main: server is listening on http://127.0.0.1:{options.port} - starting the main loop")
    line("srv  update_slots: all slots are idle")
    sys.stderr.flush()


def request(tokens: int) -> None:
    """What is said before an answer."""
    for number in range(REQUEST_LINES - 4):
        line(f"slot print_timing: id  0 | task {number} | prompt processing, n_tokens = {tokens}")
    sys.stderr.flush()


def answered(tokens: int, said: int) -> None:
    """What is said behind it."""
    line(f"slot print_timing: id  0 | task 0 | prompt eval time = 1.00 ms / {tokens:5d} tokens")
    line(f"slot print_timing: id  0 | task 0 |        eval time = 1.00 ms / {said:5d} tokens")
    line("slot      release: id  0 | task 0 | stop processing: truncated = 0")
    line("srv  update_slots: all slots are idle")
    sys.stderr.flush()
