"""Asks the services of many hosts how they are, side by side, through SSH."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Mapping
from typing import Any

from phi4_edge.core.engines.table import ENGINES
from phi4_edge.core.facts.parse import HostFacts, parse
from phi4_edge.core.facts.status import Health
from phi4_edge.errors import FactsError, Phi4EdgeError
from phi4_edge.inference import client, exchange
from phi4_edge.inference.exchange import Connect
from phi4_edge.inventory import Host
from phi4_edge.runner.access import Access
from phi4_edge.ssh import abreast, tunnel
from phi4_edge.ssh.guest import Guest
from phi4_edge.ssh.wire import Open

SECONDS = 10.0
AT_A_TIME = 16


# Of one service: its port is opened, then it answers.
MOST_SECONDS = tunnel.OPEN_SECONDS + SECONDS


def ask_at(guest: Guest, document: Mapping[str, Any], access: Access) -> Health | None:
    """What the service of a host says, asked over the session that is open; None where its facts say nothing."""
    try:
        facts = parse(document)
    except FactsError:
        return None  # said where its facts are read
    return _ask(guest.host, facts, Open(), exchange.connector(access, guest))


def ask_all(
    hosts: Mapping[str, tuple[Host, HostFacts]], connect: Connect = tunnel.http_connection
) -> dict[str, Health]:
    """What each service says of itself; hosts whose service is not up are not asked. Ctrl-C ends all of it."""
    under_way = Open()
    answers = abreast.each(
        lambda pair: _ask(*pair, under_way, connect), list(hosts.values()), AT_A_TIME, cut=under_way.cut
    )
    return dict(zip(hosts, answers, strict=True))


def _ask(host: Host, facts: HostFacts, under_way: Open, connect: Connect) -> Health:
    if not facts.receipt.port or facts.service is None or not facts.service.up:
        return Health()
    if facts.receipt.engine not in ENGINES:
        return Health(problem=f"the receipt names an unknown engine: {facts.receipt.engine or 'none'}")
    # Whether somebody else may have the port is a word for who asks; here the state of the unit counts beside it.
    way = connect(host, facts.receipt.bind, facts.receipt.port, lambda _: None)
    try:
        with contextlib.closing(way), under_way.using(way):
            said = client.health(way, facts.receipt.engine, SECONDS)
    except (OSError, http.client.HTTPException, Phi4EdgeError) as error:
        return Health(problem=f"no answer on port {facts.receipt.port}: {error}")
    return Health(said.status, said.release)
