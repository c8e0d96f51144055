"""The real HAProxy as a balancer, in front of gateways of ours, each in front of a fake engine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from phi4_edge.core.gateway import balancing
from phi4_edge.core.gateway.balancer import Balancer, Checks, Upstream
from phi4_edge.core.gateway.key_map import Key
from phi4_edge.core.gateway.model import Limits
from tests.unit.core.gateway.running_gateway import Process, Running, free_port, key, running, token

# The balancer's own key, and what the gateways know of it.
OWN, OWN_NUMBER = key("balancer-test", 99), 99
STREAMS = 4


class RunningBalancer(Process):
    """A balancer that runs, and the gateways behind it."""

    def __init__(self, it: Balancer, gateways: Sequence[Running], folder: Path, trusted: str) -> None:
        self.balancer, self.gateways = it, gateways
        (folder / "haproxy.cfg").write_text(balancing.configuration(it))
        (folder / "key.cfg").write_text(balancing.key_file(token(OWN_NUMBER)))
        super().__init__(it, folder, trusted, [folder / "key.cfg"])


@contextlib.contextmanager
def balancing_over(
    folder: Path,
    keys: Sequence[Key],
    weights: Sequence[int] = (256, 256, 256),
    certificate: str = "",
    checks: Checks | None = None,
    own: Mapping[str, str] | None = None,
    **server: Any,
) -> Iterator[RunningBalancer]:
    """A balancer over as many gateways as there are weights. With a certificate, all of them have it.

    `own`: what only the balancer has; `server`: what only the gateways have.
    """
    with contextlib.ExitStack() as stack:
        gateways = []
        for number in range(len(weights)):
            (place := folder / f"gw{number}").mkdir()
            limits = Limits(queue=16)
            options = {"streams": STREAMS, **server}
            gateways.append(
                stack.enter_context(running(place, *keys, OWN, certificate=certificate, limits=limits, **options))
            )
        upstreams = tuple(
            Upstream(
                f"gw{number}", "127.0.0.1", gateway.gateway.port, "localhost" if certificate else "", weight,
                gateway.gateway.server.streams, gateway.gateway.server.streams + 8, "tiny",
            )
            for number, (gateway, weight) in enumerate(zip(gateways, weights, strict=True))
        )  # fmt: skip
        it = Balancer(
            "127.0.0.1", free_port(), upstreams, certificate, certificate, free_port(), free_port(),
            str(folder / "admin.sock"), checks=checks or Checks(1, 2, 2), limits=Limits(queue=64),
            **(own or {}),
        )  # fmt: skip
        found = RunningBalancer(it, gateways, folder, certificate)
        stack.callback(found.close)
        assert found.ready(), found.log.read_text()
        found.wait()
        yield found
