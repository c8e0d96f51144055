"""Contexts above 4096 tokens in the ONNX engine's loop: are pieces right, and is the step across 4096 a long one?

    build/engine/bin/python benchmarks/long_context.py MODEL [--context 8192] [--prompts 20]

MODEL is a folder of `onnx-int4-long`. Prompts of 3,000 tokens up to 7/8 of the context are read in pieces, as the
engine reads them, and by onnxruntime-genai in one piece; tokens must be equal, and the largest difference of the scores
is shown. Then a chat grows from below 4096 tokens to above, five times over, and the longest step is compared with the
median: a step is worth the least that it took, because other work on the machine makes some of them long. Ends with 1
where tokens differ.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "roles/onnx/files/engine/src"))
sys.path.insert(0, str(Path(__file__).parents[1] / "roles/onnx/files/engine/tests"))

import numpy as np
from phi4_engine import modeldir
from phi4_engine.loop.schedule import WHOLE_PIECE
from phi4_engine.loop.session import Session
from phi4_engine.modeldir import SHORT_CONTEXT
from reference import Reference

ANSWER, SHORTEST, AROUND, TURNS = 24, 3000, 200, 5


def in_pieces(session: Session, prompt: Any) -> Any:
    """The scores behind `prompt`."""
    for start in range(0, len(prompt), WHOLE_PIECE):
        scores = session.read(0, start, prompt[start : start + WHOLE_PIECE])
    return scores.copy()


def decoded(session: Session, scores: Any, length: int, tokens: int) -> tuple[list[int], list[float]]:
    """The greedy answer to what the row holds, and the seconds of each step."""
    made, spent = [int(scores.argmax())], list[float]()
    for at in range(length, length + tokens - 1):
        began = time.perf_counter()
        (scores,) = session.step(0, np.array([made[-1]], np.int32), np.array([at], np.int32))
        spent.append(time.perf_counter() - began)
        made.append(int(scores.argmax()))
    return made, spent


def compared(session: Session, reference: Reference, prompt: Any) -> tuple[bool, float]:
    """Whether both give the same answer, and the largest difference of their scores behind the prompt."""
    scores = in_pieces(session, prompt)
    generator = reference.generator()
    generator.append_tokens(prompt)
    whole = np.asarray(generator.get_logits()).reshape(-1)[-len(scores) :]
    answer, _ = decoded(session, scores, len(prompt), ANSWER)
    return answer == reference.greedy(prompt, ANSWER), float(np.abs(scores - whole).max())


def main(folder: Path, context: int, prompts: int) -> int:
    """Show all of it."""
    files, dice = modeldir.inspect(folder), np.random.default_rng(1)
    modeldir.require_context(files, context)
    session = Session(files, rows=1, capacity=context, threads=2)
    reference = Reference(folder, context_length=context, threads=2)
    lengths = dice.integers(SHORTEST, context * 7 // 8, prompts)
    made = [dice.integers(0, files.decoder.vocabulary * 9 // 10, int(length)).astype(np.int32) for length in lengths]
    found = [compared(session, reference, prompt) for prompt in made]
    equal = sum(same for same, _ in found)
    print(f"{equal} of {prompts} prompts of {lengths.min()} to {lengths.max()} tokens have the same answer in pieces")
    print(f"largest difference of a score: {max(difference for _, difference in found):.2g}")
    start, longer = SHORT_CONTEXT - AROUND, max(made, key=len)
    times = [decoded(session, in_pieces(session, longer[:start]), start, 2 * AROUND)[1] for _ in range(TURNS)]
    spent = [min(each) for each in zip(*times, strict=True)]
    middle, longest = statistics.median(spent), max(spent)
    print(
        f"steps from {start} to {start + 2 * AROUND} tokens: median {middle * 1000:.2f} ms, longest "
        f"{longest * 1000:.2f} ms, at {start + 1 + spent.index(longest)} tokens: {longest / middle:.1f} times"
    )
    return 0 if equal == prompts else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--context", type=int, default=8192)
    parser.add_argument("--prompts", type=int, default=20)
    given = parser.parse_args()
    sys.exit(main(given.model, given.context, given.prompts))
