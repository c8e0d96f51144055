"""The table of a benchmark and its JSON: medians, ratios turn by turn, goals."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from harness import ROOT, Sample

RESULTS = ROOT / "benchmarks" / "results"


@dataclass(frozen=True)
class Goal:
    """`theirs` / `ours` of wall clock must be at least `least`; `most` is a budget of CPU seconds for `ours` alone."""

    ours: str
    theirs: str = ""
    least: float = 0.0
    most: float = 0.0


def ratio(theirs: Sequence[Sample], ours: Sequence[Sample], what: str) -> dict[str, float]:
    """Median, least and greatest of theirs / ours, turn by turn."""
    found = [getattr(a, what) / max(getattr(b, what), 1e-9) for a, b in zip(theirs, ours, strict=True)]
    return {"median": statistics.median(found), "min": min(found), "max": max(found)}


def report(
    name: str, title: str, samples: Mapping[str, Sequence[Sample]], goals: Sequence[Goal], hosts: int = 0
) -> None:
    """Print the medians, the ratios and the goals; write benchmarks/results/NAME.json."""
    print(f"\n{title}: medians ({platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f})")
    rows: list[tuple[str, ...]] = [("side", "wall s", "CPU s here", "CPU s on hosts", "KB per host")]
    for side, runs in samples.items():
        numbers = [
            statistics.median(getattr(run, what) for run in runs) for what in ("wall", "cpu", "host_cpu", "bytes")
        ]
        shown = [f"{number:.2f}" for number in numbers[:3]] + [f"{numbers[3] / 1000 / max(hosts, 1):.0f}"]
        rows.append((side, *(shown if hosts else [*shown[:2], "-", "-"])))
    _table(rows)
    verdicts = [_judge(goal, samples) for goal in goals]
    print()
    _table(
        [
            ("theirs / ours", "what", "median", "min", "max", "goal"),
            *(row for verdict in verdicts for row in verdict[1]),
        ]
    )
    found = {
        "format": "phi4-edge/bench/1", "benchmark": name, "title": title, "hosts": hosts,
        "machine": {"arch": platform.machine(), "cores": os.cpu_count(), "load": os.getloadavg()},
        "samples": {side: [asdict(run) for run in runs] for side, runs in samples.items()},
        "goals": [verdict[0] for verdict in verdicts],
    }  # fmt: skip
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n")


def _judge(goal: Goal, samples: Mapping[str, Sequence[Sample]]) -> tuple[dict[str, object], list[tuple[str, ...]]]:
    """A goal with what was found, for the JSON and for the table."""
    if goal.most:
        used = [run.cpu for run in samples[goal.ours]]
        met = statistics.median(used) <= goal.most
        shown = [f"{number:.2f}" for number in (statistics.median(used), min(used), max(used))]
        verdict = f"<= {goal.most:g} s: {'met' if met else 'not met'}"
        return {**asdict(goal), "met": met}, [(goal.ours, "CPU s", *shown, verdict)]
    found = {
        what: ratio(samples[goal.theirs], samples[goal.ours], what)
        for what in ("wall", "cpu", "host_cpu", "bytes")
        if any(getattr(run, what) for run in samples[goal.ours])
    }
    met = found["wall"]["median"] >= goal.least
    rows = []
    for what, numbers in found.items():
        verdict = f">= {goal.least:g}: {'met' if met else 'not met'}" if what == "wall" and goal.least else ""
        rows.append((f"{goal.theirs} / {goal.ours}", what, *(f"{number:.2f}" for number in numbers.values()), verdict))
    return {**asdict(goal), "ratios": found, "met": met if goal.least else None}, rows


def _table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
