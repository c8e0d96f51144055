#!/usr/bin/env python3
"""docs/performance.md and docs/performance.svg from benchmarks/results/*.json. The words are in benchmarks/report.md.

A line `<!-- results NAME -->` of it becomes the tables of that benchmark, `<!-- summary -->` a line for every goal.
Usage: report.py [--check]; with --check nothing is written, and 1 is returned where the documents are out of date.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import figure  # noqa: E402

DOCS = HERE.parent / "docs"
WORDS, RESULTS = HERE / "report.md", HERE / "results"
HEAD = "<!-- Written by benchmarks/report.py from benchmarks/report.md and benchmarks/results; do not edit. -->\n"
MARK = re.compile(r"^<!-- (results|summary) ?(\S*) -->$", re.MULTILINE)
MEASURES = {"wall": "wall", "cpu": "CPU here", "host_cpu": "CPU on hosts", "bytes": "bytes"}
Document = Mapping[str, Any]


def load(folder: Path = RESULTS) -> dict[str, Document]:
    """Benchmark → its results, of those that are there."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        document = json.loads(path.read_text())
        if document.get("format") == "phi4-edge/bench/2":
            found[path.stem] = document
    return found


def render(documents: Mapping[str, Document], words: str | None = None) -> dict[str, str]:
    """File name below docs → its text."""

    def put(match: re.Match[str]) -> str:
        if match[1] == "summary":
            return _summary(documents)
        return _results(documents[match[2]]) if match[2] in documents else "Not measured."

    text = MARK.sub(put, words if words is not None else WORDS.read_text())
    return {"performance.md": HEAD + text, "performance.svg": figure.svg(figure.rows(documents))}


def _summary(documents: Mapping[str, Document]) -> str:
    """What was found for every goal, and whether it is met."""
    rows = [("benchmark", "what", "found", "goal", "")]
    for document in documents.values():
        title = _title(document)
        for goal in document.get("goals", ()):
            if goal["least"] or goal["most"]:
                rows.append((title, _subject(goal), _found(goal), _wanted(goal), _verdict(goal["met"])))
        for limit in document.get("limits", ()):
            rows.append((title, limit["what"], f"{limit['found']:.3g}{limit['unit']}", _limit(limit),
                         _verdict(limit["met"])))  # fmt: skip
    return _table(rows)


def _results(document: Document) -> str:
    """Where a benchmark ran, and its tables."""
    machine, versions = document["machine"], document["versions"]
    memory = f"{machine['memory'] / 2**30:.0f} GiB"
    where = ", ".join([
        f"{document['title']}. {document['date']}", f"commit {document['commit'] or 'unknown'}",
        f"{machine['cores']} cores of {machine['processor']}", memory, f"load {machine['load']}",
        f"Python {versions['python']}", versions["ssh"], f"ansible-core {versions['ansible-core']}",
        f"paramiko {versions['paramiko']}.",
    ])  # fmt: skip
    if not document["full"]:
        where += " **Smaller than the goals are for: no verdict.**"
    parts = [where]
    if samples := document.get("samples"):
        parts.append(_medians(samples, document["hosts"]))
    if ratios := [goal for goal in document.get("goals", ()) if goal["theirs"]]:
        parts.append(_ratios(ratios))
    if rows := document.get("rows"):
        parts.append(_table([tuple(rows[0]), *(tuple(_cell(value) for value in row.values()) for row in rows)]))
    budgets = [goal for goal in document.get("goals", ()) if goal["most"]]
    told = [(_subject(goal), _found(goal), _wanted(goal), _verdict(goal["met"])) for goal in budgets]
    told += [
        (limit["what"], f"{limit['found']:.3g}{limit['unit']}", _limit(limit), _verdict(limit["met"]))
        for limit in document.get("limits", ())
    ]
    if told:
        parts.append(_table([("what", "found", "goal", ""), *told]))
    return "\n\n".join([*parts, *_latency(document)])


def _medians(samples: Mapping[str, Sequence[Mapping[str, float]]], hosts: int) -> str:
    """What each side needed: median, least and greatest."""
    rows = [("", "turns", "wall, s", "CPU here, s", *(("CPU on hosts, s", "KB per host") if hosts else ()))]
    for side, runs in samples.items():
        cells = [_span([run[what] for run in runs]) for what in ("wall", "cpu")]
        if hosts:
            cells += [_span([run["host_cpu"] for run in runs])]
            cells += [f"{statistics.median(run['bytes'] for run in runs) / 1000 / hosts:.0f}"]
        rows.append((side, str(len(runs)), *cells))
    return _table(rows)


def _ratios(goals: Sequence[Mapping[str, Any]]) -> str:
    there = [what for what in MEASURES if any(what in goal["ratios"] for goal in goals)]
    rows = [("theirs / ours", *(MEASURES[what] for what in there), "goal", "")]
    for goal in goals:
        cells = [_three(goal["ratios"][what]) if what in goal["ratios"] else "" for what in there]
        rows.append((f"{goal['theirs']} / {goal['ours']}", *cells, _wanted(goal), _verdict(goal["met"], goal)))
    return _table(rows)


def _latency(document: Document) -> list[str]:
    """Of the live view: from an event to the screen."""
    if "latency" not in document:
        return []
    rows = [("from event to screen", "p50, ms", "p95, ms", "max, ms", "events")]
    for name, found in document["latency"].items():
        rows.append((name, *(f"{1000 * found[what]:.0f}" for what in ("p50", "p95", "max")), str(found["events"])))
    return [_table(rows)]


def _title(document: Document) -> str:
    found = re.match(r"(B\d+(?:, B\d+)*) ", str(document["title"]))
    return found[1] if found else str(document["benchmark"])


def _subject(goal: Mapping[str, Any]) -> str:
    return f"{goal['theirs']} / {goal['ours']}" if goal["theirs"] else str(goal["ours"])


def _found(goal: Mapping[str, Any]) -> str:
    numbers = goal["found"] if goal["most"] else goal["ratios"][goal["what"]]
    return _three(numbers, 1000 if goal["most"] and goal["what"] == "bytes" else 1)


def _wanted(goal: Mapping[str, Any]) -> str:
    """The goal in words."""
    unit = {"cpu": " s CPU", "wall": " s", "bytes": " KB per host"}.get(goal["what"], "")
    if goal["most"]:
        return f"≤ {goal['most'] / (1000 if goal['what'] == 'bytes' else 1):g}{unit}"
    must = f", at least {goal['must']:g}" if goal["must"] else ""
    return f"≥ {goal['least']:.2g}, {MEASURES[goal['what']]}{must}" if goal["least"] else ""


def _limit(limit: Mapping[str, Any]) -> str:
    return f"{'≥' if limit['at_least'] else '≤'} {limit['limit']:.3g}{limit['unit']}"


def _verdict(met: bool | None, goal: Mapping[str, Any] | None = None) -> str:
    if met is None:
        return "" if goal and not goal["least"] else "no verdict"
    return "met" if met else "**not met**"


def _three(numbers: Mapping[str, float], by: float = 1) -> str:
    """Median (least to greatest)."""
    median, least, most = (f"{numbers[name] / by:.3g}" for name in ("median", "min", "max"))
    return f"{median} ({least} to {most})"


def _span(numbers: Sequence[float]) -> str:
    return _three({"median": statistics.median(numbers), "min": min(numbers), "max": max(numbers)})


def _cell(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _table(rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def main() -> int:
    stale = 0
    for name, text in render(load()).items():
        path = DOCS / name
        if not path.exists() or path.read_text() != text:
            stale = 1
            print(f"{'out of date' if '--check' in sys.argv else 'written'}: {path.relative_to(HERE.parent)}")
            if "--check" not in sys.argv:
                path.write_text(text)
    return stale if "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
