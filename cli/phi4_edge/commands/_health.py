"""Asks the services of many hosts how they are, side by side, through SSH."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from phi4_edge.commands import _chat
from phi4_edge.core import serving
from phi4_edge.core.facts import HostFacts
from phi4_edge.errors import Phi4EdgeError
from phi4_edge.inventory import Host
from phi4_edge.preflight import tunnel
from phi4_edge.rollout.status import Health

SECONDS = 10.0
AT_A_TIME = 16


def ask_all(hosts: Mapping[str, tuple[Host, HostFacts]]) -> dict[str, Health]:
    """What each service says of itself; hosts whose service is not up are not asked."""
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        answers = {name: pool.submit(_ask, host, facts) for name, (host, facts) in hosts.items()}
        return {name: answer.result() for name, answer in answers.items()}


def _ask(host: Host, facts: HostFacts) -> Health:
    if not facts.receipt.port or facts.service is None or not facts.service.up:
        return Health()
    if facts.receipt.engine not in serving.ENGINES:
        return Health(problem=f"the receipt names an unknown engine: {facts.receipt.engine or 'none'}")
    try:
        way = tunnel.http_connection(host, facts.receipt.bind, facts.receipt.port, timeout=SECONDS)
        with contextlib.closing(way) as connection:
            said = _chat.health(connection, facts.receipt.engine)
    except (OSError, http.client.HTTPException, Phi4EdgeError) as error:
        return Health(problem=f"no answer on port {facts.receipt.port}: {error}")
    return Health(said.status, said.release)
