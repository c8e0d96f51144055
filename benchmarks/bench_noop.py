"""B1, B6: `provision` again on N hosts, nothing to do, against the same state in plain Ansible tasks and in pyinfra."""

from __future__ import annotations

import harness
import noop
from harness import BenchError, Side
from verdict import Goal, report

from phi4_edge.lab import Lab


def main() -> None:
    chosen = harness.options("Provision again", hosts=8)
    with harness.lab("noop", chosen.hosts) as lab, harness.workplace() as folder:
        harness.provisioned(lab)
        ours, cold, warm, pyinfra = sides = noop.sides(lab, folder)
        samples = harness.take_turns(sides, chosen.pairs, lab, damage=noop.DAMAGE)
        _all_notice(lab, [ours, cold, pyinfra])
    goals = [
        Goal(ours.name, pyinfra.name, 2, must=1.5),
        Goal(ours.name, cold.name, 10),
        Goal(ours.name, warm.name),
        # B6: bytes on the wire, nothing to do.
        Goal(ours.name, cold.name, 50, what="bytes"),
        Goal(ours.name, most=60_000, what="bytes"),
    ]
    title = f"B1, B6 nothing to do, {chosen.hosts} hosts, cold SSH"
    report("noop", title, samples, goals, chosen.hosts, full=chosen.full)


def _all_notice(lab: Lab, sides: list[Side]) -> None:
    """A side that would not see a damaged file measures nothing: each must object to one, or repair it."""
    host = lab.hosts[0].name
    for side in sides:
        harness.on_host(lab, host, noop.DAMAGE.do)
        try:
            side.check(harness.finish(side))
        except BenchError:
            harness.say(f"{side.name} notices a damaged file")
        else:
            raise BenchError(f"{side.name} did not notice a damaged file: its time means nothing")
        finally:
            harness.on_host(lab, host, noop.DAMAGE.undo)


if __name__ == "__main__":
    harness.start(main)
