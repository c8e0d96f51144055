"""B12: CPU of starting up, against `ansible --version`."""

from __future__ import annotations

import json

import harness
from harness import BenchError, Done, Side
from verdict import Goal, report

FACTS = harness.ROOT / "tests" / "fixtures" / "hosts" / "gateway-6gb.json"


def main() -> None:
    chosen = harness.options("Start-up of the command line")
    ansible = harness.peer(harness.ANSIBLE) / "ansible"
    sides = [
        Side("phi4-edge --help", [str(harness.OURS), "--help"], check=lambda done: _contains(done.stdout, "provision")),
        Side("plan --facts", [str(harness.OURS), "plan", "--facts", str(FACTS), "--output", "json"], check=_planned),
        Side("ansible --version", [str(ansible), "--version"], check=lambda done: _contains(done.stdout, "core 2.")),
    ]
    samples = harness.take_turns(sides, chosen.pairs)
    goals = [
        Goal("phi4-edge --help", most=0.25),
        Goal("plan --facts", most=0.5),
        Goal("phi4-edge --help", "ansible --version"),
        Goal("plan --facts", "ansible --version"),
    ]
    report("startup", "B12 start-up", samples, goals, full=chosen.full)


def _contains(text: str, wanted: str) -> None:
    if wanted not in text:
        raise BenchError(f"found no {wanted!r} in:\n{text}")


def _planned(done: Done) -> None:
    plans = json.loads(done.stdout)["plans"]
    if len(plans) != 1 or not plans[0]["fits"]:
        raise BenchError(f"needed one plan that fits, found:\n{done.stdout}")


if __name__ == "__main__":
    harness.start(main)
