"""Plays a rollout of many hosts into a view, always the same one: for the benchmark of the view, and for looking at it.

Only the side that is played imports what it needs: a peer runs in an environment that has nothing of ours.
"""

from __future__ import annotations

import argparse
import itertools
import random
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROLES = ("lock", "probe", "plan", "artifact", "onnx", "service", "health", "receipt")
TASKS = 3  # of each role; each task begins and ends
EVIL = "no answer \x1b[2J\x1b]0;owned\x07[bold red]\u202etxt\x00" + "x" * 3000

Log = list[tuple[float, str]]  # when each call was told, and its words


@dataclass(frozen=True)
class Wave:
    """Like core.rollout.waves.Wave."""

    name: str
    number: int
    hosts: tuple[str, ...]


@dataclass(frozen=True)
class Told:
    """One call of a view, and when; `role`, `task`, `message` are those of a host's event."""

    at: float
    what: str
    host: str = ""
    kind: str = ""
    role: str = ""
    task: str = ""
    message: str = ""
    wave: Wave | None = None
    seconds: float = 0.0


def waves(hosts: int, canary: int, size: int) -> tuple[Wave, ...]:
    """All hosts, the first ones as the canary; with all of them in it there is one wave."""
    names = [f"gateway-{number:03d}.site{number % 7}" for number in range(1, hosts + 1)]
    cuts = [0, *range(min(canary, hosts), hosts, size), hosts]
    parts = [tuple(names[first:end]) for first, end in itertools.pairwise(cuts)]
    return tuple(Wave("canary" if not n else f"wave {n}", n, part) for n, part in enumerate(parts))


def script(fleet: tuple[Wave, ...], wave_seconds: float, bake_seconds: float, bad: int) -> list[Told]:
    """What is told, in order of time. Hosts move apart as with Ansible's free pace; `bad` hosts fail in all."""
    chance, at, found = random.Random(4), 0.0, []
    failing = set(chance.sample([host for wave in fleet[1:] or fleet for host in wave.hosts], bad))
    for wave in fleet:
        found.append(Told(at, "wave", wave=wave))
        told = [call for host in wave.hosts for call in _host(host, at, wave_seconds, host in failing, chance)]
        found += sorted(told, key=lambda call: call.at)
        at += wave_seconds
        if wave is not fleet[-1]:
            found.append(Told(at, "bake", wave=wave, seconds=bake_seconds))
            at += bake_seconds
    return found


def _host(host: str, start: float, seconds: float, fails: bool, chance: random.Random) -> Iterator[Told]:
    steps = [(role, task) for role in ROLES for task in range(TASKS)]
    moments = sorted(chance.uniform(0.0, seconds * 0.95) for _ in range(2 * len(steps)))
    for number, (role, task) in enumerate(steps):
        began, ended = (start + moment for moment in moments[2 * number : 2 * number + 2])
        name = f"{host[8:11]}/{number:02d} Do part {task + 1} of {role}"
        yield Told(began, "event", host, "start", role, name)
        if fails and role == "health":
            yield Told(ended, "event", host, "failed", role, name, EVIL)
            yield Told(ended, "finished", host, "rolled_back")
            return
        yield Told(ended, "event", host, "changed" if task else "ok", role, name)
    yield Told(ended, "finished", host, "done")


def ours(output: str, fleet: tuple[Wave, ...], calls: list[Told], log: Log) -> None:
    """The view that phi4-edge would take with these streams."""
    from phi4_edge.runner.events import HostEvent
    from phi4_edge.view.view import progress_view

    bad = 0
    with progress_view(output) as shown:
        began = time.monotonic()
        shown.rollout("20261122T153000Z-ab12cd", fleet, "10%")
        for call in calls:
            _wait(began + call.at)
            log.append(_line(call))
            if call.what == "event":
                shown.event(HostEvent(call.host, call.kind, call.role, call.task, call.message))
            elif call.what == "finished":
                shown.finished(call.host, call.kind)
                if call.kind == "rolled_back":
                    bad += 1
                    shown.spent(bad, False)
            elif call.what == "wave":
                shown.wave(call.wave)
            else:
                shown.bake(call.wave, call.seconds)


def none(calls: list[Told], log: Log) -> None:
    """Nobody looks: what the playing itself costs."""
    began = time.monotonic()
    for call in calls:
        _wait(began + call.at)
        log.append(_line(call))


def peer(calls: list[Told], log: Log) -> None:
    """The usual way: rich's Live with a table that has a row for each host."""
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    rows: dict[str, Told] = {}

    def draw() -> Table:
        table = Table("host", "state", "step", "task")
        for host, call in rows.items():
            table.add_row(*(Text(text) for text in (host, call.kind, call.role, call.task or call.message)))
        return table

    with Live(get_renderable=draw, console=Console(stderr=True), refresh_per_second=5):
        began = time.monotonic()
        for call in calls:
            _wait(began + call.at)
            log.append(_line(call))
            if call.host:
                rows[call.host] = call


def _line(call: Told) -> tuple[float, str]:
    return (time.monotonic(), f"{call.what} {call.host} {call.kind} {call.task}")


def _wait(until: float) -> None:
    left = until - time.monotonic()
    if left > 0:
        time.sleep(left)


def main() -> None:
    """Writes when each call was told, and last the CPU seconds of the playing, to --log."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=["table", "json", "none", "rich"])
    parser.add_argument("--hosts", type=int, default=200)
    parser.add_argument("--canary", type=int, default=5)
    parser.add_argument("--wave", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each wave (default: 20)")
    parser.add_argument("--bake", type=float, default=5.0)
    parser.add_argument("--bad", type=int, default=4)
    parser.add_argument("--log", type=Path)
    chosen = parser.parse_args()
    fleet = waves(chosen.hosts, chosen.canary, chosen.wave)
    calls = script(fleet, chosen.seconds, chosen.bake, chosen.bad)
    log: Log = []
    first, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    if chosen.side in ("table", "json"):
        ours(chosen.side, fleet, calls, log)
    else:
        {"none": none, "rich": peer}[chosen.side](calls, log)
    last = resource.getrusage(resource.RUSAGE_SELF)
    cpu = last.ru_utime + last.ru_stime - first.ru_utime - first.ru_stime
    if chosen.log:
        lines = [f"{at:.6f} {words}" for at, words in log]
        chosen.log.write_text("\n".join([*lines, f"{time.monotonic() - began:.6f} cpu {cpu:.6f}"]) + "\n")


if __name__ == "__main__":
    sys.exit(main())
