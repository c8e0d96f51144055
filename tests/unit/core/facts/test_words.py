"""A host in one line: what it is, and what it serves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.core.facts import lock, words
from phi4_edge.core.facts.parse import parse

FIXTURES = Path(__file__).parents[3] / "fixtures" / "hosts"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (
            "n150-8gb",
            "Debian GNU/Linux 13 (trixie), x86_64, 4 cores, 7.6 GiB RAM, no GPU, 57.2 GB free, serves nothing",
        ),
        (
            "xeon-rtx3060-driver570",
            "Ubuntu 24.04.3 LTS, x86_64, 6 cores, 15.6 GiB RAM, GPU NVIDIA GeForce RTX 3060 12.0 GiB, 371.2 GB free, "
            "serves nothing",
        ),
    ],
)
def test_found(name: str, line: str) -> None:
    facts = parse({**json.loads((FIXTURES / f"{name}.json").read_text()), "host": "gw1"}).to_dict()
    assert words.found(facts) == f"gw1: {line}"


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.json")), ids=lambda path: path.stem)
def test_every_host_has_a_line(path: Path) -> None:
    facts = parse(json.loads(path.read_text())).to_dict()
    line = words.found(facts)
    assert line.isprintable()
    assert line.startswith(f"{facts['host']}: ")
    assert words.serves(facts) in line or "serves nothing" in line


def entry(**changes: Any) -> dict[str, Any]:
    found = {
        "host": "gw1", "state": "serving", "detail": "", "release": "r-1", "engine": "onnx", "quantization": "int4",
        "address": "127.0.0.1:8080", "model": "phi-4-mini-instruct", "committed_at": "", "drift": [], "endings": [],
        "notes": [],
    }  # fmt: skip
    return {**found, **changes}


SERVES = "r-1, onnx int4, 127.0.0.1:8080, phi-4-mini-instruct"
NOTHING = {"release": "", "engine": "", "quantization": "", "address": "", "model": ""}


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (entry(), f"serving | {SERVES}"),
        (entry(endings=["the service was restarted once"]), f"serving | {SERVES} | the service was restarted once"),
        (
            entry(state="absent", detail="nothing was provisioned here", **NOTHING),
            "absent: nothing was provisioned here",
        ),
        (
            entry(state="drifted", detail="5 files", drift=[{"path": f"/f{n}", "problem": "mode"} for n in range(5)]),
            f"drifted: 5 files | {SERVES} | mode: /f0 | mode: /f1 | mode: /f2 | and 2 more",
        ),
    ],
)
def test_serving(found: dict[str, Any], line: str) -> None:
    assert words.serving(found) == f"gw1: {line}"


HOLDER = {"present": True, "user": "anna", "host": "ops1", "operation": "provision", "started": "now", "pid": 7}


@pytest.mark.parametrize(
    ("fact", "line"),
    [
        ({"holder": {"present": False}, "released": False}, "free"),
        ({"holder": {**HOLDER, "state": "held"}}, "held, anna@ops1 (provision since now, pid 7)"),
        (
            {"holder": {**HOLDER, "state": "stale"}, "released": True},
            "released, anna@ops1 (provision since now, pid 7)",
        ),
        (
            {"holder": {**HOLDER, "state": "stale"}},
            "stale, anna@ops1 (provision since now, pid 7); that run is dead; the next one takes over the lock",
        ),
    ],
)
def test_lock(fact: dict[str, Any], line: str) -> None:
    assert lock.line("gw1", fact) == f"gw1: {line}"
