"""What the gate on a host is asked, and what is written down when it was passed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phi4_edge.core import layout
from phi4_edge.core.engines import serving
from phi4_edge.core.facts import receipt
from phi4_edge.core.layout import Layout

# What the host needs besides: its own looks at systemd, Docker and the journal.
SPARE_SECONDS = 300.0
# One short answer; the slowest board that fits generates two tokens per second after a prefill of seconds.
GENERATION_SECONDS = 120.0


def times(plan: Mapping[str, Any]) -> dict[str, float]:
    """Most seconds of each part of the gate, as the defaults of role health have them."""
    stability = float(plan.get("stability_seconds") or 0)
    return {"start_seconds": 0.0, "generation_seconds": GENERATION_SECONDS, "stability_seconds": stability}


def question(
    plan: Mapping[str, Any], there: Layout, rehearsal: bool, times: Mapping[str, float]
) -> tuple[dict[str, Any], float]:
    """Arguments of gate or watch for the release of a plan, and the most seconds that it takes.

    `times`: the most seconds of each part, as the role's variables name them; 0 for `start_seconds` is the engine's.
    """
    times = dict(times)
    if "start_seconds" in times:
        times["start_seconds"] = times["start_seconds"] or serving.start_seconds(plan)
    # The gate generates once; a watch does at its begin and at its end.
    seconds = sum(times.values()) + times["generation_seconds"] + SPARE_SECONDS
    asked = serving.question(plan, there, rehearsal)
    return {"rehearsal": rehearsal, **asked, **times, "receipt": f"{there.state}/receipt.json"}, seconds


def committed(plan: Mapping[str, Any], images: Mapping[str, str], host: str) -> dict[str, Any]:
    """Arguments of the commit of a plan's release, but for the proof that it passed the gate."""
    told = receipt.body(plan, host)
    units = [f"/etc/systemd/system/{unit}" for unit in layout.UNITS]
    return {"body": {**told, **receipt.containers(plan, images)}, "files": units}
