"""What a balancer is configured from: the gateways behind it, and what it asks of them. Checked as it is made.

As in `core.gateway.model`, each check raises ValueError, and what passes can go into HAProxy's configuration as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from phi4_edge.core.gateway.model import Limits, address, name, path, with_tls, within

# HAProxy's own range.
LEAST_WEIGHT, MOST_WEIGHT = 1, 256
# A gateway lets half of its connections to one address; some are for health checks and lists of models.
MOST_PLACES = 112
MOST_GATEWAYS = 64


@dataclass(frozen=True, slots=True)
class Upstream:
    """One gateway behind a balancer.

    `name`: in the inventory. `verified`: the DNS name that its certificate must have, "" for plain HTTP. `weight`: its
    part of the answers, compared with the others'. `streams`: answers that it generates at a time. `places`: requests
    that it is given at a time, those that wait in its own queue included. `model`: what it serves.
    """

    name: str
    address: str
    port: int
    verified: str = ""
    weight: int = MOST_WEIGHT
    streams: int = 1
    places: int = 1
    model: str = "phi-4-mini-instruct"

    def __post_init__(self) -> None:
        name("name", self.name)
        address("address", self.address)
        within("port", self.port, 1, 65535)
        if self.verified:
            name("verified", self.verified)
        within("weight", self.weight, LEAST_WEIGHT, MOST_WEIGHT)
        within("streams", self.streams, 1, 256)
        within("places", self.places, 1, MOST_PLACES)
        name("model", self.model)


@dataclass(frozen=True, slots=True)
class Checks:
    """How gateways are watched.

    Each is asked whether it serves every `health_seconds`, and for one token every `generation_seconds`. One that has
    not generated it within `patience_seconds`, and has begun no other answer in that time, is given no requests.
    """

    health_seconds: int = 2
    generation_seconds: int = 45
    patience_seconds: int = 120

    def __post_init__(self) -> None:
        within("health_seconds", self.health_seconds, 1, 60)
        within("generation_seconds", self.generation_seconds, 1, 3600)
        within("patience_seconds", self.patience_seconds, 1, 3600)


@dataclass(frozen=True, slots=True)
class Balancer:
    """One address in front of many gateways.

    `certificate`: a PEM file on the host with chain and key, "" for plain HTTP. `client_ca`: as of a gateway. `shown`:
    a PEM file with the chain and key that it shows to gateways as their client, "" for none. `ca`: a PEM file with the
    CAs of the gateways' certificates, "" where none has TLS. `generation_port`: on loopback, where the balancer tells
    itself how generation stands. `socket`: of HAProxy's commands, for root alone; "" for none. `answer_seconds`: how
    long a gateway may say nothing.
    """

    bind: str
    port: int
    gateways: tuple[Upstream, ...]
    certificate: str = ""
    ca: str = ""
    metrics_port: int = 9102
    generation_port: int = 9103
    socket: str = ""
    answer_seconds: int = 1080
    checks: Checks = field(default_factory=Checks)
    limits: Limits = field(default_factory=Limits)
    user: str = ""
    client_ca: str = ""
    shown: str = ""

    def __post_init__(self) -> None:
        address("bind", self.bind)
        ports = {"port": self.port, "metrics_port": self.metrics_port, "generation_port": self.generation_port}
        for what, port in ports.items():
            within(what, port, 1, 65535)
        if len(set(ports.values())) < len(ports):
            raise ValueError(f"ports: found {sorted(ports.values())}, needed three different ones")
        within("gateways", len(self.gateways), 1, MOST_GATEWAYS)
        if len({one.name for one in self.gateways}) < len(self.gateways):
            raise ValueError("gateways: found two with the same name, needed a name of its own for each")
        for what in ("certificate", "client_ca", "shown", "ca", "socket"):
            if given := getattr(self, what):
                path(what, given)
        with_tls(self.certificate, self.client_ca)
        if not self.ca and any(one.verified for one in self.gateways):
            raise ValueError("ca: found none, needed the CA of the gateways' certificates")
        within("answer_seconds", self.answer_seconds, 1, 86_400 + 3600)
        if self.user:
            name("user", self.user)


def weights(speeds: Mapping[str, float]) -> dict[str, int]:
    """Return each gateway's weight: the fastest has 256, the others in proportion, none less than 1.

    `speeds`: tokens per second of all answers that it generates at a time; 0 or less for one that nobody knows, which
    counts as the slowest that is known.
    """
    known = [speed for speed in speeds.values() if speed > 0] or [1.0]
    least, most = min(known), max(known)
    return {
        name: max(LEAST_WEIGHT, round(MOST_WEIGHT * (speed if speed > 0 else least) / most))
        for name, speed in speeds.items()
    }
