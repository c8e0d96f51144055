"""The gateway in front of an engine: its unit, and HAProxy's configuration from a plan. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from phi4_edge.core import layout
from phi4_edge.core.engines import unit_lines
from phi4_edge.core.engines.table import ENGINES
from phi4_edge.core.engines.unit_lines import Plan
from phi4_edge.core.facts.units import OUR_DESCRIPTION
from phi4_edge.core.gateway.configuration import configuration
from phi4_edge.core.gateway.credentials import CERTIFICATE_FILE, KEYS_FILE
from phi4_edge.core.gateway.model import Gateway, Limits, Server
from phi4_edge.core.inventory import answering

PROGRAM = "/usr/sbin/haproxy"
# Made by the distribution's package.
USER = "haproxy"
CONFIGURATION_FILE = "gateway.cfg"
# Bytes of RAM that it may have: what its connections take at their most, and the program itself.
MEMORY = 256 << 20
CONNECTIONS = 256


def wanted(plan: Plan) -> bool:
    """Return whether the host of a plan has a gateway."""
    return plan.get("gateway") is not None


def unit(plan: Plan) -> str:
    """Return the unit. It names no release: it stays from one to the next, and takes its configuration by a reload."""
    return unit_lines.text(_unit(plan["gateway"], layout.of(plan)))


def configured(plan: Plan) -> str:
    """Return HAProxy's configuration."""
    there, asked = layout.of(plan).gateway, plan["gateway"]
    engine = ENGINES[plan["engine"]].serving
    server = Server(
        model=plan["model"]["served_name"],
        address=answering(plan["bind"]),
        port=plan["port"],
        health=engine.health,
        streams=plan["parallel"],
        answer_seconds=asked["answer_seconds"],
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
            user=USER,
        )
    )


def files(plan: Plan) -> dict[str, str]:
    """Return what a release has of the gateway, by name; nothing without one."""
    return {layout.GATEWAY_UNIT: unit(plan), CONFIGURATION_FILE: configured(plan)} if wanted(plan) else {}


def _unit(asked: Mapping[str, Any], there: layout.Layout) -> Iterator[str]:
    file = f"{there.root}/current/{CONFIGURATION_FILE}"
    yield f"{unit_lines.NOTE}\n[Unit]\nDescription={OUR_DESCRIPTION} (the gateway for its clients)"
    if unit_lines.is_loopback(asked["bind"]):
        yield "After=network.target"
    else:
        yield f"{unit_lines.FIRST_ADDRESS}\nWants=network-online.target\nAfter=network-online.target"
    yield from (unit_lines.FOREVER, "", "[Service]\nType=notify\nNotifyAccess=main")
    yield f"ExecStart={PROGRAM} -Ws -f {file}"
    yield "# A configuration that HAProxy does not take leaves what runs as it is."
    yield f"ExecReload={PROGRAM} -c -q -f {file}\nExecReload=/bin/kill -USR2 $MAINPID"
    yield "SyslogIdentifier=phi4-edge-gateway\nLogRateLimitIntervalSec=30\nLogRateLimitBurst=2000"
    yield "KillMode=mixed\nTimeoutStartSec=60\nTimeoutStopSec=10\nSuccessExitStatus=143"
    yield from (unit_lines.RESTARTS, "", f"MemoryMax={MEMORY}")
    yield f"OOMScoreAdjust=100\nTasksMax=64\nLimitCORE=0\nLimitNOFILE={4 * CONNECTIONS + 256}"
    yield ""
    yield "# Root reads keys and certificate; what talks to clients is the user haproxy, without any capability."
    yield "UMask=0077\nNoNewPrivileges=yes"
    yield "CapabilityBoundingSet=CAP_SETUID CAP_SETGID CAP_KILL CAP_NET_BIND_SERVICE"
    yield from ("PrivateDevices=yes", unit_lines.PRIVATE, "RemoveIPC=yes\nKeyringMode=private", unit_lines.PROTECTED)
    yield "# Not MemoryDenyWriteExecute: its library of regular expressions compiles them."
    yield from ("LockPersonality=yes", unit_lines.RESTRICTED)
    yield "# Not ~@privileged: it changes its user."
    yield "SystemCallFilter=@system-service @setuid\nSystemCallErrorNumber=EPERM"
    yield "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX"
    yield from ("", "[Install]\nWantedBy=multi-user.target")
