"""B13 to B15: our ONNX engine beside llama.cpp's server, over HTTP, on random weights of the same shape, in turns.

    .venv/bin/python benchmarks/bench_serving.py [--pairs 5] [--threads 2] [--model FOLDER]

The model is what `mid_shape.py` makes, or `full_shape.py`; llama-server gets Q4_0 of the same layers, with the
embedding in Q6_K, as llama-quantize leaves it. Both serve all the time and are asked in turns, the other one first each
time; the one that is not asked rests. Prompts are token numbers, answers greedy. A rate of decoding is that of the
tokens between an answer of one token and one of many, both to a prompt that was read before. It needs `make test`'s
environment of the engine, a compiler and CMake (or --server).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import harness
import prompt_cache
import random_gguf
import verdict
from servers import Server, free_port, serving

from phi4_edge.artifacts.convert import environment
from phi4_edge.artifacts.store.store import Store

ROOT = Path(__file__).resolve().parents[1]
ENGINE, ENGINE_PYTHON = ROOT / "roles/onnx/files/engine/src", ROOT / "build/engine/bin/python"
START = [ENGINE_PYTHON, "-m", "phi4_engine"]
OURS, THEIRS = "phi4-edge", "llama-server"
ROWS, CONTEXT = 4, 2048
FULL = 32  # layers of Phi-4-mini
SHORT, ANSWER, LONG, PREFIX, TAIL = 64, 48, 1536, 500, 16
LEAST_WORD = 3000  # below it are the ends of a turn, and the few words of the tiny model
HEALTH_GAP, REST, IDLE = 0.02, 2.0, 5.0
MIB = 1 << 20


def words(chance: random.Random, vocabulary: int, count: int) -> list[int]:
    return [chance.randrange(LEAST_WORD, vocabulary) for _ in range(count)]


def turn(server: Server, fresh: Callable[[int], list[int]]) -> dict[str, float]:
    """Every measure of time once. Rates are tokens per second."""
    prompts = [fresh(SHORT) for _ in range(ROWS)]
    for prompt in prompts:
        server.asked(prompt, 1)
    one = server.asked(prompts[0], 1 + ANSWER) - server.asked(prompts[0], 1)
    four = server.together(prompts, 1 + ANSWER) - server.together(prompts, 1)
    shared = fresh(PREFIX)
    first, second = (server.asked(shared + fresh(TAIL), 1) for _ in range(2))
    return {
        "one stream, tokens/s": ANSWER / one,
        "four streams, tokens/s": ROWS * ANSWER / four,
        "four streams / one": ROWS * one / four,
        f"prompt of {LONG} tokens, tokens/s": LONG / server.asked(fresh(LONG), 1),
        f"first token after {PREFIX} shared / the first time": second / first,
        "/health while it reads and decodes, p99 ms": 1000 * _busy(server, fresh),
    }


def _busy(server: Server, fresh: Callable[[int], list[int]]) -> float:
    """The 99th of a hundred looks at its health while three decode and a long prompt is read."""
    ends, looks = threading.Event(), []

    def look() -> None:
        while not ends.is_set():
            looks.append(server.looked())
            time.sleep(HEALTH_GAP)

    watching = threading.Thread(target=look)
    watching.start()
    try:
        with ThreadPoolExecutor(ROWS) as pool:
            jobs = [pool.submit(server.asked, fresh(SHORT), 1 + ANSWER) for _ in range(ROWS - 1)]
            jobs.append(pool.submit(server.asked, fresh(LONG), 1))
            for job in jobs:
                job.result()
    finally:
        ends.set()
        watching.join()
    return statistics.quantiles(looks, n=100)[98]


def settings(model: Path, threads: int, port: int) -> dict[str, str]:
    """What ours is started with."""
    return {
        "PYTHONPATH": str(ENGINE), "PHI4_MODEL_DIR": str(model), "PHI4_PORT": str(port), "PHI4_PARALLEL": str(ROWS),
        "PHI4_CONTEXT_LENGTH": str(CONTEXT), "PHI4_THREADS": str(threads), "PHI4_MODEL_NAME": "m",
    }  # fmt: skip


def repacked(model: Path, threads: int, work: Path) -> tuple[float, float]:
    """MiB of memory of no file of our model process after an answer: with its weights in a mapped file, and without."""
    port, found = free_port(), []
    plain = settings(model, threads, port)
    with tempfile.TemporaryDirectory(dir=work) as folder:
        command = [ENGINE_PYTHON, "-m", "phi4_engine.repacked", model, folder, str(threads)]
        subprocess.run(command, env={**os.environ, **plain}, check=True, stdout=subprocess.DEVNULL)
        for own in ({"PHI4_REPACKED": folder}, {}):
            with serving(OURS, START, {**plain, **own}, port, work / "repacked.log", {}) as server:
                found.append(server.memory([pid for pid in server.tree() if pid != server.process.pid])[0] / MIB)
    mapped, whole = found
    return mapped, whole


@contextlib.contextmanager
def both(model: Path, gguf: Path, program: Path, threads: int, work: Path) -> Iterator[tuple[Server, Server]]:
    """Ours and theirs."""
    port, other = free_port(), free_port()
    theirs = [
        program, "--model", gguf, "--port", other, "--parallel", ROWS, "--ctx-size", ROWS * CONTEXT,
        "--threads", threads, "--threads-batch", threads,
    ]  # fmt: skip
    never = {"ignore_eos": True}
    with (
        serving(OURS, START, settings(model, threads, port), port, work / "ours.log", {}) as first,
        serving(THEIRS, theirs, {}, other, work / "theirs.log", never) as second,
    ):
        yield first, second


def rested(server: Server) -> dict[str, float]:
    """What it takes when it has nothing to do."""
    time.sleep(REST)
    anonymous, files = server.memory()
    before = server.ticks()
    time.sleep(IDLE)
    idle = (server.ticks() - before) / IDLE
    return {
        "memory of no file, MiB": anonymous / MIB,
        "memory of files, MiB": files / MIB,
        "at rest, % of a core": 100 * idle,
    }


def shape_of(model: Path) -> random_gguf.Shape:
    """The GGUF that is like this model."""
    told = json.loads((model / "genai_config.json").read_text(encoding="utf-8"))["model"]
    decoder = told["decoder"]
    sizes = (decoder["num_hidden_layers"], decoder["hidden_size"], decoder["num_attention_heads"])
    head = decoder["head_size"]
    rest = (decoder["num_key_value_heads"], head, 8192, told["vocab_size"], head * 3 // 4)
    return random_gguf.Shape(*sizes, *rest, embedding=random_gguf.Q6_K)


def document(
    sides: Sequence[Server], packed: tuple[float, float], shape: random_gguf.Shape, turns: int
) -> dict[str, Any]:
    """Rows of medians, and the goals. `packed`: what `repacked` found."""
    ours, theirs = (side.samples for side in sides)
    rows, ratios = [], {}
    for what in ours:
        found = [a / b for a, b in zip(ours[what], theirs[what], strict=True) if b]
        ratios[what] = statistics.median(found) if found else 0.0
        span = f"{ratios[what]:.2f} ({min(found):.2f} to {max(found):.2f})" if found else "-"
        rows.append({
            "": what, **{side.name: f"{statistics.median(side.samples[what]):.4g}" for side in sides}, "ratio": span,
        })  # fmt: skip
    for what, value in zip(("mapped weights", "weights in memory"), packed, strict=True):
        rows.append({"": f"model process with {what}, memory of no file, MiB", OURS: f"{value:.4g}", THEIRS: "-",
                     "ratio": "-"})  # fmt: skip
    one, four, gain, long, prefix, health = list(ours)[:6]
    layers = f"{shape.layers} layers"
    limits = [
        verdict.Limit(f"{one}: ours / theirs, {layers}", ratios[one], 1.0, at_least=True),
        verdict.Limit(f"{four}: ours / theirs, {layers}", ratios[four], 1.0, at_least=True),
        verdict.Limit(f"{long}: ours / theirs, {layers}", ratios[long], 1.0, at_least=True),
        verdict.Limit(f"{gain}, {layers}", statistics.median(ours[gain]), 2.5, at_least=True),
        verdict.Limit(f"{prefix}, {layers}", statistics.median(ours[prefix]), 0.25),
        verdict.Limit(f"{health}, {layers}", statistics.median(ours[health]), 50.0, " ms"),
        verdict.Limit(f"memory of no file, mapped weights / weights in memory, {layers}", packed[0] / packed[1], 0.15),
    ]
    verdict.show_limits(limits, full=True)
    title = f"B13 to B15 serving, {shape.layers} of {FULL} layers, {turns} turn{'s'[: turns != 1]}"
    return {"title": title, "hosts": 0, "full": True, "rows": rows, "limits": verdict.limits_document(limits, True)}


def made(folder: Path, store: Store) -> Path:
    """The mid shape, made on first use by the converter's environment."""
    if not (folder / "mid" / "tokenizer_config.json").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        python = environment.ensure(store).python
        subprocess.run([python, Path(__file__).with_name("mid_shape.py"), folder], check=True, stdout=sys.stderr)
    return folder / "mid"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a folder of mid_shape.py or full_shape.py, instead of making one")
    parser.add_argument("--pairs", type=int, default=5, help="counted turns of each side")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--server", type=Path, help="llama-server of your own, instead of building one")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "bench" / "serving")
    chosen = parser.parse_args()
    chosen.work.mkdir(parents=True, exist_ok=True)
    store = Store()
    model = chosen.model or made(chosen.work / "shape", store)
    shape, gguf = shape_of(model), chosen.work / "model.gguf"
    random_gguf.write(gguf, shape)
    chance = random.Random(7)
    try:
        program = chosen.server or prompt_cache.built(store)
        with both(model, gguf, program, chosen.threads, chosen.work) as sides:
            for number in range(chosen.pairs + 1):
                for side in sides if number % 2 else reversed(sides):
                    found = turn(side, lambda count: words(chance, shape.words, count))
                    for what, value in found.items() if number else ():
                        side.samples.setdefault(what, []).append(value)
                    print(f"  {number} {side.name}: {', '.join(f'{value:.3g}' for value in found.values())}",
                          file=sys.stderr)  # fmt: skip
            for side in sides:
                side.samples |= {what: [value] for what, value in rested(side).items()}
    finally:
        gguf.unlink(missing_ok=True)
    packed = repacked(model, chosen.threads, chosen.work)
    whole = document(sides, packed, shape, chosen.pairs)
    verdict.table([tuple(whole["rows"][0]), *(tuple(map(str, row.values())) for row in whole["rows"])])
    verdict.write("serving" if shape.layers < FULL else "serving-full", whole)


if __name__ == "__main__":
    harness.start(main)
