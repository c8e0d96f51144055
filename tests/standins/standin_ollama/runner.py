"""The stand-in's llama-server: a process that holds one model's weights, its KV cache and the prompts that it keeps.

`llama-server --model FILE --port N --ctx-size N --parallel N --cache-type-k TYPE [--threads N]`, on loopback. It reads
the file, takes the KV cache that the model's shape says, and answers `GET /health` (503 while it loads, then 200) and
`POST /completion` (lines of JSON). It ends when the server that started it is gone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import mmap
import os
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from . import chatter, gguf, settings, words
from .promptcache import PromptCache, Slot, choose

Json = dict[str, Any]
PAGE = 4096
# A card that reads 1 GB/s, and half a second for what is done besides; STANDIN_LOAD_SECONDS says another time.
READ_PER_SECOND, LOAD_SECONDS = 1e9, 0.3
# ggml's bytes for 32 elements.
ELEMENTS = {"f16": 64, "q8_0": 34, "q4_0": 18}


def kv_bytes(found: gguf.Gguf, kind: str) -> int:
    """Bytes of keys and values for one token, from the shape in the file's metadata."""
    family = found.kv["general.architecture"]

    def number(key: str, default: int) -> int:
        value = found.kv.get(f"{family}.{key}", default)
        return int(value) if isinstance(value, int) else default

    layers, width = number("block_count", 1), number("embedding_length", 32)
    heads = max(1, number("attention.head_count", 1))
    kv_heads, size = number("attention.head_count_kv", heads), number("attention.key_length", width // heads)
    return max(1, 2 * layers * kv_heads * size * ELEMENTS.get(kind, 64) // 32)


class Held:
    """What the process holds. `ready` once all of it is there."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.threads = options.threads or settings.number("LLAMA_ARG_THREADS", os.cpu_count() or 1)
        self.cache = PromptCache(settings.cache_ram())
        self.lock = threading.Lock()
        self.slots = [Slot() for _ in range(options.parallel)]
        self.ready = False

    def load(self) -> None:
        """Weights are mapped and read page by page, the KV cache is taken and written."""
        began = time.monotonic()
        with Path(self.options.model).open("rb") as stream:
            found = gguf.Gguf(stream)
            self.weights = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        chatter.loading(found, self.options, self.threads, self.cache.limit)
        size = len(self.weights)
        for offset in range(0, size, PAGE):
            self.weights[offset]
        self.per_token = kv_bytes(found, self.options.cache_type_k)
        # Written, not only promised: a page that nobody wrote takes no memory.
        self.kv = b"\x01" * (self.per_token * self.options.ctx_size)
        wanted = settings.var("STANDIN_LOAD_SECONDS")
        longest = float(wanted) if wanted else LOAD_SECONDS + size / READ_PER_SECOND
        time.sleep(max(0.0, longest - (time.monotonic() - began)))
        self.ready = True
        chatter.loaded(self.options)

    @property
    def context(self) -> int:
        """Tokens of one sequence."""
        return int(self.options.ctx_size) // len(self.slots)

    def complete(self, request: Json) -> Iterator[Json]:
        """Pieces of an answer, the last one `done` with the counts."""
        prompt = cut(words.split(request["prompt"]), self.context, request.get("num_keep", 4))
        with self.lock:
            slot = choose(self.slots, prompt)
            slot.busy = True
            slot.take(prompt, self.cache, self.per_token)
        chatter.request(len(prompt))
        said, reason = 0, "stop"
        shift = request.get("shift", True)
        room = self.context - len(prompt)
        most = 10 * self.context if shift else room
        limit = request.get("num_predict", -1)
        limit = most if limit < 0 else min(limit, most)
        try:
            for piece in words.tokens(request["seed"], request["stop"], request["text"], request["endless"]):
                if said == limit:
                    reason = "length"
                    break
                said += 1
                yield {"text": piece, "done": False}
                # A moment for each token, so that a stream is a stream and two requests can meet.
                time.sleep(0.002)
        finally:
            with self.lock:
                slot.busy = False
                slot.used = time.monotonic()
                slot.tokens = [*prompt, *["said"] * min(said, room)]
        chatter.answered(len(prompt), said)
        yield {"text": "", "done": True, "reason": reason, "prompted": len(prompt), "said": said}


def cut(prompt: list[str], context: int, keep: int) -> list[str]:
    """A prompt that the context does not hold loses its middle, in blocks of half of what it may lose."""
    if len(prompt) < context:
        return prompt
    keep = max(0, min(keep, context - 4))
    block = max(1, (context - keep) // 2)
    lost = -(-(len(prompt) - context + 1) // block) * block
    chatter.warn(f"input truncated, n_ctx = {context}, n_keep = {keep}, n_left = {context - keep}")
    return prompt[:keep] + prompt[keep + lost :]


class Handler(BaseHTTPRequestHandler):
    """One connection of the server that started us."""

    protocol_version = "HTTP/1.1"
    held: Held

    def do_GET(self) -> None:
        if self.held.ready:
            self.reply(200, {"status": "ok"})
        else:
            self.reply(503, {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}})

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        answers = self.held.complete(request)
        # A client that is gone ends its answer.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError), contextlib.closing(answers):
            for piece in answers:
                self.wfile.write(json.dumps(piece).encode() + b"\n")
                self.wfile.flush()

    def reply(self, status: int, document: Json) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Its chatter is written elsewhere."""


def main(arguments: list[str]) -> int:
    """Serve until stdin ends."""
    parser = argparse.ArgumentParser("llama-server")
    parser.add_argument("--model", required=True)
    for name in ("--port", "--ctx-size", "--parallel"):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--cache-type-k", default="f16")
    held = Held(parser.parse_args(arguments))
    Handler.held = held
    server = ThreadingHTTPServer(("127.0.0.1", held.options.port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def load() -> None:
        try:
            held.load()
        except (OSError, ValueError, MemoryError, gguf.GgufError) as error:
            chatter.failed(f"error loading model: {error}")
            os._exit(1)

    threading.Thread(target=load, daemon=True).start()
    sys.stdin.buffer.read()
    return 0
