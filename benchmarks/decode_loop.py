"""The ONNX engine's decode loop against onnxruntime-genai's Generator, in one process, in turns: ratios, not times.

    build/engine/bin/python benchmarks/decode_loop.py MODEL [--threads 2] [--turns 9]

MODEL is a folder of an ONNX model: the tiny one, `mid_shape.py`'s or `full_shape.py`'s tied. Each turn decodes one
stream with the Generator, one with the loop and four with the loop, and reads a prompt of 256 tokens with both; the
ratios are medians over the turns, of elapsed time and of processor time. The second is steadier on a busy machine.
What is loaded second was 10 to 20 % faster, whichever of the two it was: run it both ways, with --generator-first.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "roles/onnx/files/engine/src"))
sys.path.insert(0, str(Path(__file__).parents[1] / "roles/onnx/files/engine/tests"))

import numpy as np
from phi4_engine import modeldir
from phi4_engine.loop.decode import Answer, DecodeLoop
from phi4_engine.loop.rows import Rows
from phi4_engine.loop.sampling import Sampler
from phi4_engine.loop.schedule import Schedule
from phi4_engine.loop.session import Session
from reference import Reference

ROWS, CAPACITY, STEPS, PROMPT, LONG = 4, 512, 24, 48, 256
GOALS = {"one stream": 0.95, "four streams": 2.5}


class Spent:
    """Seconds, elapsed and of the processor."""

    def __init__(self, work: Callable[[], None]) -> None:
        began, used = time.perf_counter(), time.process_time()
        work()
        self.elapsed, self.used = time.perf_counter() - began, time.process_time() - used


def loop_of(session: Session, prompts: list[Any]) -> DecodeLoop:
    """A loop in which all of them decode from now on."""
    loop = DecodeLoop(session, Rows(session.cache, reuse=0), Schedule())
    for number, prompt in enumerate(prompts):
        loop.add(Answer(str(number), prompt, Sampler(0.0, 1.0)))
    while len(loop.advance()) < len(prompts):
        pass
    return loop


def steps(advance: Callable[[], object]) -> Spent:
    """So many steps."""

    def work() -> None:
        for _ in range(STEPS):
            advance()

    return Spent(work)


def turn(session: Session, reference: Reference, prompts: list[Any], long: Any) -> dict[str, Spent]:
    """Each of them once."""
    generator = reference.generator()
    generator.append_tokens(prompts[0])
    generator.generate_next_token()
    fresh = reference.generator()

    def read() -> None:
        for start in range(0, LONG, 128):
            session.read(0, start, long[start : start + 128])

    def append() -> None:
        for start in range(0, LONG, 128):
            fresh.append_tokens(long[start : start + 128])

    return {
        "generator": steps(generator.generate_next_token),
        "one": steps(loop_of(session, prompts[:1]).advance),
        "four": steps(loop_of(session, prompts).advance),
        "generator reads": Spent(append),
        "loop reads": Spent(read),
    }


def ratios(turns: list[dict[str, Spent]], field: str) -> dict[str, float]:
    """How many times as fast as what it is compared with; the median of the turns' own ratios."""

    def median(base: str, other: str, times: int = 1) -> float:
        found = [times * getattr(one[base], field) / getattr(one[other], field) for one in turns]
        return round(statistics.median(found), 3)

    return {
        "one stream": median("generator", "one"),
        "four streams": median("one", "four", ROWS),
        "reading": median("generator reads", "loop reads"),
    }


def main() -> None:
    """Prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--generator-first", action="store_true", help="load that one first")
    options = parser.parse_args()
    files = modeldir.inspect(options.model)

    def loop() -> Session:
        return Session(files, rows=ROWS, capacity=CAPACITY, threads=options.threads)

    def generator() -> Reference:
        return Reference(options.model, context_length=CAPACITY, threads=options.threads)

    if options.generator_first:
        reference, session = generator(), loop()
    else:
        session, reference = loop(), generator()
    words = np.random.default_rng(1).integers(0, 1900, (ROWS + 6, PROMPT)).astype(np.int32)
    prompts, long = list(words[:ROWS]), words[ROWS:].ravel()[:LONG]
    turn(session, reference, prompts, long)
    turns = [turn(session, reference, prompts, long) for _ in range(options.turns)]
    used, elapsed = ratios(turns, "used"), ratios(turns, "elapsed")
    milliseconds = {
        name: round(min(one[name].used for one in turns) * 1000 / STEPS, 2) for name in ("generator", "one", "four")
    }
    document = {
        "threads": options.threads,
        "turns": options.turns,
        "processor time": used,
        "elapsed": elapsed,
        "least processor milliseconds of a step": milliseconds,
        "goals": GOALS,
    }
    sys.stdout.write(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
