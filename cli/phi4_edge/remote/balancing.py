"""A balancer from what a play says of its gateways, held to what HAProxy and the host can do."""

from __future__ import annotations

from typing import Any

from phi4_edge.core.gateway.balancer import Balancer, Upstream
from phi4_edge.core.plan.overrides import Overrides
from phi4_edge.core.release import balancer_unit
from phi4_edge.core.text import clean, dotted, version_of
from phi4_edge.errors import InventoryError, PreflightError

_SOURCE = "what 'phi4-edge balance' gives as balancer_gateways"


def balancer(
    asked: Overrides, gateways: Any, answer_seconds: Any, installed: str, check: bool, shown: bool = False
) -> Balancer:
    """The balancer that a host is to be. `installed`: version of its package haproxy, "" for none, as `check` has it.

    `shown`: whether it shows a client's certificate to gateways.

    Raises InventoryError for gateways that cannot be, PreflightError for a HAProxy that is too old.
    """
    version = version_of(installed)
    if version < balancer_unit.OLDEST and (version or not check):
        raise PreflightError(
            f"found HAProxy {clean(installed, 60) or 'none'}, needed {dotted(balancer_unit.OLDEST)} or newer, which "
            "reads the messages of a conversation: a balancer needs Debian 12, Ubuntu 22.04 or newer"
        )
    wanted = {
        "bind": asked.bind, "port": asked.gateway_port, "queue": asked.gateway_queue, "tls": asked.gateway_tls,
        "client_ca": bool(asked.gateway_client_ca), "shown": shown,
    }  # fmt: skip
    try:
        listed = [Upstream(**gateway) for gateway in gateways]
        return balancer_unit.balancer(wanted, asked.layout, listed, int(answer_seconds))
    except (TypeError, ValueError) as error:
        raise InventoryError(f"balancer_gateways: {error} ({_SOURCE})") from None
