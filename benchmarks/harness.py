"""What every benchmark shares: peers, a lab of its own, fair turns, CPU of all processes.

A side is a command. The sides of one benchmark take turns (A B C A B C …) after one run each that is not counted, so
that what else the machine does falls on all of them. Each run starts without SSH connections from the one before.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from phi4_edge import lab as labs
from phi4_edge.errors import Phi4EdgeError
from phi4_edge.lab import docker
from phi4_edge.lab.faults import execute

ROOT = Path(__file__).resolve().parents[1]
BENCH = ROOT / "build" / "bench"
OURS = Path(sys.executable).parent / "phi4-edge"
# Exact versions: the core that this project pins, and the newest pyinfra when the benchmarks were written.
ANSIBLE = "ansible-core==2.19.14"
PYINFRA = "pyinfra==3.10.0"
# Benchmarks of hosts are not about waiting for a canary.
AT_ONCE = ("--canary", "0", "--wave", "100%", "--bake", "0")
Done = subprocess.CompletedProcess[str]
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_TIMEOUT = 900.0


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
    """A command that takes part. `check` gets what it printed and raises BenchError unless it did what is measured."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[Done], None] = lambda _: None


def options(description: str, hosts: int) -> argparse.Namespace:
    """--pairs, and --hosts for a benchmark whose default of them is not 0."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--pairs", type=int, default=5, help="counted runs of each side (default: 5)")
    if hosts:
        parser.add_argument("--hosts", type=int, default=hosts, help=f"lab hosts (default: {hosts})")
    chosen = parser.parse_args()
    if chosen.pairs < 1 or getattr(chosen, "hosts", 1) < 1:
        parser.error("--pairs and --hosts need a number above 0")
    return chosen


def say(text: str) -> None:
    """Progress."""
    print(text, file=sys.stderr, flush=True)


def peer(requirement: str) -> Path:
    """The bin directory of an environment that holds just `requirement` (NAME==VERSION), made once from PyPI."""
    place = BENCH / requirement.replace("==", "-")
    ready = place / ".ready"
    if not ready.exists():
        say(f"installing {requirement} into {place.relative_to(ROOT)}")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
        subprocess.run([place / "bin" / "pip", "install", "--quiet", requirement], check=True)
        ready.touch()
    return place / "bin"


@contextlib.contextmanager
def lab(name: str, hosts: int) -> Iterator[labs.Lab]:
    """Fresh lab hosts of one kind, gone afterwards."""
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
    """What a shell script prints on a host, past SSH and every tool that is measured. Raises BenchError if it fails."""
    done = execute(lab_, host, ["sh", "-euc", script])
    if done.returncode != 0:
        raise BenchError(f"{host}: {script!r} failed: {done.text.strip()}")
    return done.text


def on_all(lab_: labs.Lab, script: str) -> dict[str, str]:
    """`on_host` for every host."""
    return {host.name: on_host(lab_, host.name, script) for host in lab_.hosts}


def ansible_settings(forks: int) -> dict[str, str]:
    """Ansible tuned by a careful operator: pipelining, shared connections, no compression, no facts, enough forks."""
    return {
        "ANSIBLE_FORKS": str(forks),
        "ANSIBLE_GATHERING": "explicit",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_PIPELINING": "True",
        "ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=60s -o Compression=no",
    }


def pyinfra_inventory(lab_: labs.Lab, folder: Path) -> Path:
    """The lab's hosts as an inventory of pyinfra."""
    data = {
        "ssh_user": "gateway", "ssh_key": str(lab_.key), "ssh_known_hosts_file": str(lab_.known_hosts),
        "ssh_strict_host_key_checking": "yes", "_sudo": True,
    }  # fmt: skip
    path = folder / "hosts.py"
    path.write_text(f"hosts = {[(host.address, {**data, 'lab_name': host.name}) for host in lab_.hosts]!r}\n")
    return path


def take_turns(
    sides: Sequence[Side], pairs: int, lab_: labs.Lab | None = None, before: Callable[[Side], None] = lambda _: None
) -> dict[str, list[Sample]]:
    """Samples of every side; `before` makes the state that a run of the side starts from, and is not measured."""
    samples: dict[str, list[Sample]] = {side.name: [] for side in sides}
    for turn in range(pairs + 1):
        for side in sides:
            before(side)
            sample = _measure(side, lab_)
            label = "warm-up" if turn == 0 else f"{turn}/{pairs}"
            say(f"{label}  {side.name}: {sample.wall:.2f} s, CPU {sample.cpu:.2f} s")
            if turn:
                samples[side.name].append(sample)
    return samples


def run_once(side: Side) -> Done:
    """Run a side without measuring it; its check is the caller's."""
    with tempfile.TemporaryDirectory(prefix="p4b") as private:  # short: sockets go there
        env = {**os.environ, "ANSIBLE_HOME": private, "ANSIBLE_SSH_CONTROL_PATH_DIR": f"{private}/cp"}
        env["ANSIBLE_CONFIG"] = f"{private}/ansible.cfg"  # empty: nobody's own settings take part
        Path(env["ANSIBLE_CONFIG"]).touch()
        env.setdefault("PHI4_EDGE_STORE", str(ROOT / "build" / "store"))
        return subprocess.run(
            side.command, cwd=private, env={**env, **side.environment}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False, timeout=_TIMEOUT,
        )  # fmt: skip


def finish(side: Side) -> Done:
    """Like `run_once`, and nothing of it runs any more. Raises BenchError unless it ended with 0."""
    done = run_once(side)
    _end_leftovers()
    return _ended_well(side, done)


def _ended_well(side: Side, done: Done) -> Done:
    if done.returncode != 0:
        raise BenchError(f"{side.name} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done


def _measure(side: Side, lab_: labs.Lab | None) -> Sample:
    first = _host_counters(lab_)
    cpu, wall = _children_cpu(), time.perf_counter()
    done = run_once(side)
    wall = time.perf_counter() - wall
    _end_leftovers()
    cpu = _children_cpu() - cpu
    last = _host_counters(lab_)
    side.check(_ended_well(side, done))
    return Sample(wall, cpu, last[0] - first[0], last[1] - first[1])


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _end_leftovers() -> None:
    """End what a side left running (SSH connections that were to persist): its CPU counts, the next run starts cold.

    We are the subreaper of all that was started, so what has lost its parent is a child of ours.
    """
    while True:
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it ended meanwhile
                if int(path.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                    os.kill(int(path.parent.name), signal.SIGTERM)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _host_counters(lab_: labs.Lab | None) -> tuple[float, int]:
    """CPU seconds that the hosts have used, and bytes that they have received and sent."""
    seconds, moved = 0.0, 0
    if lab_ is not None:
        with docker.connect() as client:
            for host in lab_.hosts:
                stats = client.api.stats(host.container, stream=False, one_shot=True)
                seconds += stats["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9
                moved += sum(net["rx_bytes"] + net["tx_bytes"] for net in stats["networks"].values())
    return seconds, moved


def start(benchmark: Callable[[], None]) -> None:
    """Run a benchmark; what goes wrong ends the program with a message and exit status 1."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: the lab goes down
    try:
        benchmark()
    except (BenchError, Phi4EdgeError) as error:
        sys.exit(f"error: {error}")
