"""The table of a benchmark and its JSON: medians, ratios turn by turn, goals."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness import ROOT, Sample
from provenance import provenance

RESULTS = ROOT / "benchmarks" / "results"
FORMAT = "phi4-edge/bench/2"
MEASURES = ("wall", "cpu", "host_cpu", "bytes")
Rows = Sequence[Mapping[str, object]]


@dataclass(frozen=True)
class Goal:
    """`theirs` / `ours` must be at least `least`; or `ours` alone needs at most `most`.

    `what`: the measure that counts (for `most`: CPU seconds unless said otherwise). `must`: what is to be reached in
    any case, where the goal is more than that.
    """

    ours: str
    theirs: str = ""
    least: float = 0.0
    most: float = 0.0
    what: str = ""
    must: float = 0.0

    @property
    def measure(self) -> str:
        return self.what or ("cpu" if self.most else "wall")


@dataclass(frozen=True)
class Limit:
    """A number that has a limit of its own: at most, or at least."""

    what: str
    found: float
    limit: float
    unit: str = ""
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.found >= self.limit if self.at_least else self.found <= self.limit


def ratio(theirs: Sequence[Sample], ours: Sequence[Sample], what: str) -> dict[str, float]:
    """Median, least and greatest of theirs / ours, turn by turn."""
    found = [getattr(a, what) / max(getattr(b, what), 1e-9) for a, b in zip(theirs, ours, strict=True)]
    return {"median": statistics.median(found), "min": min(found), "max": max(found)}


def report(
    name: str,
    title: str,
    samples: Mapping[str, Sequence[Sample]],
    goals: Sequence[Goal],
    hosts: int = 0,
    *,
    full: bool = True,
    limits: Sequence[Limit] = (),
    sizes: Mapping[str, int] | None = None,
) -> None:
    """Print the medians, the ratios and the goals; write benchmarks/results/NAME.json.

    `full`: nothing is smaller than the goals are for; else there is no verdict about them.
    """
    print(f"\n{title}: medians ({platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f})")
    table(_medians(samples, hosts))
    verdicts = [_judge(goal, samples, hosts, full) for goal in goals]
    print()
    head = ("theirs / ours", "what", "median", "min", "max", "goal")
    table([head, *(row for verdict in verdicts for row in verdict[1])])
    show_limits(limits, full)
    write(
        name,
        {
            "title": title, "hosts": hosts, "full": full, "sizes": dict(sizes or {}),
            "samples": {side: [asdict(run) for run in runs] for side, runs in samples.items()},
            "goals": [verdict[0] for verdict in verdicts], "limits": limits_document(limits, full),
        },
    )  # fmt: skip


def write(name: str, document: Mapping[str, Any]) -> None:
    """benchmarks/results/NAME.json, with where the figures come from."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    whole = {"format": FORMAT, "benchmark": name, **provenance(), **document}
    (RESULTS / f"{name}.json").write_text(json.dumps(whole, indent=1) + "\n")


def limits_document(limits: Sequence[Limit], full: bool) -> list[dict[str, Any]]:
    """Limits with whether each is met; nothing is said of a run that was smaller than the limit is for."""
    return [{**asdict(limit), "met": limit.met if full else None} for limit in limits]


def show_limits(limits: Sequence[Limit], full: bool) -> None:
    """Print what was found beside each limit."""
    for limit in limits:
        sign = ">=" if limit.at_least else "<="
        said = verdict(limit.met if full else None)
        print(f"{limit.what}: {limit.found:.4g}{limit.unit}, goal {sign} {limit.limit:.4g}{limit.unit}: {said}")


def verdict(met: bool | None) -> str:
    """In words."""
    return "no verdict at this size" if met is None else "met" if met else "not met"


def _medians(samples: Mapping[str, Sequence[Sample]], hosts: int) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("side", "wall s", "CPU s here", "CPU s on hosts", "KB per host")]
    for side, runs in samples.items():
        numbers = [statistics.median(getattr(run, what) for run in runs) for what in MEASURES]
        shown = [f"{number:.2f}" for number in numbers[:3]] + [f"{numbers[3] / 1000 / max(hosts, 1):.0f}"]
        rows.append((side, *(shown if hosts else [*shown[:2], "-", "-"])))
    return rows


def _judge(
    goal: Goal, samples: Mapping[str, Sequence[Sample]], hosts: int, full: bool
) -> tuple[dict[str, object], list[tuple[str, ...]]]:
    """A goal with what was found, for the JSON and for the table."""
    if goal.most:
        per = hosts if goal.measure == "bytes" else 1
        used = [getattr(run, goal.measure) / per for run in samples[goal.ours]]
        numbers = {"median": statistics.median(used), "min": min(used), "max": max(used)}
        met = numbers["median"] <= goal.most if full else None
        said = f"<= {goal.most:g}: {verdict(met)}"
        row = (goal.ours, goal.measure, *(f"{number:.2f}" for number in numbers.values()), said)
        return {**asdict(goal), "what": goal.measure, "found": numbers, "met": met}, [row]
    found = {
        what: ratio(samples[goal.theirs], samples[goal.ours], what)
        for what in ((goal.what,) if goal.what else MEASURES)
        if any(getattr(run, what) for run in samples[goal.ours])
    }
    met = found[goal.measure]["median"] >= goal.least if goal.least and full else None
    rows = []
    for what, numbers in found.items():
        said = f">= {goal.least:.3g}: {verdict(met)}" if what == goal.measure and goal.least else ""
        rows.append((f"{goal.theirs} / {goal.ours}", what, *(f"{number:.2f}" for number in numbers.values()), said))
    return {**asdict(goal), "what": goal.measure, "ratios": found, "met": met}, rows


def table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows of equal length below each other."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
