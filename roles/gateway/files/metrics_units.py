"""What systemd says of our units, and how the release stands: the one that runs, the one committed, and drift.

Python 3.8, standard library.
"""

from __future__ import annotations

import json
import os
import re
import time
from typing import Any, Dict, List, Mapping

from hosttools import Gap, tool
from metrics_text import Page

UNITS = tuple(
    "phi4-edge" + rest
    for rest in (
        ".service", "-guard.service", "-load.service", "-webui.service", "-gateway.service", "-metrics.service",
        "-measure.service", ".socket", "-heal.service", "-heal.timer",
    )
)  # fmt: skip
HEAL = "phi4-edge-heal.service"
PROPERTIES = "Id,LoadState,ActiveState,NRestarts,ExecMainExitTimestampMonotonic"
# What self-healing leaves, and what Ansible is told of the release that was committed.
HEAL_FORMAT, FACT_FORMAT = "phi4-edge/heal/1", "phi4-edge/fact/1"
FACT = "/etc/ansible/facts.d/phi4_edge.fact"
HOUR = 3600.0
LIMIT = 64 << 10


def units(page: Page) -> int:
    """Each unit that is there: whether it runs, whether it failed, how often it was restarted. Raises OSError."""
    try:
        said = tool("systemctl", "show", *UNITS, "-p", PROPERTIES)
    except Gap as gap:
        raise OSError("systemctl: %s" % (gap.args,)) from None
    for block in said.split("\n\n"):
        state = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        unit = state.get("Id", "")
        if unit not in UNITS or state.get("LoadState") != "loaded":
            continue
        active = state.get("ActiveState")
        page.add("phi4_edge_unit_active", "gauge", "Whether a unit runs.", int(active == "active"), unit=unit)
        page.add("phi4_edge_unit_failed", "gauge", "Whether a unit has failed.", int(active == "failed"), unit=unit)
        restarts = state.get("NRestarts", "")
        if re.fullmatch(r"[0-9]{1,12}", restarts, re.ASCII):
            text = "How often systemd started a unit anew by itself, since somebody started it."
            page.add("phi4_edge_unit_restarts_total", "counter", text, int(restarts), unit=unit)
        ended = state.get("ExecMainExitTimestampMonotonic", "")
        if unit == HEAL and re.fullmatch(r"[1-9][0-9]{0,17}", ended, re.ASCII):
            text = "Since when nothing looked at the release."
            since = max(time.clock_gettime(time.CLOCK_MONOTONIC) - int(ended) / 1e6, 0)
            page.add("phi4_edge_drift_look_age_seconds", "gauge", text, since)
    return 0


def release(page: Page, plan: Mapping[str, Any], state: str, fact: str = FACT) -> int:
    """The release that runs, whether it is the one that was committed, and what drifted of it."""
    model = plan.get("model")
    told = {name: plan.get(name) for name in ("release", "engine", "quantization", "service_manager", "accelerator")}
    told["model"] = model.get("served_name") if isinstance(model, dict) else ""
    labels = {name: "".join(filter(str.isprintable, str(value)))[:100] for name, value in told.items()}
    page.add("phi4_edge_release_info", "gauge", "What is served; the value is always 1.", 1, **labels)
    front = plan.get("gateway")
    queue = front.get("queue") if isinstance(front, dict) else None
    if isinstance(queue, int):
        text = "Requests that may wait at the gateway for the engine."
        page.add("phi4_edge_requests_waiting_limit", "gauge", text, queue)
    _receipt(page, str(plan.get("release")), os.path.join(state, "receipt.json"), fact)
    knobs = plan.get("knobs")
    watched = bool(isinstance(knobs, dict) and knobs.get("selfheal"))
    text = "Whether the host looks for drift by itself; where it does not, only a controller finds some."
    page.add("phi4_edge_drift_watched", "gauge", text, int(watched))
    if watched:
        _drift(page, document(os.path.join(state, "heal.json"), HEAL_FORMAT))
    return 0


def _receipt(page: Page, running: str, path: str, fact: str) -> None:
    try:
        written = os.stat(path).st_mtime
    except OSError:
        written = 0.0
    text = "Whether there is a receipt: a release that a gate let pass."
    page.add("phi4_edge_receipt_present", "gauge", text, int(bool(written)))
    if written:
        name = "phi4_edge_receipt_written_timestamp_seconds"
        page.add(name, "gauge", "When the receipt was last written.", written)
    committed = document(fact, FACT_FORMAT).get("release")
    if isinstance(committed, str):
        text = "Whether the release that runs is the one that was committed."
        page.add("phi4_edge_release_committed", "gauge", text, int(committed == running))


def _drift(page: Page, noted: Dict[str, Any]) -> None:
    left, attempts = noted.get("left"), noted.get("attempts")
    found: List[Any] = left if isinstance(left, list) else []
    text = "What drifted and was not put right."
    page.add("phi4_edge_drift_findings", "gauge", text, len(found))
    now = time.time()
    times = [each for each in attempts if isinstance(each, (int, float))] if isinstance(attempts, list) else []
    text = "How often something was put right in the last hour."
    page.add("phi4_edge_drift_repairs_last_hour", "gauge", text, sum(0 <= now - each < HOUR for each in times))
    page.add("phi4_edge_drift_held", "gauge", "Whether an administrator holds repairs.", int(bool(noted.get("held"))))


def document(path: str, form: str) -> Dict[str, Any]:
    """A small JSON document of ours; {} where there is none."""
    try:
        with open(path, "rb") as stream:
            found = json.loads(stream.read(LIMIT).decode("utf-8", "replace"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and found.get("format") == form else {}
