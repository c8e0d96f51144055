"""What llama-server takes beside weights and KV cache, under the limit that a plan gives it, and under none of its own.

A model of random weights has Phi-4-mini's proportion of KV cache to weights. In a memory cgroup with the planned limit
it is asked twelve different prompts of three quarters of the context, once as llama-server is by itself, and once with
the planned LLAMA_ARG_CACHE_RAM. It needs root, a compiler and CMake (or --server), and some minutes.

    .venv/bin/python benchmarks/prompt_cache.py
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import random_gguf

from phi4_edge.artifacts.convert import llamacpp
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core.plan.prompt_cache import HEADROOM
from phi4_edge.data import load_catalog

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).with_name("results")
# KV cache and weights both grow with the layers, of which a run may have fewer or more.
LAYERS, WIDTH, HEADS, KV_HEADS, HEAD, FFN, WORDS, CONTEXT = 16, 1024, 8, 4, 128, 3840, 8192, 1024
KV_CACHE_OF_LAYER = 2 * KV_HEADS * HEAD * 2 * CONTEXT
PROMPTS, ANSWER = 12, 8
MIB = 1 << 20
MOST = 1.05
OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release", "BUILD_SHARED_LIBS": "OFF", "GGML_OPENMP": "OFF", "LLAMA_CURL": "OFF",
    "LLAMA_OPENSSL": "OFF", "LLAMA_BUILD_TESTS": "OFF", "LLAMA_BUILD_EXAMPLES": "OFF", "LLAMA_BUILD_SERVER": "ON",
    "LLAMA_BUILD_UI": "OFF", "LLAMA_USE_PREBUILT_UI": "OFF",
}  # fmt: skip


def built(store: Store) -> Path:
    """llama-server out of the pinned sources."""
    sources = llamacpp.sources(store)
    folder = store.root / "environments" / f"llama-server-{llamacpp.SHA256[:16]}"
    program = folder / "bin" / "llama-server"
    if not program.is_file():
        options = [f"-D{name}={value}" for name, value in OPTIONS.items()]
        subprocess.run(["cmake", "-S", str(sources), "-B", str(folder), *options], check=True, stdout=sys.stderr)
        jobs = str(os.cpu_count() or 1)
        build = ["cmake", "--build", str(folder), "--target", "llama-server", "--parallel", jobs]
        subprocess.run(build, check=True, stdout=sys.stderr)
    return program


class Group:
    """A memory cgroup, of version 1 or 2, with a limit in bytes; 0: none."""

    def __init__(self, name: str, limit: int) -> None:
        root = Path("/sys/fs/cgroup")
        self.old = (root / "memory").is_dir()
        self.folder = (root / "memory" if self.old else root) / name
        self.folder.mkdir()
        if limit:
            self.file("memory.limit_in_bytes", "memory.max").write_text(str(limit))

    def file(self, old: str, new: str) -> Path:
        return self.folder / (old if self.old else new)

    @property
    def peak(self) -> int:
        """The most that it held, page cache included."""
        return int(self.file("memory.max_usage_in_bytes", "memory.peak").read_text())

    @property
    def held(self) -> int:
        """What it holds without the page cache of files, which is given back when it is wanted."""
        rows = (line.split() for line in (self.folder / "memory.stat").read_text().splitlines())
        found = {name: int(value) for name, value in rows}
        return found["total_rss"] if self.old else found["anon"]

    def close(self) -> None:
        for _ in range(100):
            with contextlib.suppress(OSError):
                self.folder.rmdir()
                return
            time.sleep(0.1)


@dataclass
class Run:
    """One server under one limit."""

    name: str
    limit: int
    cache_mib: int | None
    answered: int = 0
    killed: bool = False
    peak: int = 0
    held: list[int] = field(default_factory=list)


def asked(port: int, number: int, length: int) -> None:
    """One prompt that begins like no other. Raises OSError when the server is gone."""
    chance = random.Random(number)
    body = {"prompt": [chance.randrange(1, WORDS) for _ in range(length)], "n_predict": ANSWER, "temperature": 0}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/completion", json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=900) as answer:
        found = json.load(answer)
    if found["tokens_evaluated"] != length:
        raise SystemExit(f"asked {length} tokens, {found['tokens_evaluated']} were read")


@contextlib.contextmanager
def serving(
    program: Path, model: Path, group: Group, cache_mib: int | None, log: Path
) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Port and process of a server in the group that has loaded its model."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = {} if cache_mib is None else {"LLAMA_ARG_CACHE_RAM": str(cache_mib)}
    environment = {"PATH": os.environ["PATH"], "LLAMA_ARG_THREADS": str(os.cpu_count() or 1), **own}
    words = ["--model", model, "--port", port, "--ctx-size", CONTEXT, "--parallel", 1, "--log-verbosity", 4]
    # The shell puts itself into the group, and becomes the server.
    enter = ["sh", "-c", 'echo $$ > "$0" && exec "$@"', group.folder / "cgroup.procs", program]
    with log.open("wb") as stream:
        process = subprocess.Popen([*map(str, (*enter, *words))], env=environment, stdout=stream, stderr=stream)
    try:
        for _ in range(600):
            if process.poll() is not None:
                raise SystemExit(f"llama-server ended with {process.returncode}: {log.read_text()[-2000:]}")
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                break
            time.sleep(0.5)
        yield port, process
    finally:
        process.kill()
        process.wait()


def measured(program: Path, model: Path, run: Run, prompts: int, work: Path) -> Run:
    """The run with what became of it."""
    group = Group(f"phi4-edge-bench-{os.getpid()}", run.limit)
    try:
        with serving(program, model, group, run.cache_mib, work / f"{run.name}.log") as (port, process):
            for number in range(prompts):
                try:
                    asked(port, number, CONTEXT * 3 // 4)
                except (OSError, urllib.error.URLError):
                    run.killed = process.wait(30) == -9
                    break
                run.answered += 1
                run.held.append(group.held)
                print(f"  {run.name}: prompt {number + 1}, {group.held / MIB:.0f} MiB", file=sys.stderr)
            run.peak = group.peak
    finally:
        group.close()
    return run


def judged(program: Path, model: Path, kv_cache: int, work: Path) -> int:
    """Print and keep the figures; 0 when they are what the plan promises."""
    weights, contexts = model.stat().st_size, load_catalog().engines["ollama"].prompt_cache
    # What a model of this shape takes beside weights and KV cache; the catalog's figure is that of the full shape.
    bare = measured(program, model, Run("without", 0, 0), 2, work)
    overhead = max(bare.held) - weights - kv_cache
    need = weights + kv_cache + overhead
    cache = contexts * kv_cache // MIB
    limit = int(need * HEADROOM) + cache * MIB
    print(
        f"weights {weights / MIB:.0f} + KV cache {kv_cache / MIB:.0f} + overhead {overhead / MIB:.0f} "
        f"+ kept prompts {cache} MiB; limit {limit / MIB:.0f} MiB; {PROMPTS} prompts of {CONTEXT * 3 // 4} tokens"
    )
    runs = [
        measured(program, model, Run("as it is", limit, None), PROMPTS, work),
        measured(program, model, Run("as planned", limit, cache), PROMPTS, work),
    ]
    for run in runs:
        end = "killed" if run.killed else "served all" if run.answered == PROMPTS else "ended"
        most = max(run.held, default=0)
        share = most / (need + cache * MIB)
        print(
            f"{run.name:10}  {end:10}  {run.answered:2d} answered  {most / MIB:.0f} MiB held, {share:.2f} of the plan"
        )
    RESULTS.mkdir(exist_ok=True)
    kept = {"plan": need + cache * MIB, "limit": limit, "runs": [run.__dict__ for run in (bare, *runs)]}
    (RESULTS / "prompt_cache.json").write_text(json.dumps(kept, indent=1) + "\n")
    plain, planned = runs
    held = max(planned.held, default=0) <= (need + cache * MIB) * MOST
    return 0 if plain.killed and planned.answered == PROMPTS and held else 1


def main() -> int:
    """Exit status: 0 when the planned limit kills it without the planned setting, and never with it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", type=Path, help="llama-server of your own, instead of building one")
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "bench" / "prompt_cache")
    chosen = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("only root makes a memory cgroup")
    chosen.work.mkdir(parents=True, exist_ok=True)
    model = chosen.work / "model.gguf"
    shape = random_gguf.Shape(chosen.layers, WIDTH, HEADS, KV_HEADS, HEAD, FFN, WORDS, rotary=HEAD)
    random_gguf.write(model, shape)
    try:
        return judged(chosen.server or built(Store()), model, chosen.layers * KV_CACHE_OF_LAYER, chosen.work)
    finally:
        model.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
