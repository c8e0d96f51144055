"""docs/performance.md and its plot say what the results say, and say plainly what was missed or not measured."""

from __future__ import annotations

import copy
import importlib.util
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
RESULT: dict[str, Any] = {
    "format": "phi4-edge/bench/2", "benchmark": "noop", "title": "B1 nothing to do, 8 hosts", "hosts": 8, "full": True,
    "sizes": {}, "commit": "0123456789ab", "date": "2026-01-02",
    "machine": {"processor": "a processor", "arch": "x86_64", "cores": 2, "memory": 2**34, "kernel": "6", "load": 0.1},
    "versions": {"python": "3.11", "ssh": "OpenSSH_9", "docker": "28", "ansible-core": "2.19.14", "paramiko": "5",
                 "peers": []},
    "samples": {
        "ours": [{"wall": 1.0, "cpu": 0.5, "host_cpu": 0.25, "bytes": 8000}] * 2,
        "pyinfra": [{"wall": 3.0, "cpu": 1.0, "host_cpu": 0.5, "bytes": 16000}] * 2,
    },
    "goals": [
        {"ours": "ours", "theirs": "pyinfra", "least": 2, "most": 0, "what": "wall", "must": 1.5, "met": True,
         "ratios": {what: {"median": 3.0, "min": 2.9, "max": 3.1} for what in ("wall", "cpu", "host_cpu", "bytes")}},
        {"ours": "ours", "theirs": "", "least": 0, "most": 60000, "what": "bytes", "must": 0, "met": True,
         "found": {"median": 1000, "min": 900, "max": 1100}},
    ],
    "limits": [{"what": "trips", "found": 7, "limit": 6, "unit": "", "at_least": False, "met": False}],
}  # fmt: skip
WORDS = "<!-- summary -->\n\n## B1\n\n<!-- results noop -->\n\n## B7\n\n<!-- results push -->\n"


@pytest.fixture(scope="module")
def report() -> ModuleType:
    """The script that writes the page."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        spec = importlib.util.spec_from_file_location("performance_report", BENCHMARKS / "report.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(BENCHMARKS))


def test_the_page_and_the_plot_are_those_of_the_results(report: ModuleType) -> None:
    for name, text in report.render(report.load()).items():
        assert (ROOT / "docs" / name).read_text() == text, "run .venv/bin/python benchmarks/report.py"


def test_results_name_where_they_come_from(report: ModuleType) -> None:
    for name, document in report.load().items():
        assert document["date"] and document["machine"]["processor"] and document["versions"]["peers"], name


def test_what_was_found_is_in_the_page(report: ModuleType) -> None:
    text = report.render({"noop": RESULT}, WORDS)["performance.md"]
    assert "| pyinfra / ours | 3 (2.9 to 3.1) | 3 (2.9 to 3.1) |" in text
    assert "≥ 2, wall, at least 1.5 | met |" in text
    assert "| trips | 7 | ≤ 6 | **not met** |" in text
    assert "1 (0.9 to 1.1) | ≤ 60 KB per host | met" in text
    assert "2026-01-02, commit 0123456789ab, 2 cores of a processor, 16 GiB" in text
    assert text.endswith("## B7\n\nNot measured.\n")


def test_another_result_is_another_page(report: ModuleType) -> None:
    other = copy.deepcopy(RESULT)
    other["goals"][0].update(met=False, ratios={"wall": {"median": 1.0, "min": 0.9, "max": 1.1}})
    text = report.render({"noop": other}, WORDS)["performance.md"]
    assert "1 (0.9 to 1.1) | ≥ 2, wall, at least 1.5 | **not met** |" in text


def test_a_small_run_has_no_verdict(report: ModuleType) -> None:
    small = copy.deepcopy(RESULT)
    small["full"] = False
    for goal in (*small["goals"], *small["limits"]):
        goal["met"] = None
    text = report.render({"noop": small}, WORDS)["performance.md"]
    assert "Smaller than the goals are for" in text
    assert "met |" not in text and "no verdict" in text


def test_the_plot_is_drawn_to_scale(report: ModuleType) -> None:
    document = copy.deepcopy(RESULT)
    document["goals"][0]["ratios"]["wall"] = {"median": 2.0, "min": 1.0, "max": 100.0}
    drawn = ET.fromstring(report.render({"noop": document}, WORDS)["performance.svg"])
    find = "{http://www.w3.org/2000/svg}"
    dot = float(drawn.findall(f"{find}circle")[0].attrib["cx"])
    goal = next(line for line in drawn.iter(f"{find}line") if line.attrib["class"] == "goal")
    assert dot == float(goal.attrib["x1"])  # both are 2
    assert int(drawn.attrib["width"]) == 800
    assert all(0 <= float(line.attrib["x2"]) <= 800 for line in drawn.iter(f"{find}line"))


def test_every_benchmark_is_run_and_told_of() -> None:
    scripts = {path.stem.removeprefix("bench_") for path in BENCHMARKS.glob("bench_*.py")}
    order = re.search(r"^ORDER = \((.+?)^\)$", (BENCHMARKS / "run.py").read_text(), re.MULTILINE | re.DOTALL)
    assert order is not None and set(re.findall(r'"(\w+)"', order[1])) == scripts
    words = (BENCHMARKS / "report.md").read_text()
    for name in scripts:
        assert f"<!-- results {name} -->" in words, name
        assert f"(../benchmarks/bench_{name}.py)" in words, name
