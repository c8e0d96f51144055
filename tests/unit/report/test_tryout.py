"""What people see of engines that were tried: the table, the fastest of each host, and what did not go well."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.report import tryout
from phi4_edge.report.text import cells

GOLDEN = Path(__file__).parent / "golden"
FIGURES = {
    "decode": 9.52,
    "streams_decode": 15.1,
    "prefill": 41.2,
    "first_cold": 5.213,
    "memory": 4_750_000_000,
    "accelerator": "cpu",
}


def row(host: str, engine: str, quantization: str, bits: int, decode: float | None, **changes: Any) -> dict[str, Any]:
    calls = {"well_formed": 2, "asked": 2} if decode else None
    seconds = changes.pop("seconds", 73.4)
    return {
        **{
            "host": host,
            "engine": engine,
            "quantization": quantization,
            "outcome": "done",
            "reason": None,
            "notes": [],
        },
        "measured": {**FIGURES, "decode": decode} if decode else None,
        "trial": {
            **{"bits": bits, "accelerator": "cpu", "served": seconds is None},
            **{"setup_seconds": seconds, "tool_calls": calls},
        },
        **changes,
    }


def best(engine: str, quantization: str, bits: int, decode: float) -> dict[str, Any]:
    return {"engine": engine, "quantization": quantization, "bits": bits, "decode": decode}


SERVED = {"engine": "onnx", "quantization": "int4", "release": "r-0123456789ab"}
BACK = {"outcome": "done", "reason": None, "next_step": None}
DOCUMENT: dict[str, Any] = {
    "exit_code": 5,
    "hosts": [
        row("gw1", "onnx", "int4", 4, 9.52, seconds=None),
        row("gw1", "ollama", "q8_0", 8, 5.1),
        row("gw1", "ollama", "q4_K_M", 4, 10.25, notes=["memory at full context was not measured: it says nothing"]),
        row("gw-plant-2", "ollama", "q4_0", 4, None, outcome="rolled_back", reason="no answer (it is back on r-01)"),
        row("gw3", "ollama", "q4_0", 4, None, outcome="unreachable", reason="no route to host"),
    ],
    "tried": [
        {
            **{"host": "gw1", "served": SERVED, "back": BACK, "fastest": best("ollama", "q4_K_M", 4, 10.25)},
            "fastest_by_bits": [best("ollama", "q8_0", 8, 5.1), best("ollama", "q4_K_M", 4, 10.25)],
            "left_out": [{"engine": "vllm", "quantization": "", "reason": "found no GPU, needed one"}],
        },
        {
            **{"host": "gw-plant-2", "served": SERVED, "back": None, "fastest": None},
            **{"fastest_by_bits": [], "left_out": []},
        },
        {
            **{"host": "gw3", "served": SERVED, "fastest": None, "fastest_by_bits": [], "left_out": []},
            "back": {
                **{"outcome": "unreachable", "reason": "no route to host"},
                "next_step": "bring back what served: phi4-edge rollback gw.ini --limit gw3 --to r-0123456789ab",
            },
        },
    ],
}


@pytest.mark.parametrize("width", [80, 200])
def test_what_people_see(width: int) -> None:
    lines = tryout.overview(DOCUMENT, width)
    assert all(cells(line) <= width for line in lines)
    text, golden = "\n".join(lines) + "\n", GOLDEN / f"tryout-{width}.txt"
    if os.environ.get("PHI4_EDGE_GOLDEN") == "write":
        golden.write_text(text)
    assert golden.read_text() == text


def test_it_is_said_what_a_host_does_not_serve_again_for_sure() -> None:
    text = " ".join(" ".join(tryout.overview(DOCUMENT, 200)).split())
    assert "gw3: NOT known to serve onnx int4, release r-0123456789ab again" in text
    assert "phi4-edge rollback gw.ini --limit gw3 --to r-0123456789ab" in text
    assert "gw-plant-2: serves onnx int4, release r-0123456789ab, as before" in text


def test_one_class_of_quality_is_not_told_twice() -> None:
    entry = copy.deepcopy(DOCUMENT["tried"][0])
    entry["fastest_by_bits"] = entry["fastest_by_bits"][1:]
    assert tryout.fastest(entry) == "gw1: fastest is ollama q4_K_M with 10.25 tokens/s"


def test_what_an_engine_said_is_harmless() -> None:
    hostile = json.loads(json.dumps(DOCUMENT).replace("no route to host", "\\u001b[2J\\u202e"))
    assert not [line for line in tryout.overview(hostile, 200) if "\x1b" in line or "\u202e" in line]


def test_what_is_interrupted_is_shown_before_it_is_asked_for() -> None:
    hosts = [
        {"host": "gw1", "serves": "onnx int4", "tries": ["ollama q8_0", "ollama q4_K_M"], "down_seconds": 160},
        {"host": "gw-plant-2", "serves": "ollama q4_0", "tries": ["onnx int4"], "down_seconds": 44},
    ]
    lines = tryout.proposal(hosts, 100)
    assert lines[0].split() == ["HOST", "SERVES", "TRIES", "DOWN,", "ABOUT"]
    assert "ollama q8_0, ollama q4_K_M" in lines[1] and lines[1].endswith("2m40s") and lines[2].endswith("44s")
