"""How an engine is asked how it is, and what its answers mean.

The gate on the host, `status`, `ask` and `verify` all take it from here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from phi4_edge.core.engines.table import ENGINES
from phi4_edge.core.inventory import answering
from phi4_edge.core.layout import LOOPBACK, PROJECT, REHEARSAL_PROJECT, REHEARSAL_UNIT, UNIT, Layout

MODELS = "/v1/models"


@dataclass(frozen=True, slots=True)
class Said:
    """What an engine said of itself; `release` is "" where it does not know, `status` is healthy or its own word."""

    status: str
    release: str = ""


def understood(engine: str, status: int, body: bytes) -> Said | None:
    """Return what an answer to the engine's health path means; None when it cannot be that engine's."""
    asked = ENGINES[engine].serving
    if not asked.names_release:
        if asked.holds and status == 200 and asked.holds not in _object(body):
            return None
        return Said("healthy") if status == 200 else Said(f"HTTP {status}") if status >= 500 else None
    said = _object(body)
    if "status" not in said or "model" not in said:
        return None
    status_word, release = said["status"], said.get("release")
    if not isinstance(status_word, str) or not (release is None or isinstance(release, str)):
        return None
    return Said(status_word[:40], (release or "")[:40])


def holds_model(body: bytes) -> bool | None:
    """Return whether an answer of an engine's `loaded` path names a model, under whichever name it was loaded first.

    None when it is no such answer.
    """
    models = _object(body).get("models")
    return bool(models) if isinstance(models, list) else None


def listed(body: bytes) -> tuple[str, ...]:
    """Return the names of the models in an answer of `/v1/models`; none when it is no such answer."""
    data = _object(body).get("data")
    items = data if isinstance(data, list) else []
    return tuple(item["id"][:200] for item in items if isinstance(item, dict) and isinstance(item.get("id"), str))


def same_model(found: str, wanted: str) -> bool:
    """Return whether a listed name is the wanted one; Ollama adds a tag to a name without one."""
    return found in (wanted, f"{wanted}:latest")


def choose_model(names: Sequence[str], wanted: str) -> str | None:
    """Return the wanted model as the engine lists it; None where it does not."""
    return next((name for name in names if same_model(name, wanted)), None)


def environment_file(variables: Mapping[str, str]) -> str:
    """Return the text of a file for systemd's EnvironmentFile=: every value in double quotes."""
    lines = []
    for name, value in sorted(variables.items()):
        quoted = "".join("\\" + sign if sign in '\\"$`' else sign for sign in value)
        lines.append(f'{name}="{quoted}"\n')
    return "".join(lines)


def question(plan: Mapping[str, Any], layout: Layout, rehearsal: bool = False) -> dict[str, Any]:
    """Return what the gate on the host has to know: where to ask, and what must be answered.

    `weights` and `held_by_others` are bytes of GPU memory, 0 without a GPU.
    """
    gpu = plan["accelerator"] == "cuda"
    memory = plan.get("memory") or {}
    engine = ENGINES[plan["engine"]].serving
    webui = None if rehearsal else plan.get("webui")
    return {
        "unit": REHEARSAL_UNIT if rehearsal else UNIT,
        "address": LOOPBACK if rehearsal else answering(plan["bind"]),
        "port": int(plan["switch"]["port"] if rehearsal else plan["port"]),
        "engine": plan["engine"],
        "health": engine.health,
        "names_release": engine.names_release,
        "compose": plan["service_manager"] == "compose",
        "project": REHEARSAL_PROJECT if rehearsal else PROJECT,
        "model": plan["model"]["served_name"],
        "release": plan["release"],
        "releases": layout.releases,
        "gpu": bool(gpu),
        "gpu_uuid": (plan["knobs"].get("gpu") or "") if gpu else "",
        "weights": int(memory.get("weights") or 0) if gpu else 0,
        "held_by_others": int(memory.get("held_by_others") or 0) if gpu else 0,
        "webui": {"address": answering(webui["bind"]), "port": int(webui["port"])} if webui else None,
        "gateway": _front(None if rehearsal else plan.get("gateway"), layout),
    }


def _front(gateway: Mapping[str, Any] | None, layout: Layout) -> dict[str, Any] | None:
    """Return where clients reach the host, with which certificate ("" without TLS), and whether they need one too.

    None without a gateway. A release from before there were certificates of clients says nothing of them.
    """
    if gateway is None:
        return None
    pem = f"{layout.gateway}/certificate.pem" if gateway["tls"] else ""
    place = {"address": answering(gateway["bind"]), "port": int(gateway["port"])}
    return {**place, "certificate": pem, "certified": bool(gateway.get("client_certificates"))}


def start_seconds(plan: Mapping[str, Any]) -> float:
    """Return how long the gate waits for the engine of a plan to be healthy, where nobody said otherwise."""
    return float(ENGINES[plan["engine"]].serving.start_seconds)


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
