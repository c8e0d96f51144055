"""B16: the ONNX engine's decode loop against onnxruntime-genai's Generator, in one process, in turns.

    .venv/bin/python benchmarks/bench_decode.py [--pairs 9] [--threads 2] [--model FOLDER]

What is loaded second was up to 10 % faster, whichever of the two it was, so `decode_loop.py` runs in both orders, and a
ratio is the geometric mean of both. It needs `make test`'s environment of the engine; the model is the mid shape, or
what --model names.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import harness
import verdict
from bench_serving import ENGINE_PYTHON, ROOT, made

from phi4_edge.artifacts.store.store import Store

ORDERS = {"the loop first": (), "the Generator first": ("--generator-first",)}
MEASURES = {"one stream: loop / Generator": "one stream", "four streams / one": "four streams",
            "reading a prompt: loop / Generator": "reading"}  # fmt: skip


def run(model: Path, threads: int, turns: int, *order: str) -> dict[str, Any]:
    """What `decode_loop.py` says, with weights in huge pages on both sides, as the engine has them."""
    command = [ENGINE_PYTHON, Path(__file__).with_name("decode_loop.py"), model]
    words = ["--threads", str(threads), "--turns", str(turns), *order]
    environ = {**os.environ, "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
    done = subprocess.run([*command, *words], env=environ, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def document(found: dict[str, dict[str, Any]], turns: int) -> dict[str, Any]:
    """A row for each measure, of elapsed time, and the goals."""
    rows, means = [], {}
    for told, name in MEASURES.items():
        each = {order: one["elapsed"][name] for order, one in found.items()}
        means[told] = statistics.geometric_mean(each.values())
        rows.append(
            {"": told, **{order: f"{ratio:.3f}" for order, ratio in each.items()}, "both": f"{means[told]:.3f}"}
        )
    one, four, reading = MEASURES
    limits = [
        verdict.Limit(one, means[one], 0.95, at_least=True),
        verdict.Limit(f"{four}, in one process", means[four], 2.5, at_least=True),
        verdict.Limit(reading, means[reading], 0.95, at_least=True),
    ]
    verdict.show_limits(limits, full=True)
    title = f"B16 decode loop, 4 of 32 layers, {turns} turns in each order"
    return {"title": title, "hosts": 0, "full": True, "rows": rows, "limits": verdict.limits_document(limits, True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a folder of mid_shape.py, instead of making one")
    parser.add_argument("--pairs", type=int, default=9, help="counted turns in each order")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    chosen = parser.parse_args()
    model = chosen.model or made(ROOT / "build" / "bench" / "serving" / "shape", Store())
    found = {}
    for name, order in ORDERS.items():
        found[name] = run(model, chosen.threads, chosen.pairs, *order)
        print(f"  {name}: {found[name]['elapsed']}", file=sys.stderr)
    whole = document(found, chosen.pairs)
    verdict.table([tuple(whole["rows"][0]), *(tuple(row.values()) for row in whole["rows"])])
    verdict.write("decode", whole)


if __name__ == "__main__":
    harness.start(main)
