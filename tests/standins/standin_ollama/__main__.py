"""A stand-in for Ollama's program, where its own cannot be had: `ollama serve | list | ps | --version`.

It holds to what the real one does on the network and on the disk: paths, methods, statuses, error texts, NDJSON and
server-sent events, names and digests, blobs that it touches (so they must be its own), a GGUF that it checks and copies
when a model is created, a Go template that it parses, the environment variables, the key that it makes in HOME, and the
programs beside it in lib/ollama without which it neither creates nor answers. It needs Python 3.9 and nothing else.

A model is held by a process of its own, lib/ollama/llama-server, which is started by the first request that needs it,
takes as much memory for KV cache and kept prompts as the shape of the model says, and writes to the log what the real
one writes there: `runner.py` and `promptcache.py`. STANDIN_LOAD_SECONDS says how long loading takes.

It leaves out: inference (its words come from a hash, and a token is about four letters), prompts rendered from the
template (`prompts.py` renders Phi-4-mini's form), embeddings, images, thinking, `format`, logprobs, quantizing,
safetensors, split GGUF, adapters, pulls from a registry (it answers as a host without one), copy and push, and the
cloud. A GPU is a device node: where one is visible the whole model is said to be in its memory. With "Say exactly: " a
prompt gives the model its words, and with "for ever" it has the model come to no end.
"""

# ruff: noqa: T201, B905 - a program that prints, for Python 3.9
from __future__ import annotations

import json
import signal
import sys
import threading
import urllib.error
import urllib.request
from typing import Any

from . import settings, store
from .http import Server

COMMANDS = "serve create show run stop pull push signin signout list ps cp rm help"


def serve() -> int:
    """Serve until SIGTERM or SIGINT."""
    key = settings.home() / ".ollama" / "id_ed25519"
    try:
        if not key.exists():
            key.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            key.write_text("no key: a stand-in signs nothing\n")
            key.chmod(0o600)
        server = Server(settings.address())
        store.folder().mkdir(mode=0o755, parents=True, exist_ok=True)
        store.manifests()
    except OSError as error:
        print(f"Error: {error.strerror or error}: {error.filename or settings.address()}", file=sys.stderr)
        return 1
    if not settings.flag("OLLAMA_NOPRUNE"):
        store.prune()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    host, port = server.server_address[:2]
    print(f'level=INFO msg="Listening on {host!s}:{port} (version {settings.VERSION})"', file=sys.stderr, flush=True)
    server.serve_forever(poll_interval=0.1)
    server.server_close()
    return 0


def ask(path: str) -> dict[str, Any]:
    """What the server says. Raises OSError where there is none."""
    host, port = settings.connectable()
    shown = f"[{host}]" if ":" in host else host
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{shown}:{port}{path}", timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def table(rows: list[list[str]]) -> None:
    """Columns as wide as their longest cell."""
    wide = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    for row in rows:
        print("    ".join(cell.ljust(width) for cell, width in zip(row, wide)).rstrip())


def listed(command: str) -> int:
    """`ollama list` and `ollama ps`."""
    try:
        found = ask("/api/ps" if command == "ps" else "/api/tags")["models"]
    except OSError:
        print(
            "Error: ollama server not responding - could not connect to ollama server, run 'ollama serve' to start it"
        )
        return 1
    rows = [["NAME", "ID", "SIZE"]]
    rows += [[one["name"], one["digest"][:12], f"{one['size'] / 1e6:.0f} MB"] for one in found]
    table(rows)
    return 0


def version() -> int:
    """`ollama --version` speaks of the server first."""
    try:
        found = ask("/api/version")["version"]
        print(f"ollama version is {found}")
    except OSError:
        print("Warning: could not connect to a running Ollama instance")
        found = ""
    if found != settings.VERSION:
        print(f"Warning: client version is {settings.VERSION}")
    return 0


def main(arguments: list[str]) -> int:
    """Exit status of one command."""
    if arguments in (["--version"], ["-v"]):
        return version()
    command = arguments[0] if arguments else "help"
    if command in ("serve", "start"):
        return serve()
    if command in ("list", "ls", "ps"):
        return listed(command)
    if command not in COMMANDS.split():
        print(f'Error: unknown command "{command}" for "ollama"', file=sys.stderr)
        return 1
    print(f"Error: the stand-in has no {command}; it has serve, list, ps and --version", file=sys.stderr)
    return 1
