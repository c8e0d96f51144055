"""Rollouts as `phi4-edge rollout show -o json` gives them, made to measure: from a good one to a hostile one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from phi4_edge.core.facts.parse import parse
from phi4_edge.core.plan.decide import Inputs, decide
from phi4_edge.core.plan.overrides import Overrides
from phi4_edge.data import load_catalog, load_table

FIXTURES = Path(__file__).parents[1] / "fixtures" / "hosts"
BEGAN = datetime(2026, 11, 22, 15, 30, tzinfo=UTC)
ID = "20261122T153000Z-ab12cd"
RELEASE = "r-84985b1b2948"
STEPS = (("artifact", 38.0), ("onnx", 21.5), ("service", 3.2), ("health", 12.4), ("receipt", 0.6))
# What the gate says about an engine that answers /health and never generates.
HANGS = """generate: found no answer to a real question within 30 s, needed one; the last lines of its journal:
  phi4-edge-onnx 1.4.0: loading /opt/phi4-edge/releases/r-84985b1b2948/model
  loaded 2.40 GB in 8.1 s, 4 threads, context 4096
  listening on 127.0.0.1:8080
  GET /health 200 0.4 ms
  POST /v1/chat/completions: worker 71412 took the request
  POST /v1/chat/completions: no token after 30.0 s, worker 71412 is in state D (disk sleep)
  worker 71412: read of model.onnx.data stopped at 1 734 213 632 bytes: Input/output error"""
LOOK = "see the lines above; then run again, or take the release out: phi4-edge status INVENTORY"


@cache
def plan_text(fixture: str) -> str:
    document = json.loads((FIXTURES / f"{fixture}.json").read_text())
    inputs = Inputs(
        artifacts={"phi-4-mini-instruct/onnx-int4": "ab" * 32},
        runtimes={"onnx": "cd" * 32, "phi4-edge/onnx": "cd" * 32},
    )
    return json.dumps(decide(parse(document), load_table(), load_catalog(), Overrides(), inputs).to_dict())


def plan(host: str, fixture: str = "n150-8gb") -> dict[str, Any]:
    """A real plan, made from facts of a real machine, under another name."""
    made: dict[str, Any] = json.loads(plan_text(fixture))
    return {**made, "host": host}


def at(seconds: float) -> str:
    return (BEGAN + timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def host(name: str, wave: int | None, outcome: str, began: float = 0.0, **more: Any) -> dict[str, Any]:
    """One host; those that began have steps, up to `upto` of them, `slower` times as long."""
    ran = outcome not in ("untouched", "locked", "no_fit", "preflight") and more.pop("ran", outcome != "unreachable")
    slower, upto = more.pop("slower", 1.0), more.pop("upto", len(STEPS))
    steps, clock = [], began
    for role, seconds in STEPS[:upto] if ran else ():
        steps.append({"role": role, "began": at(clock), "seconds": round(seconds * slower, 3)})
        clock += seconds * slower
    entry = {
        "host": name,
        "wave": wave,
        "outcome": outcome,
        "reason": None,
        "next_step": None,
        "release": RELEASE if outcome in ("done", "unchanged") else None,
        "changed": 14 if ran else 0,
        "seconds": round(clock - began, 3),
        "began": at(began) if ran else None,
        "ended": at(clock) if ran else None,
        "steps": steps,
        "plan": plan(name, more.pop("fixture", "n150-8gb")),
    }
    return {**entry, **more}


@dataclass(frozen=True)
class Sample:
    """What a rollout document is made of."""

    hosts: Sequence[Mapping[str, Any]]
    state: str = "done"
    exit_code: int | None = 0
    stopped: str | None = None
    names: Sequence[str] = ("canary", "wave 1", "wave 2", "wave 3")
    bake: float = 60.0
    bad: int = 0
    notes: Sequence[str] = field(default_factory=tuple)

    def document(self) -> dict[str, Any]:
        seconds = max((float(each["seconds"]) for each in self.hosts), default=0.0)
        return {
            "format": "phi4-edge/rollout/1",
            "id": ID,
            "operation": "provision",
            "state": self.state,
            "stopped": self.stopped,
            "started": at(0),
            "ended": at(4 * (seconds + self.bake)) if self.exit_code is not None else None,
            "user": "anna",
            "controller": "ops1",
            "version": "0.3.0",
            "pid": 71302,
            "inventory": ["inventory/gateways.ini"],
            "limit": None,
            "options": {"canary": None, "wave": "20%", "bake": self.bake, "max_failures": "0", "step_timeout": 2700},
            "exit_code": self.exit_code,
            "budget": {"size": "0", "bad": self.bad, "exceeded": self.stopped == "budget"},
            "waves": [self._wave(number, name, seconds) for number, name in enumerate(self.names)],
            "hosts": [dict(each) for each in self.hosts],
            "notes": list(self.notes),
        }

    def _wave(self, number: int, name: str, seconds: float) -> dict[str, Any]:
        members = [each for each in self.hosts if each["wave"] == number]
        ran = any(each["began"] for each in members)
        begin = number * (seconds + self.bake)
        return {
            "name": name,
            "number": number,
            "hosts": [each["host"] for each in members],
            "began": at(begin) if ran else None,
            "ended": at(begin + seconds) if ran else None,
            "bake_seconds": self.bake if ran and not self.stopped and number + 1 < len(self.names) else 0,
        }


def good() -> dict[str, Any]:
    """Eight hosts in four waves; all went well, one had nothing to do, one is slow."""
    kinds = ("n150-8gb", "pi4-4gb", "n150-8gb", "n150-8gb", "pi4-4gb", "n150-8gb", "xeon-rtx3060-driver570", "n150-8gb")
    hosts = []
    for number, kind in enumerate(kinds):
        name, wave = f"gw{number + 1}", number // 2
        more: dict[str, Any] = {"fixture": kind, "slower": 3.1 if kind == "pi4-4gb" else 1 + number / 10}
        hosts.append(host(name, wave, "unchanged" if number == 3 else "done", wave * 300.0, **more))
    return Sample(hosts).document()


def contained() -> dict[str, Any]:
    """A release that never generates: one canary is back on the release before, the other was taken back with it."""
    again = {"reason": "the rollout was stopped: 1 bad host, 0 allowed", "next_step": "run again when it is mended"}
    hosts = [
        host("gw1", 0, "reverted", release="r-390c2a2b85a9", reason="was good; went back with its wave"),
        host("gw2", 0, "rolled_back", upto=4, reason=HANGS, next_step=LOOK, release="r-390c2a2b85a9", slower=2.1),
        *(host(f"gw{number}", 1 + (number - 3) // 2, "untouched", **again) for number in range(3, 9)),
    ]
    return Sample(hosts, "stopped", 4, "budget", bad=1).document()


def interrupted() -> dict[str, Any]:
    """Ctrl-C in the second wave."""
    half = "ended in role service: the switch may be half done, the next run finishes or undoes it"
    later = {"reason": "interrupted before its turn; nothing was changed", "next_step": "run the same command again"}
    hosts = [
        host("gw1", 0, "done"),
        host("gw2", 0, "done"),
        host("gw3", 1, "interrupted", 200.0, upto=3, reason=half, next_step="run the same command again"),
        host("gw4", 1, "done", 200.0),
        *(host(f"gw{number}", 1 + (number - 3) // 2, "untouched", **later) for number in range(5, 9)),
    ]
    return Sample(hosts, "interrupted", 130, "interrupted").document()


def large(number: int = 200) -> dict[str, Any]:
    """Many hosts in six waves; some of the third wave fail, and the budget ends it."""
    waves = ("canary", "wave 1", "wave 2", "wave 3", "wave 4", "wave 5")
    full = "found 1.2 GB free below /var/lib/phi4-edge, needed 10.0 GB for the model and the release: free some space"
    hosts = []
    for index in range(number):
        name = f"gateway-{index + 1:03d}.plant-7.example.net"
        wave = 0 if index < 2 else min(1 + (index - 2) * 5 // number, 5)
        kind = {"fixture": "pi4-4gb" if index % 3 == 1 else "n150-8gb", "slower": 1 + index % 7 / 4}
        if wave > 2:
            hosts.append(
                host(name, wave, "untouched", reason="the rollout was stopped: 7 bad hosts, 3 allowed", **kind)
            )
        elif wave == 2 and index % 6 == 0:
            told = {"reason": HANGS if index % 12 else full, "next_step": LOOK, "upto": 4 if index % 12 else 1}
            hosts.append(host(name, wave, "failed", wave * 300.0, **told, **kind))
        elif wave == 2 and index % 17 == 1:
            gone = {"reason": "found no way to 192.0.2.5:22 (No route to host)", "next_step": "check that it is on"}
            hosts.append(host(name, wave, "unreachable", **gone, **kind))
        else:
            hosts.append(host(name, wave, "done", wave * 300.0, **kind))
    bad = sum(each["outcome"] in ("failed", "unreachable") for each in hosts)
    return Sample(hosts, "stopped", 4, "budget", names=waves, bad=bad).document()


SCRIPT = "<script>window.hit=1;document.title='hit'</script>"
HANDLER = '"><img src=x onerror="window.hit=1"><svg onload=window.hit=1>\''
LONG = "x" * 4000
HOSTILE = (
    f"found {SCRIPT}{HANDLER} {LONG}, needed none; the last lines of its journal:\n"
    "  \x1b[31;1mred\x1b[0m \x1b]8;;http://evil.example/\x07link\x1b]8;;\x07 </pre></details></main>\n"
    "  \u202eevil\u202c \u2066isolate \u05d0\u05d1\u05d2 \u0627\u0644\u0639 &lt;b&gt; &#60;i&#62; <!-- --> ]]>\n"
    f"  javascript:alert(1) {SCRIPT} \x00\x07\x9b2J \ud800 Z\u0335\u0321\u0322\u0323\u0324\u0325"
)


def hostile() -> dict[str, Any]:
    """Everything that a host or an inventory can say is an attack."""
    name = "gw1<script>alert(1)</script>"
    bad = host(name, 0, "failed", reason=HOSTILE, next_step=f"run {SCRIPT}", release=f"r-1{HANDLER}")
    bad["plan"] = {**plan(name, "hostile"), "warnings": [HOSTILE], "reasons": [SCRIPT, LONG]}
    bad["steps"] = [{"role": f"health{HANDLER}", "began": SCRIPT, "seconds": 3.0}]
    quoted = host("\u202ewg\u0000 --limit=all;'\"$(id)`id`", 0, "unreachable", reason=SCRIPT, next_step=HANDLER)
    strange = host(LONG, 1, f"new {SCRIPT}", reason="\x1b[2J")
    document = Sample([bad, quoted, strange], "stopped", 4, "budget", bad=2, names=("canary", SCRIPT)).document()
    hostile_text = {"user": SCRIPT, "controller": HANDLER, "version": SCRIPT, "limit": HANDLER, "notes": [HOSTILE]}
    return {**document, **hostile_text, "inventory": [SCRIPT, "a b'c.ini"], "id": f"{ID}{SCRIPT}"}


def without_plans() -> dict[str, Any]:
    """What a rollback and a journal that was cut short leave: no plans, no times, no steps."""
    hosts = [
        host("gw1", 0, "done", ran=False, plan=None),
        host("gw2", None, "locked", plan=None, reason="found the lock of bob@ops2", next_step="wait for that run"),
    ]
    document = Sample(hosts, "stopped", 6, "locked", names=("wave 1",)).document()
    return {**document, "operation": "rollback", "started": "", "waves": document["waves"][:1]}


ALL = {
    "good": good,
    "contained": contained,
    "interrupted": interrupted,
    "large": large,
    "hostile": hostile,
    "without_plans": without_plans,
}
