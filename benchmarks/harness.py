"""What every benchmark shares: a lab, fair turns, CPU of all processes, an independent check after every run.

A side is a command. The sides of one benchmark take turns (A B C A B C …) after one run each that is not counted, so
that what else the machine does falls on all of them. Each run starts without SSH connections from the one before.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import processes
from peers import (
    ANSIBLE,
    PYINFRA,
    ROOT,
    ansible_settings,
    peer,
    playbook_command,
    pyinfra_command,
    pyinfra_inventory,
    say,
)

from phi4_edge import lab as labs
from phi4_edge.errors import Phi4EdgeError
from phi4_edge.lab import docker

__all__ = [
    "ANSIBLE", "AT_ONCE", "OURS", "PYINFRA", "ROOT", "BenchError", "Damage", "Done", "Sample", "Side",
    "ansible_settings", "finish", "lab", "on_all", "on_host", "options", "peer", "playbook_command", "provisioned",
    "pyinfra_command", "pyinfra_inventory", "run_once", "say", "start", "take_turns", "workplace",
]  # fmt: skip

OURS = Path(sys.executable).parent / "phi4-edge"
# Benchmarks of hosts are not about waiting for a canary.
AT_ONCE = ("--canary", "0", "--wave", "100%", "--bake", "0")
# Name of a lab that is up and may be used, so that several benchmarks need not boot and provision hosts of their own.
SHARED = "PHI4_BENCH_LAB"
Done = subprocess.CompletedProcess[str]
_TIMEOUT = 1800.0
_POLL = 0.02
_AT_ONCE = 4  # hosts that are looked at past SSH at a time


class BenchError(Exception):
    """A side failed, or did not reach the state that the other one reached: its time would mean nothing."""


@dataclass(frozen=True)
class Sample:
    """One run: wall clock and CPU seconds here (all processes), CPU seconds and bytes on the network of all hosts."""

    wall: float
    cpu: float
    host_cpu: float = 0.0
    bytes: int = 0


@dataclass(frozen=True)
class Side:
    """A command that takes part. `check` gets what it printed and raises BenchError unless it did what is measured.

    `opening`: run before it and not counted; the SSH connections that it leaves are there for the run.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[Done], None] = lambda _: None
    opening: Sequence[str] = ()


@dataclass(frozen=True)
class Damage:
    """What makes the state of the first host wrong, and what undoes it: no check may pass in between."""

    do: str
    undo: str


def options(description: str, pairs: int = 5, **sizes: int) -> argparse.Namespace:
    """--pairs and an option for each size; `full` is whether no size is smaller than by default."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--pairs", type=int, default=pairs, help=f"counted runs of each side (default: {pairs})")
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default: {default}")
    chosen = parser.parse_args()
    if any(getattr(chosen, name) < 1 for name in ("pairs", *sizes)):
        parser.error("needed numbers above 0")
    chosen.full = all(getattr(chosen, name) >= default for name, default in sizes.items())
    return chosen


@contextlib.contextmanager
def lab(name: str, hosts: int) -> Iterator[labs.Lab]:
    """Fresh lab hosts of one kind, gone afterwards; or those of the lab that is shared, when it has as many."""
    shared = labs.load(os.environ[SHARED]) if SHARED in os.environ else None
    if shared and len(shared.hosts) == hosts:
        yield shared
        return
    with own_lab(name, hosts) as made:
        yield made


@contextlib.contextmanager
def own_lab(name: str, hosts: int) -> Iterator[labs.Lab]:
    """Fresh lab hosts of one kind that nobody else uses, gone afterwards."""
    profiles = labs.load_profiles().choose(["gateway-6gb"], hosts)
    made = labs.up(f"bench-{name}-{os.getpid()}", profiles, progress=say)
    try:
        yield made
    finally:
        labs.down(made.name, say)


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """A short-lived directory for playbooks and deploys; without an ansible.cfg."""
    with tempfile.TemporaryDirectory(prefix="phi4-bench-") as folder:
        yield Path(folder)


def on_host(lab_: labs.Lab, host: str, script: str) -> str:
    """What a shell script prints on a host, past SSH and every tool that is measured. Raises BenchError if it fails.

    It is fetched as a file: of a stream Docker's client loses the head where that comes together with the headers of
    the answer, as it does on a busy machine.
    """
    kept, container = f"/var/tmp/bench-{os.getpid()}.out", lab_.host(host).container
    command = ["sh", "-uc", f"(set -e\n{script}\n) > {kept} 2>&1"]
    with docker.connect() as client:
        run = client.api.exec_create(container, command)["Id"]
        client.api.exec_start(run, detach=True)
        while (state := client.api.exec_inspect(run))["Running"] or state["ExitCode"] is None:
            time.sleep(_POLL)
        packed, _ = client.api.get_archive(container, kept)
        with tarfile.open(fileobj=io.BytesIO(b"".join(packed))) as archive:
            found = archive.extractfile(archive.getmembers()[0])
            text = found.read().decode("utf-8", errors="replace") if found else ""
    if state["ExitCode"] != 0:
        raise BenchError(f"{host}: {script[:300]!r} failed: {text.strip()}")
    return text


def on_all(lab_: labs.Lab, script: str) -> dict[str, str]:
    """`on_host` for every host."""
    names = [host.name for host in lab_.hosts]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip(names, pool.map(lambda name: on_host(lab_, name, script), names), strict=True))


def provisioned(lab_: labs.Lab) -> None:
    """The hosts serve what their inventory wants."""
    say(f"provisioning {len(lab_.hosts)} hosts")
    finish(Side("provision", [str(OURS), "provision", str(lab_.inventory), "--yes", *AT_ONCE]))
    on_all(lab_, "timeout 60 sh -c 'until systemctl is-active -q phi4-edge.service; do sleep 1; done'")


def take_turns(
    sides: Sequence[Side],
    pairs: int,
    lab_: labs.Lab | None = None,
    before: Callable[[Side], None] = lambda _: None,
    damage: Damage | None = None,
    warm_up: bool = True,
) -> dict[str, list[Sample]]:
    """Samples of every side; `before` makes the state that a run of the side starts from, and is not measured.

    With `damage` each side's check is shown once that it objects to a state that is wrong.
    """
    samples: dict[str, list[Sample]] = {side.name: [] for side in sides}
    for turn in range(0 if warm_up else 1, pairs + 1):
        for side in sides:
            before(side)
            sample, done = _measure(side, lab_)
            label = "warm-up" if turn == 0 else f"{turn}/{pairs}"
            say(f"{label}  {side.name}: {sample.wall:.2f} s, CPU {sample.cpu:.2f} s")
            if lab_ and damage and turn == (0 if warm_up else 1):
                _must_object(side, done, lab_, damage)
            if turn:
                samples[side.name].append(sample)
    return samples


def _must_object(side: Side, done: Done, lab_: labs.Lab, damage: Damage) -> None:
    """A check that passes whatever the state is checks nothing."""
    host = lab_.hosts[0].name
    on_host(lab_, host, damage.do)
    try:
        side.check(done)
    except BenchError:
        return
    finally:
        on_host(lab_, host, damage.undo)
    raise BenchError(f"the check of {side.name} passes on a host on which {damage.do!r} was run")


def run_once(side: Side) -> Done:
    """Run a side without measuring it; its check is the caller's."""
    with tempfile.TemporaryDirectory(prefix="p4b") as private:  # short: sockets go there
        env = {**os.environ, "ANSIBLE_HOME": private, "ANSIBLE_SSH_CONTROL_PATH_DIR": f"{private}/cp"}
        env["ANSIBLE_CONFIG"] = f"{private}/ansible.cfg"  # empty: nobody's own settings take part
        Path(env["ANSIBLE_CONFIG"]).touch()
        env.setdefault("PHI4_EDGE_STORE", str(ROOT / "build" / "store"))
        env["PHI4_EDGE_STATE"] = f"{private}/state"  # no rollout of before is known
        return subprocess.run(
            side.command, cwd=private, env={**env, **side.environment}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False, timeout=_TIMEOUT,
        )  # fmt: skip


def finish(side: Side) -> Done:
    """Like `run_once`, and nothing of it runs any more. Raises BenchError unless it ended with 0."""
    done = run_once(side)
    processes.end_leftovers()
    return _ended_well(side, done)


def _ended_well(side: Side, done: Done) -> Done:
    if done.returncode != 0:
        raise BenchError(f"{side.name} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done


def _measure(side: Side, lab_: labs.Lab | None) -> tuple[Sample, Done]:
    if side.opening:
        _ended_well(side, run_once(replace(side, command=side.opening)))
    first = _host_counters(lab_)
    cpu, wall = processes.cpu(), time.perf_counter()
    done = run_once(side)
    wall = time.perf_counter() - wall
    processes.end_leftovers()
    cpu = processes.cpu() - cpu
    last = _host_counters(lab_)
    side.check(_ended_well(side, done))
    return Sample(wall, cpu, last[0] - first[0], last[1] - first[1]), done


def _host_counters(lab_: labs.Lab | None) -> tuple[float, int]:
    """CPU seconds that the hosts have used, and bytes that they have received and sent."""
    seconds, moved = 0.0, 0
    if lab_ is not None:
        with docker.connect() as client:
            for host in lab_.hosts:
                stats = client.api.stats(host.container, stream=False, one_shot=True)
                seconds += stats["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9
                # Another interface than the first is the benchmark's own (a slow link), and its bytes are on both.
                moved += sum(stats["networks"]["eth0"][way] for way in ("rx_bytes", "tx_bytes"))
    return seconds, moved


def start(benchmark: Callable[[], None]) -> None:
    """Run a benchmark; what goes wrong ends the program with a message and exit status 1."""
    processes.adopt()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: the lab goes down
    try:
        benchmark()
    except (BenchError, Phi4EdgeError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
