"""B5: B1 on hosts that are far away: 80 ms, then 80 ms with 5 % loss; and round trips of one host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import far
import harness
import noop
import processes
import trips
from harness import BenchError, Side
from verdict import Goal, Limit, report

from phi4_edge.lab import Lab

DELAY, LOSS = 80, 5  # milliseconds, percent
MOST_TRIPS = 6


def main() -> None:
    chosen = harness.options("Provision again, far away", hosts=8)
    with harness.lab("far", chosen.hosts) as lab, harness.workplace() as folder:
        harness.provisioned(lab)
        ours, ansible, _, pyinfra = noop.sides(lab, folder)
        sides = [ours, ansible, pyinfra]
        goals = [Goal(ours.name, pyinfra.name, 3), Goal(ours.name, ansible.name, 15)]
        for name, loss in (("far", 0), ("far-loss", LOSS)):
            with far.far(lab, DELAY, loss) as how:
                able, missed = _arriving(sides, chosen.pairs) if loss else (sides, "")
                samples = harness.take_turns(able, chosen.pairs, lab, damage=noop.DAMAGE, warm_up=not loss)
                limits = [] if loss else _round_trips(lab, folder, sides)
            lossy = f" and {loss} % loss{missed}" if loss else ""
            title = f"B5 nothing to do, {chosen.hosts} hosts at {DELAY} ms{lossy} ({how})"
            known = [goal for goal in goals if {goal.ours, goal.theirs} <= set(samples)]
            report(name, title, samples, known, chosen.hosts, full=chosen.full, limits=limits)


def _arriving(sides: Sequence[Side], runs: int) -> tuple[list[Side], str]:
    """The sides that come to their end on all hosts in every one of `runs`, and how often each of the others did.

    Raises BenchError where ours is not among them.
    """
    able, missed = [], ""
    for side in sides:
        ended = [harness.run_once(side).returncode == 0 for _ in range(runs)]
        processes.end_leftovers()
        harness.say(f"{side.name}: {sum(ended)} of {runs} runs came to their end on all hosts")
        if all(ended):
            able.append(side)
        else:
            missed += f"; {side.name} came to its end in {sum(ended)} of {runs} runs"
    if sides[0] not in able:
        raise BenchError(f"{sides[0].name} does not come to its end on all hosts")
    return able, missed


def _round_trips(lab: Lab, folder: Path, sides: Sequence[Side]) -> list[Limit]:
    """Of one host: ours after connecting, which has a limit, and all of everybody's, which are told."""
    host = lab.hosts[0].name
    with trips.relay(lab, host) as relay:
        connect = trips.connecting(lab, relay)
        via = folder / "via.ini"
        via.write_text(f"[gateways]\n{host} ansible_host=127.0.0.1 ansible_port={relay.port}\n")
        found, after = [], 0
        for side in sides:
            relay.reset()
            harness.finish(_through(side, lab, via, relay.port, folder))
            if not relay.connections:
                raise BenchError(f"{side.name} did not use the relay")
            if side is sides[0]:
                after = relay.trips - connect * relay.connections
            found.append(f"{side.name} {relay.trips} in {relay.connections} connections")
    harness.say(f"round trips of one host: connecting alone {connect}; {'; '.join(found)}")
    return [Limit("round trips of a host after connecting", after, MOST_TRIPS)]


def _through(side: Side, lab: Lab, via: Path, port: int, folder: Path) -> Side:
    """The side, with the relay before the first host; its check would count all hosts."""
    host, command = lab.hosts[0].name, [*side.command]
    if str(lab.inventory) in command:
        place = command.index(str(lab.inventory)) + 1
        option = ["-i"] if command[place - 2] == "-i" else []
        command[place:place] = [*option, str(via)]
        command += ["--limit", host]
    else:
        relayed = harness.pyinfra_inventory(lab, folder, {host: ("127.0.0.1", port)})
        command = [str(relayed) if word.endswith("/hosts.py") else word for word in command] + ["--limit", host]
    return replace(side, command=command)


if __name__ == "__main__":
    harness.start(main)
