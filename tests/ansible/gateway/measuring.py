"""The modules that measure prompts, and a process of ours that does so at a socket until the end of a block."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.ansible.plays import ROOT
from tests.standins import ollama_store

sys.path.insert(0, str(ROOT / "roles" / "gateway" / "files"))
import measure
import measure_count
import measure_gguf
import measure_model
import measure_prompt
import measure_tools

__all__ = [
    "FILES", "measure", "measure_count", "measure_gguf", "measure_model", "measure_prompt", "measure_tools", "serving",
]  # fmt: skip

FILES = ROOT / "roles" / "gateway" / "files"


@contextlib.contextmanager
def serving(folder: Path, context: int) -> Iterator[Path]:
    """The socket of what measures prompts for the tiny model, called tiny, with a context of so many tokens."""
    ollama_store.model(folder / "store", "tiny")
    socket = folder / "measure.sock"
    server = measure.Server(str(socket), measure.Measure(str(folder / "store"), context))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield socket
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        socket.unlink()
