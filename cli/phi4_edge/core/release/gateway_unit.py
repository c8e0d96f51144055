"""The gateway in front of an engine: its unit, and HAProxy's configuration from a plan. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from phi4_edge.core import layout
from phi4_edge.core.engines import unit_lines
from phi4_edge.core.engines.table import ENGINES
from phi4_edge.core.engines.unit_lines import Plan
from phi4_edge.core.gateway.configuration import configuration
from phi4_edge.core.gateway.credentials import CERTIFICATE_FILE, CLIENT_CA_FILE, KEYS_FILE
from phi4_edge.core.gateway.model import Gateway, Limits, Measuring, Server
from phi4_edge.core.inventory import answering
from phi4_edge.core.release import haproxy_unit, measure_unit

CONFIGURATION_FILE = "gateway.cfg"
CONNECTIONS = 256


def wanted(plan: Plan) -> bool:
    """Return whether the host of a plan has a gateway."""
    return plan.get("gateway") is not None


def unit(plan: Plan) -> str:
    """Return the unit. It names no release: it stays from one to the next, and takes its configuration by a reload."""
    return unit_lines.text(_unit(plan["gateway"], layout.of(plan)))


def configured(plan: Plan, release: str) -> str:
    """Return HAProxy's configuration; `release`: the release's directory."""
    there, asked = layout.of(plan).gateway, plan["gateway"]
    engine = ENGINES[plan["engine"]].serving
    server = Server(
        model=plan["model"]["served_name"],
        address=answering(plan["bind"]),
        port=plan["port"],
        health=engine.health,
        streams=plan["parallel"],
        answer_seconds=asked["answer_seconds"],
        counts=engine.counts,
    )
    return configuration(
        Gateway(
            bind=asked["bind"],
            port=asked["port"],
            server=server,
            certificate=f"{there}/{CERTIFICATE_FILE}" if asked["tls"] else "",
            keys=f"{there}/{KEYS_FILE}",
            metrics_port=asked["metrics_port"],
            exporter_port=asked["exporter_port"],
            limits=Limits(queue=asked["queue"], connections=CONNECTIONS, connections_per_client=CONNECTIONS // 2),
            user=haproxy_unit.USER,
            client_ca=f"{there}/{CLIENT_CA_FILE}" if asked["client_certificates"] else "",
            measuring=_measuring(plan, release),
        )
    )


def _measuring(plan: Plan, release: str) -> Measuring | None:
    beyond = ENGINES[plan["engine"]].serving.cuts_beyond
    if beyond is None:
        return None
    # HAProxy is asked about a configuration before its release is the current one.
    return Measuring(f"{release}/{measure_unit.ASKING}", measure_unit.SOCKET, beyond(plan))


def files(plan: Plan, release: str) -> dict[str, str]:
    """Return what a release has of the gateway, by name; nothing without one."""
    return {layout.GATEWAY_UNIT: unit(plan), CONFIGURATION_FILE: configured(plan, release)} if wanted(plan) else {}


def _unit(asked: Mapping[str, Any], there: layout.Layout) -> Iterator[str]:
    file = f"{there.root}/current/{CONFIGURATION_FILE}"
    return haproxy_unit.lines("the gateway for its clients", "phi4-edge-gateway", asked["bind"], [file], CONNECTIONS)
