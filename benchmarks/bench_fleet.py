"""B10: commands over a fleet of many addresses on few real hosts: time per host, and memory of the controller.

Each host of the inventory is one more address of a lab host (tests/e2e/crowd.py). `detect`, `status` and `provision`
with nothing to do run over the smaller fleets in turn; a rollout with a failing canary (every host is to get a new
release, the first one fails, no other is touched) over one of them; and `status` over the largest, of which a tenth is
dead, slow or hostile. What cannot be seen here: many hosts that change at once, for their engines are one and the same.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import harness
import processes
from harness import BenchError
from verdict import Limit, limits_document, show_limits, table, write

from phi4_edge.lab import Lab

sys.path.insert(0, str(harness.ROOT))
from tests.e2e import crowd

FULL = (50, 100, 200, 1000)
CROWDED = 1000  # from here on: once, `status` alone, and a tenth of the hosts is bad
CANARY_AT_MOST = 100
HOOK = """printf '{"at": "stage:before", "do": "fail"}' > /run/phi4-edge-hook"""
DETECT, STATUS, NOTHING, CANARY, BAD = (
    "detect", "status", "nothing to do", "failing canary", "status, a tenth of them bad",
)  # fmt: skip
MB = 1_000_000
# Design of B10: the controller's own process, in bytes; and what a host may cost more than in the smallest fleet.
LIMIT, LIMIT_PER_HOST, FLAT = 120 * MB, MB // 2, 1.1


@dataclass(frozen=True)
class Run:
    """One run: seconds, CPU seconds here, and the greatest memory (bytes) of the command and of all it started."""

    what: str
    hosts: int
    seconds: float
    cpu: float
    own: int
    tree: int


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Commands over many addresses")
    parser.add_argument("--pairs", type=int, default=3, help="runs over each of the smaller fleets (default: 3)")
    parser.add_argument("--hosts", type=int, default=8, help="real lab hosts (default: 8)")
    parser.add_argument("--addresses", default=",".join(map(str, FULL)), help="sizes of fleets (default: %(default)s)")
    parser.add_argument("--crowded", type=int, default=CROWDED, help="fleets from this size on have bad hosts, and run "
                        "once (default: %(default)s)")  # fmt: skip
    chosen = parser.parse_args()
    chosen.addresses = sorted(int(size) for size in chosen.addresses.split(","))
    chosen.full = set(FULL) <= set(chosen.addresses)
    return chosen


def main() -> None:
    chosen = _options()
    few = [size for size in chosen.addresses if size < chosen.crowded]
    with harness.lab("fleet", chosen.hosts) as lab, harness.workplace() as folder:
        harness.provisioned(lab)
        runs = _well(lab, few, chosen.pairs, folder) if few else []
        for size in (size for size in chosen.addresses if size >= chosen.crowded):
            runs.append(_crowded(lab, size, folder))
    _report(runs, chosen.hosts, chosen.full)


def _sh(lab: Lab) -> crowd.Sh:
    return lambda host, script: harness.on_host(lab, host, script)


def _well(lab: Lab, sizes: Sequence[int], pairs: int, folder: Path) -> list[Run]:
    """Runs over fleets of which all hosts are well."""
    runs = []
    addresses = crowd.plan(lab, max(sizes))
    with crowd.crowd(lab, addresses, _sh(lab)):
        inventories = {size: crowd.inventory(lab, addresses[:size], folder / f"{size}.ini") for size in sizes}
        for turn in range(pairs):
            for what, run in ((DETECT, _looked), (STATUS, _looked), (NOTHING, _nothing)):
                for size, path in inventories.items():
                    runs.append(run(path, size, what, folder))
                    harness.say(f"{turn + 1}/{pairs}  {what}, {size} hosts: {runs[-1].seconds:.1f} s")
        size = max((size for size in sizes if size <= CANARY_AT_MOST), default=min(sizes))
        runs.append(_canary(lab, inventories[size], size, folder))
        harness.say(f"{CANARY}, {size} hosts: {runs[-1].seconds:.1f} s")
    return runs


def _run(words: Sequence[str], code: int, folder: Path) -> processes.Watched:
    env = {**os.environ, "PHI4_EDGE_STATE": str(folder / "state")}
    env.setdefault("PHI4_EDGE_STORE", str(harness.ROOT / "build" / "store"))
    done = processes.watched([str(harness.OURS), *words], env, folder)
    if done.code != code:
        raise BenchError(f"{words[0]} ended with {done.code}, needed {code}:\n{done.out[-2000:]}{done.err[-2000:]}")
    return done


def _looked(inventory: Path, hosts: int, what: str, folder: Path) -> Run:
    """`detect` and `status`: a row for every host."""
    done = _run([what, str(inventory), "--output", "json"], 0, folder)
    document = json.loads(done.out)
    rows = {host["host"] for host in document["hosts"]}
    if len(rows) != hosts or any(host.get("state", "serving") != "serving" for host in document["hosts"]):
        raise BenchError(f"{what} of {hosts} hosts came to {len(rows)} rows:\n{done.out[:2000]}")
    return Run(what, hosts, done.seconds, done.cpu, done.own, done.tree)


def _nothing(inventory: Path, hosts: int, what: str, folder: Path) -> Run:
    done = _run(["provision", str(inventory), "--yes", "--output", "json"], 0, folder)
    _counts(done, {"unchanged": hosts}, what)
    return Run(what, hosts, done.seconds, done.cpu, done.own, done.tree)


def _canary(lab: Lab, inventory: Path, hosts: int, folder: Path) -> Run:
    harness.on_all(lab, HOOK)
    wanted = inventory.with_suffix(".changed.ini")
    wanted.write_text(inventory.read_text() + "\nphi4_context_length=1024\n")
    try:
        done = _run(["provision", str(wanted), "--yes", "--output", "json", "--canary", "1", "--bake", "0"], 4, folder)
    finally:
        harness.on_all(lab, "rm -f /run/phi4-edge-hook*")
    _counts(done, {"failed": 1, "untouched": hosts - 1}, CANARY)
    return Run(CANARY, hosts, done.seconds, done.cpu, done.own, done.tree)


def _counts(done: processes.Watched, wanted: dict[str, int], what: str) -> None:
    found = json.loads(done.out.strip().splitlines()[-1])["counts"]
    if found != wanted:
        raise BenchError(f"{what} came to {found}, needed {wanted}")


def _crowded(lab: Lab, hosts: int, folder: Path) -> Run:
    """`status` of a fleet of which a tenth is bad: every good host has its row, every bad one the right reason."""
    addresses = crowd.plan(lab, hosts, hosts // 10)
    with crowd.crowd(lab, addresses, _sh(lab)):
        path = crowd.inventory(lab, addresses, folder / "crowded.ini")
        harness.say(f"{BAD}, {hosts} hosts")
        done = _run(["status", str(path), "--output", "json"], 5, folder)
    document = json.loads(done.out)
    looked_at = {host["host"] for host in document["hosts"] if host["state"] == "serving"}
    problems = {line["host"]: line["reason"] or "" for line in document["problems"]}
    if wrong := crowd.wrong_rows(addresses, looked_at, problems):
        raise BenchError(f"{len(wrong)} rows of {hosts} are wrong:\n" + "\n".join(wrong[:20]))
    # A document that is one host short is seen.
    if not crowd.wrong_rows(addresses, looked_at - {addresses[0].name}, problems):
        raise BenchError("the check of rows passes although one is missing")
    harness.say(f"{BAD}: {done.seconds:.1f} s, {len(looked_at)} looked at, {len(problems)} with a reason")
    return Run(BAD, hosts, done.seconds, done.cpu, done.own, done.tree)


def _report(runs: Sequence[Run], real: int, full: bool) -> None:
    rows = []
    for what, size in dict.fromkeys((run.what, run.hosts) for run in runs):
        some = [run for run in runs if (run.what, run.hosts) == (what, size)]
        seconds, cpu = (statistics.median(getattr(run, name) for run in some) for name in ("seconds", "cpu"))
        rows.append({
            "what": what, "hosts": size, "s": round(seconds, 1), "ms per host": round(seconds / size * 1000),
            "CPU ms per host": round(cpu / size * 1000), "own MB": round(max(run.own for run in some) / MB),
            "all MB": round(max(run.tree for run in some) / MB),
        })  # fmt: skip
    limits = _limits(runs)
    title = f"B10 fleets of many addresses on {real} lab hosts"
    print(f"\n{title}")
    table([tuple(rows[0]), *(tuple(str(value) for value in row.values()) for row in rows)])
    show_limits(limits, full)
    write("fleet", {
        "title": title, "hosts": real, "full": full, "rows": rows, "runs": [asdict(run) for run in runs],
        "limits": limits_document(limits, full),
    })  # fmt: skip


def _limits(runs: Sequence[Run]) -> list[Limit]:
    found = []
    for what in (DETECT, STATUS, NOTHING):
        per = {
            size: statistics.median(run.seconds for run in runs if (run.what, run.hosts) == (what, size)) / size
            for size in sorted({run.hosts for run in runs if run.what == what})
        }
        if len(per) > 1:
            least, most = min(per), max(per)
            name = f"{what}: time per host with {most} hosts, of that with {least}"
            found.append(Limit(name, per[most] / per[least], FLAT))
    worst = max(runs, key=lambda run: run.own / (LIMIT + LIMIT_PER_HOST * run.hosts))
    name = f"memory of the command itself, {worst.what}, {worst.hosts} hosts"
    return [*found, Limit(name, worst.own / MB, (LIMIT + LIMIT_PER_HOST * worst.hosts) / MB, " MB")]


if __name__ == "__main__":
    harness.start(main)
