"""Runs the benchmarks one after the other on one lab, and says at the end what each came to.

    run.py                       all, full size
    run.py noop push             these
    run.py --brief               full size, with as few turns as make sense (about half an hour)
    run.py --pairs 2 --hosts 2   all, smaller: figures for trying out, without verdicts

A benchmark that fails does not keep the others from running. After Ctrl-C the one that runs takes its lab down, and so
does this program with the one that they share.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import harness
from verdict import RESULTS, table, verdict

HERE = Path(__file__).parent
# What is quick and needs no machine at rest comes last.
ORDER = (
    *("startup", "detect", "noop", "far", "change", "first", "push", "resume", "fleet", "view", "serving", "decode"),
    "gateway",
)
SHARING = frozenset({"detect", "noop", "far", "change", "push", "fleet"})
FILES = {"noop": ("noop",), "far": ("far", "far-loss"), "push": ("push", "push-again")}
# Turns of each side with --brief: fewer where one takes minutes.
BRIEF = {
    "startup": 5, "detect": 5, "noop": 3, "far": 2, "change": 3, "first": 2, "push": 1, "resume": 1, "fleet": 1,
    "view": 1, "serving": 3, "decode": 5, "gateway": 1,
}  # fmt: skip
LEAVE_SECONDS = 120.0


@dataclass
class Came:
    """What a benchmark came to."""

    name: str
    minutes: float
    error: str = ""
    files: tuple[str, ...] = field(default_factory=tuple)


def main() -> None:
    chosen = _options()
    came: list[Came] = []
    begun = time.time()
    try:
        with _shared(chosen) as environment:
            for name in chosen.names:
                print(f"\n==> {name}", flush=True)
                came.append(_benchmark(name, _words(name, chosen), environment))
    finally:
        _summary(came, begun)
    if any(one.error for one in came):
        sys.exit(1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(ORDER)} (default: all)")
    parser.add_argument("--brief", action="store_true", help="few turns")
    parser.add_argument("--pairs", type=int, help="counted runs of each side")
    parser.add_argument("--hosts", type=int, help="lab hosts (default: 8; the first provision: at most 4)")
    parser.add_argument("--size", type=int, help="MiB of the artifact (default: 256)")
    parser.add_argument("--addresses", help="sizes of the simulated fleets (default: 50,100,200,1000)")
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - set(ORDER):
        parser.error(f"found {', '.join(sorted(unknown))}, needed some of {', '.join(ORDER)}")
    chosen.names = [name for name in ORDER if name in (chosen.names or ORDER)]
    return chosen


def _words(name: str, chosen: argparse.Namespace) -> list[str]:
    """The options of a benchmark: those that were given and that it has."""
    hosts = min(chosen.hosts, 4) if chosen.hosts and name == "first" else chosen.hosts
    given = {"pairs": chosen.pairs or (BRIEF[name] if chosen.brief else None)}
    if name in SHARING or name == "first":
        given["hosts"] = hosts
    if name in ("push", "resume"):
        given["size"] = chosen.size
    words = [word for option, value in given.items() if value for word in (f"--{option}", str(value))]
    return [*words, *(["--addresses", chosen.addresses] if chosen.addresses and name == "fleet" else [])]


@contextlib.contextmanager
def _shared(chosen: argparse.Namespace) -> Iterator[dict[str, str]]:
    """The environment of the benchmarks, with a lab that they share if more than one of them needs one."""
    if len(SHARING.intersection(chosen.names)) < 2 or harness.SHARED in os.environ:
        yield {**os.environ}
        return
    with harness.own_lab("shared", chosen.hosts or 8) as lab:
        yield {**os.environ, harness.SHARED: lab.name}


def _benchmark(name: str, words: Sequence[str], environment: dict[str, str]) -> Came:
    """One benchmark in a process of its own, and the end of its words if it fails."""
    begun = time.time()
    command = [sys.executable, str(HERE / f"bench_{name}.py"), *words]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
    last = ""
    try:
        assert process.stderr is not None
        for line in process.stderr:
            print(line, end="", file=sys.stderr, flush=True)
            last = line.strip() if line.startswith("error: ") or not last.startswith("error: ") else last
        process.wait()
    except BaseException:
        process.send_signal(signal.SIGTERM)  # it takes its lab down
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=LEAVE_SECONDS)
        raise
    error = f"ended with {process.returncode}: {last[:300]}" if process.returncode else ""
    return Came(name, (time.time() - begun) / 60, error, FILES.get(name, (name,)))


def _summary(came: Sequence[Came], begun: float) -> None:
    """A line for every goal, then what failed."""
    rows = [("benchmark", "what", "found", "goal", "")]
    for one in came:
        for name in () if one.error else one.files:
            rows += _goals(json.loads((RESULTS / f"{name}.json").read_text()))
    if len(rows) > 1:
        print("\n==> Goals")
        table(rows)
    for one in came:
        print(f"{one.name}: {one.error or 'done'} ({one.minutes:.1f} min)")
    print(f"all: {(time.time() - begun) / 60:.1f} min")


def _goals(document: dict[str, object]) -> list[tuple[str, str, str, str, str]]:
    title, found = str(document["title"]).partition(" ")[0], []
    for goal in document.get("goals", []):  # type: ignore[attr-defined]
        numbers = goal.get("found") or goal["ratios"][goal["what"]]
        if goal["most"] or goal["least"]:
            what = f"{goal['theirs']} / {goal['ours']}" if goal["theirs"] else goal["ours"]
            wanted = f"<= {goal['most']:g}" if goal["most"] else f">= {goal['least']:.3g}"
            found.append((title, f"{what}, {goal['what']}", f"{numbers['median']:.2f}", wanted, verdict(goal["met"])))
    for limit in document.get("limits", []):  # type: ignore[attr-defined]
        wanted = f"{'>=' if limit['at_least'] else '<='} {limit['limit']:.4g}{limit['unit']}"
        found.append((title, limit["what"], f"{limit['found']:.4g}", wanted, verdict(limit["met"])))
    return found


if __name__ == "__main__":
    harness.start(main)
