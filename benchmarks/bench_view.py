"""The live view with 200 hosts: how long an event takes to the screen, and what share of a core the view costs."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pty
import re
import select
import statistics
import struct
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness import BenchError, Sample, peer, say, start
from verdict import RESULTS, Goal, Limit, limits_document, report

PLAYER = Path(__file__).with_name("view_player.py")
RICH = "rich==15.0.0"
LATENCY, SHARE = 1.0, 0.15  # seconds at the 95th percentile, and of one core
# What a row shows of a task is unique to the task: "032/14" is task 14 of host 32.
TASK = re.compile(r"(\d{3})/(\d\d) Do part")
ENDED = re.compile(r"gateway-(\d{3})\.site\d\W+(?:done|rolled)")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
THROUGH = re.compile(r"(\d+) of \d+ hosts through")

Chunks = list[tuple[float, str]]
Find = Callable[[Chunks, Sequence[tuple[float, str]]], list[float]]


@dataclass(frozen=True)
class Side:
    """Plays `what` with `python`; `size` (columns, rows) of its terminal, or none: it writes into a file."""

    name: str
    what: str
    python: Path
    size: tuple[int, int] | None = None
    find: Find | None = None


@dataclass
class Turns:
    """What a side needed in each of its turns, and all its latencies."""

    samples: list[Sample] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)


def of_tasks(chunks: Chunks, log: Sequence[tuple[float, str]]) -> list[float]:
    """For each task that began: until its host's row showed it, or what came after it."""
    seen: dict[str, list[tuple[float, int]]] = {}
    for at, text in chunks:
        for host, number in TASK.findall(text):
            seen.setdefault(host, []).append((at, int(number)))
        for host in ENDED.findall(text):
            seen.setdefault(host, []).append((at, 99))
    found = []
    for told, words in log:
        if match := TASK.search(words) if " start " in words else None:
            host, number = match.groups()
            found.append(next((at - told for at, shown in seen.get(host, []) if shown >= int(number)), float("inf")))
    return found


def of_counts(chunks: Chunks, log: Sequence[tuple[float, str]]) -> list[float]:
    """For each host that was through: until the number in the head was so high."""
    seen = [(at, int(number)) for at, text in chunks for number in THROUGH.findall(text)]
    ends = [told for told, words in log if words.startswith("finished ")]
    return [
        next((at - told for at, shown in seen if shown >= number), float("inf"))
        for number, told in enumerate(ends, start=1)
    ]


def play(side: Side, hosts: int, seconds: float, turns: Turns) -> None:
    """One turn of a side."""
    with tempfile.TemporaryDirectory(prefix="p4v") as folder:
        log = Path(folder) / "log"
        argv = [str(side.python), str(PLAYER), side.what, "--hosts", str(hosts), "--canary", str(hosts)]
        argv += ["--seconds", str(seconds), "--log", str(log)]
        chunks, status = _run(argv, side.size, Path(folder) / "out")
        if status != 0 or not log.exists():
            raise BenchError(f"{side.name} ended with {status}:\n{''.join(text for _, text in chunks)[-2000:]}")
        lines = [line.split(" ", 1) for line in log.read_text().splitlines()]
        wall, cpu = float(lines[-1][0]), float(lines[-1][1].removeprefix("cpu "))
        turns.samples.append(Sample(wall, cpu))
        turns.bytes.append(sum(len(text) for _, text in chunks))
        if side.find:
            turns.latencies += side.find(chunks, [(float(at), words) for at, words in lines[:-1]])


def _run(argv: Sequence[str], size: tuple[int, int] | None, out: Path) -> tuple[Chunks, int]:
    """What it wrote to its terminal, and when; a side without one writes to the file `out`."""
    pid, master = pty.fork()
    if pid == 0:
        try:
            if size is None:
                os.dup2(os.open(out, os.O_WRONLY | os.O_CREAT), 1)
                os.dup2(1, 2)
            else:
                fcntl.ioctl(2, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
            os.execve(argv[0], list(argv), {**os.environ, "TERM": "xterm-256color"})
        finally:
            os._exit(127)
    chunks: Chunks = []
    carry = b""
    while select.select([master], [], [], 60)[0]:
        try:
            new = os.read(master, 1 << 20)
        except OSError:  # the terminal's last user has gone
            break
        # A word may come in two pieces; only whole rows are looked at.
        whole, _, carry = (carry + new).rpartition(b"\n")
        chunks.append((time.monotonic(), COLOUR.sub("", whole.decode(errors="replace"))))
    os.close(master)
    return chunks, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def p95(numbers: Sequence[float]) -> float:
    """The value that 95 of 100 do not exceed."""
    return sorted(numbers)[max(-(-len(numbers) * 95 // 100) - 1, 0)]


def benchmark() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3, help="turns of each side (default: 3)")
    parser.add_argument("--hosts", type=int, default=200, help="all at work at once (default: 200)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of a turn (default: 20)")
    chosen = parser.parse_args()
    ours, theirs = Path(sys.executable), peer(RICH) / "python"
    tall = (200, chosen.hosts + 10)  # a row for every host: the most that there can be to draw
    sides = [
        Side("live, 80 x 24", "table", ours, (80, 24), of_counts),
        Side("live, all rows", "table", ours, tall, of_tasks),
        Side("rich, all rows", "rich", theirs, tall, of_tasks),
        Side("lines to a file", "table", ours),
        Side("JSON Lines to a file", "json", ours),
        Side("nothing shown", "none", ours),
    ]
    turns = {side.name: Turns() for side in sides}
    for turn in range(chosen.pairs):
        for side in sides:
            play(side, chosen.hosts, chosen.seconds, turns[side.name])
            sample = turns[side.name].samples[-1]
            say(f"{turn + 1}/{chosen.pairs}  {side.name}: {100 * sample.cpu / sample.wall:.1f} % of a core")
    most = SHARE * chosen.seconds
    report(
        "view",
        f"a rollout of {chosen.hosts} hosts at once, played for {chosen.seconds:g} s",
        {name: found.samples for name, found in turns.items()},
        [*(Goal(name, most=most) for name in list(turns)[:2]), Goal("live, all rows", "rich, all rows")],
        full=chosen.hosts >= 200 and chosen.seconds >= 20,
    )
    _latencies(turns)


def _latencies(turns: dict[str, Turns]) -> None:
    """Print what was seen when, and add it to the results."""
    print(f"\n{'from event to screen':<24}{'p50 ms':>8}{'p95 ms':>8}{'max ms':>8}{'events':>8}  goal: p95 <= 1000 ms")
    found = {}
    for name, side in turns.items():
        if side.latencies:
            numbers = (statistics.median(side.latencies), p95(side.latencies), max(side.latencies))
            shown = "".join(f"{1000 * number:>8.0f}" for number in numbers)
            print(f"{name:<24}{shown}{len(side.latencies):>8}  {'met' if numbers[1] <= LATENCY else 'not met'}")
            found[name] = dict(zip(("p50", "p95", "max"), numbers, strict=True)) | {"events": len(side.latencies)}
    limits = [
        Limit(f"{name}: from event to screen, p95", numbers["p95"], LATENCY, " s")
        for name, numbers in found.items()
        if name.startswith("live")
    ]
    path = RESULTS / "view.json"
    document = json.loads(path.read_text())
    kilobytes = {name: statistics.median(side.bytes) / 1000 for name, side in turns.items() if any(side.bytes)}
    whole = {**document, "latency": found, "kilobytes": kilobytes, "limits": limits_document(limits, document["full"])}
    path.write_text(json.dumps(whole, indent=1) + "\n")


if __name__ == "__main__":
    start(benchmark)
