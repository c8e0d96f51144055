"""A balancer in front of gateways: what its host gets, from the gateways' plans and from its own variables. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from phi4_edge.core import layout
from phi4_edge.core.engines import unit_lines
from phi4_edge.core.gateway import balancing
from phi4_edge.core.gateway.balancer import MOST_PLACES, Balancer, Upstream, weights
from phi4_edge.core.gateway.credentials import CERTIFICATE_FILE, CLIENT_CA_FILE
from phi4_edge.core.gateway.model import Limits
from phi4_edge.core.release import haproxy_unit

CONFIGURATION_FILE, KEY_FILE, CA_FILE = "balancer.cfg", "key.cfg", "ca.pem"
# What it shows to gateways as their client, with its key.
SHOWN_FILE = "client.pem"
RUN = "phi4-edge-balancer"
SOCKET = f"/run/{RUN}/admin.sock"
CONNECTIONS = 512
# How long a request waits in a gateway.
QUEUE_SECONDS = Limits().queue_seconds
# The first version that reads JSON, by which a conversation is recognized: Debian 12 and Ubuntu 22.04 have newer ones.
OLDEST = (2, 4)


def upstreams(gateways: Sequence[tuple[Mapping[str, Any], str, str]]) -> tuple[Upstream, ...]:
    """Return the gateways of these plans, each with its address and the name in its certificate, "" without TLS.

    A gateway is given as many requests at a time as it answers, and half of its queue: more of one key it refuses.
    """
    found = [
        Upstream(
            name=plan["host"],
            address=address,
            port=plan["gateway"]["port"],
            verified=verified,
            streams=plan["parallel"],
            places=min(plan["parallel"] + (plan["gateway"]["queue"] + 1) // 2, MOST_PLACES),
            model=plan["model"]["served_name"],
        )
        for plan, address, verified in gateways
    ]
    part = weights({plan["host"]: plan["forecast"]["decode_tokens_per_second"] or 0 for plan, _, _ in gateways})
    return tuple(replace(one, weight=part[one.name]) for one in found)


def balancer(
    asked: Mapping[str, Any], there: layout.Layout, gateways: Iterable[Upstream], answer_seconds: int
) -> Balancer:
    """Return the balancer that a host is to be.

    `asked`: its bind, port, queue, and tls, whether its clients need a certificate (`client_ca`), and whether it shows
    one to gateways (`shown`). `answer_seconds`: how long a gateway may say nothing, at the most.
    """
    folder, listed = there.balancer, tuple(gateways)
    return Balancer(
        bind=asked["bind"],
        port=asked["port"],
        gateways=listed,
        certificate=f"{folder}/{CERTIFICATE_FILE}" if asked["tls"] else "",
        ca=f"{folder}/{CA_FILE}" if any(one.verified for one in listed) else "",
        socket=SOCKET,
        answer_seconds=answer_seconds,
        limits=Limits(queue=asked["queue"], connections=CONNECTIONS, connections_per_client=CONNECTIONS // 4),
        user=haproxy_unit.USER,
        client_ca=f"{folder}/{CLIENT_CA_FILE}" if asked["client_ca"] else "",
        shown=f"{folder}/{SHOWN_FILE}" if asked["shown"] else "",
    )


def files(it: Balancer, there: layout.Layout) -> dict[str, str]:
    """Return the unit and the configuration, by name."""
    read = [f"{there.balancer}/{name}" for name in (KEY_FILE, CONFIGURATION_FILE)]
    unit = haproxy_unit.lines("one address for gateways", RUN, it.bind, read, CONNECTIONS, RUN)
    return {layout.BALANCER_UNIT: unit_lines.text(unit), CONFIGURATION_FILE: balancing.configuration(it)}
