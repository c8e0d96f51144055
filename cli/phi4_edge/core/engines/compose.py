"""The Compose document of a plan: one table of engines (`table`), one place of hardening (`confinement`).

Pure: plain data in, plain data out. Written for Compose 2.20 and later, and Docker 25 and later (CDI).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from phi4_edge.core.engines.confinement import (
    HEALTH,
    HOME,
    common_environment,
    confined,
    escaped,
    labels,
    mount,
    scratch,
)
from phi4_edge.core.engines.spec import Contained
from phi4_edge.core.engines.table import ENGINES
from phi4_edge.core.engines.webui import webui_document
from phi4_edge.core.layout import PROJECT, WEBUI_PROJECT

__all__ = ["PROJECT", "WEBUI_PROJECT", "document", "webui_document"]


def document(
    plan: Mapping[str, Any],
    images: Mapping[str, str],
    *,
    release_dir: str,
    port: int | None = None,
    project: str = PROJECT,
) -> dict[str, Any]:
    """Return the document that serves `plan` from `images["engine"]`, listening on the plan's address alone.

    `release_dir` is the release on the host; what the container reads has the same path inside as there. A rehearsal
    has another `port` and `project`, and listens on loopback whatever the plan says.
    """
    engine = ENGINES[plan["engine"]].contained
    rehearsal = project != PROJECT
    if rehearsal:  # nobody comes to it through a gateway
        plan = {**plan, "gateway": None}
    service = {
        **engine.start(plan, release_dir),
        "image": images["engine"],
        "labels": labels(plan["release"], "rehearsal" if rehearsal else "engine"),
        "environment": escaped({**common_environment(), **engine.environment(plan, release_dir)}),
        "volumes": [
            *(_read_only(path) for path in engine.reads(plan, release_dir)),
            *(mount(path, path, read_only=False) for path in engine.keeps(plan)),
        ],
        "ports": [_published("127.0.0.1" if rehearsal else plan["bind"], port or plan["port"], _inside(plan))],
        "networks": ["engine"],
        "healthcheck": {**HEALTH, "test": engine.health(_inside(plan)), "start_period": f"{engine.start_seconds}s"},
        "shm_size": int(plan["knobs"]["shm_size"]),
        "cpus": float(plan["knobs"]["threads"]),
        **confined(int(plan["knobs"]["memory_max"]), engine.pids, engine.stop_seconds),
        "tmpfs": _scratch(engine),
        **_gpu(plan),
    }
    return {"name": project, "services": {"engine": service}, "networks": {"engine": _network()}}


def _scratch(engine: Contained) -> list[str]:
    return [scratch("/tmp", engine.tmp), scratch(HOME, engine.home, execute=engine.compiles)]  # noqa: S108


def _inside(plan: Mapping[str, Any]) -> int:
    return int(plan["knobs"]["container_port"])


def _read_only(path: str) -> dict[str, Any]:
    return mount(path, path, read_only=True)


def _published(bind: str, port: int, inside: int) -> dict[str, Any]:
    """Return one port in long form; never without an address, for Docker would open it to everybody, past ufw."""
    address = str(ipaddress.ip_address(bind))
    return {"mode": "host", "host_ip": address, "published": str(port), "target": inside, "protocol": "tcp"}


def _network() -> dict[str, Any]:
    """Return a network of the engine's own. Clients reach the published port; nothing in it reaches out.

    Without masquerading no answer from beyond the host finds its way back. An `internal` network would be stricter, but
    publishes no port.
    """
    options = {
        "com.docker.network.bridge.enable_icc": "false",
        "com.docker.network.bridge.enable_ip_masquerade": "false",
    }
    return {"driver": "bridge", "driver_opts": options}


def _gpu(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return the planned GPU as a CDI device: unlike NVIDIA's runtime hook it survives a reload of systemd's units.

    Without a UUID (Jetson) it is all that the host has, which is one.
    """
    if plan["accelerator"] != "cuda":
        return {}
    device = {
        "driver": "cdi",
        "device_ids": [f"nvidia.com/gpu={plan['knobs'].get('gpu', 'all')}"],
        "capabilities": ["gpu"],
    }
    # Devices of a Jetson, and render nodes, are open to group video alone; Debian and Ubuntu both number it 44.
    return {"deploy": {"resources": {"reservations": {"devices": [device]}}}, "group_add": ["44"]}
