"""B10: rollouts over a fleet of many addresses on few real hosts: time per host and memory of the controller.

Each host of the inventory is one more address of a lab host. Two rollouts are run on 25, 50 and 100 of them, in turn:
nothing to do (every host is as planned, so it is looked at and left alone), and a failing canary (every host is to get
a new release, the first one fails, no other host is touched). What cannot be seen here: many hosts that change at once,
for their engines would be one and the same.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import harness
from harness import BenchError
from verdict import RESULTS

from phi4_edge.lab import Lab, LabHost

REAL = 4
SIZES = (25, 50, 100)
HOOK = """printf '{"at": "stage:before", "do": "fail"}' > /run/phi4-edge-hook"""
MB = 1_000_000
# Design of B10: the controller's own process, in bytes.
LIMIT, LIMIT_PER_HOST = 120 * MB, MB // 2


@dataclass(frozen=True)
class Rollout:
    """One run: seconds, and the greatest memory (bytes) of the command itself and of everything it started."""

    hosts: int
    what: str
    seconds: float
    own: int
    tree: int


def main() -> None:
    chosen = harness.options("Rollouts over many addresses", hosts=0)
    runs: list[Rollout] = []
    with harness.lab("fleet", REAL) as lab, harness.workplace() as folder:
        addresses = _addresses(lab, max(SIZES))
        inventories = {size: _inventory(lab, addresses[:size], folder / f"{size}.ini") for size in SIZES}
        harness.say("provisioning the real hosts")
        _run([str(lab.inventory), "--yes", *harness.AT_ONCE], 0, folder)
        for turn in range(chosen.pairs):
            for size, path in inventories.items():
                for what in ("nothing to do", "failing canary"):
                    runs.append(_rollout(lab, path, size, what, folder))
                    harness.say(f"{turn + 1}/{chosen.pairs}  {size} hosts, {what}: {runs[-1].seconds:.1f} s")
    _report(runs)


def _addresses(lab: Lab, count: int) -> list[tuple[LabHost, str]]:
    """Real host and address of every host of the fleet: further addresses in the lab's own network."""
    found = []
    for number in range(count):
        host = lab.hosts[number % REAL]
        first, second, _, _ = host.address.split(".")
        address = f"{first}.{second}.250.{number + 1}"
        harness.on_host(lab, host.name, f"ip address add {address}/16 dev eth0")
        found.append((host, address))
    return found


def _inventory(lab: Lab, addresses: list[tuple[LabHost, str]], path: Path) -> Path:
    """An inventory with these hosts, and the keys of the real ones under each of their addresses."""
    keys = {line.split()[0]: line.split(maxsplit=1)[1] for line in lab.known_hosts.read_text().splitlines()}
    known = path.with_suffix(".known_hosts")
    known.write_text("".join(f"{address} {keys[host.address].strip()}\n" for host, address in addresses))
    args = f"-o UserKnownHostsFile={known} -o StrictHostKeyChecking=yes"
    settings = (
        f"phi4_model=tiny ansible_user=gateway ansible_become=true ansible_ssh_private_key_file={lab.key} "
        f"ansible_ssh_common_args='{args}'"
    )
    lines = [f"h{number:03d} ansible_host={found[1]} {settings}" for number, found in enumerate(addresses)]
    path.write_text("[gateways]\n" + "\n".join(lines) + "\n")
    return path


def _rollout(lab: Lab, inventory: Path, hosts: int, what: str, folder: Path) -> Rollout:
    if what == "nothing to do":
        seconds, own, tree, text = _run([str(inventory), "--yes", "--output", "json"], 0, folder)
        counts = {"unchanged": hosts}
    else:
        harness.on_all(lab, HOOK)
        wanted = inventory.with_suffix(".changed.ini")
        wanted.write_text(inventory.read_text() + "\n[gateways:vars]\nphi4_context_length=1024\n")
        arguments = [str(wanted), "--yes", "--output", "json", "--canary", "1", "--bake", "0"]
        seconds, own, tree, text = _run(arguments, 4, folder)
        harness.on_all(lab, "rm -f /run/phi4-edge-hook*")
        counts = {"failed": 1, "untouched": hosts - 1}
    found = json.loads(text.strip().splitlines()[-1])["counts"]
    if found != counts:
        raise BenchError(f"{what} on {hosts} hosts came to {found}, needed {counts}")
    return Rollout(hosts, what, seconds, own, tree)


def _run(arguments: list[str], code: int, folder: Path) -> tuple[float, int, int, str]:
    """Seconds, greatest memory of the command and of its whole tree in bytes, and what it printed."""
    env = {**os.environ, "PHI4_EDGE_STATE": str(folder / "state")}
    env.setdefault("PHI4_EDGE_STORE", str(harness.ROOT / "build" / "store"))
    begun = time.perf_counter()
    process = subprocess.Popen(
        [str(harness.OURS), "provision", *arguments],
        env=env, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    peak = [0, 0]
    watcher = threading.Thread(target=_watch, args=(process, peak))
    watcher.start()
    out, err = process.communicate()
    seconds = time.perf_counter() - begun
    watcher.join()
    if process.returncode != code:
        raise BenchError(f"provision ended with {process.returncode}, needed {code}:\n{out[-2000:]}{err[-2000:]}")
    return seconds, peak[0], peak[1], out


def _watch(process: subprocess.Popen[str], peak: list[int]) -> None:
    """`peak` holds the greatest memory that was seen, looked at ten times a second."""
    while process.poll() is None:
        tree = list(_family(process.pid))
        peak[0] = max(peak[0], _memory(process.pid))
        peak[1] = max(peak[1], sum(_memory(pid) for pid in tree))
        time.sleep(0.1)


def _family(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue  # it ended meanwhile
        for child in children:
            yield from _family(int(child))


def _memory(pid: int) -> int:
    """Proportional set size in bytes: what is shared by forks counts once; 0 for a process that has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def _report(runs: list[Rollout]) -> None:
    print(f"\nB10 fleets of many addresses on {REAL} hosts ({platform.machine()}, {os.cpu_count()} cores)")
    print(f"{'rollout':<16}{'hosts':>6}{'seconds':>9}{'ms per host':>13}{'own MB':>8}{'all MB':>8}")
    rows = []
    for what in ("nothing to do", "failing canary"):
        for size in SIZES:
            some = sorted((run for run in runs if (run.hosts, run.what) == (size, what)), key=lambda run: run.seconds)
            middle = some[len(some) // 2]
            own, tree = max(run.own for run in some), max(run.tree for run in some)
            per = middle.seconds / size * 1000
            print(f"{what:<16}{size:>6}{middle.seconds:>9.1f}{per:>13.0f}{own / MB:>8.0f}{tree / MB:>8.0f}")
            rows.append({"what": what, "hosts": size, "seconds": middle.seconds, "own": own, "tree": tree})
    last = max(row["own"] for row in rows if row["hosts"] == SIZES[-1])
    limit = LIMIT + LIMIT_PER_HOST * SIZES[-1]
    print(
        f"\ncontroller's own process: {last / MB:.0f} MB, goal {limit / MB:.0f} MB: "
        + ("met" if last <= limit else "not met")
    )
    RESULTS.mkdir(parents=True, exist_ok=True)
    document = {
        "format": "phi4-edge/bench/1",
        "benchmark": "fleet",
        "rows": rows,
        "runs": [asdict(run) for run in runs],
    }
    (RESULTS / "fleet.json").write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    harness.start(main)
