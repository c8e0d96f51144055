"""What a gateway is configured from: typed values, checked as they are made.

Each check raises ValueError, with what was found and what was needed. What passes can go into HAProxy's configuration
as it is: no value has a space, a quote or a line break.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field

from phi4_edge.core.layout import LOOPBACK

_PATH = re.compile(r"/(?:[A-Za-z0-9._-]+/)*[A-Za-z0-9._-]+", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
# sun_path of a Unix socket, without its closing NUL.
_SOCKET_LONGEST = 107
_KIB = 1 << 10
# Of HAProxy's own metrics, on loopback alone; that of all that the host says of itself is the next one.
METRICS_PORT = 9101


def within(name: str, value: int, least: int, most: int) -> None:
    """Raise ValueError unless `value` is from `least` to `most`."""
    if not least <= value <= most:
        raise ValueError(f"{name}: found {value}, needed {least} to {most}")


def address(name: str, text: str) -> None:
    """Raise ValueError for anything but an IP address without a zone."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"{name}: found {text[:80]!r}, needed an IP address") from None
    if isinstance(found, ipaddress.IPv6Address) and found.scope_id is not None:
        raise ValueError(f"{name}: found {text[:80]!r}, needed an address without a zone")


def path(name: str, text: str) -> None:
    """Raise ValueError for anything but an absolute path in which nothing needs a quote."""
    if not _PATH.fullmatch(text) or ".." in text.split("/"):
        raise ValueError(f"{name}: found {text[:80]!r}, needed an absolute path of letters, digits, '.', '_' and '-'")


def name(what: str, text: str) -> None:
    """Raise ValueError for a name with anything but letters, digits, '.', '_' and '-', or one that is too long."""
    if not _NAME.fullmatch(text):
        raise ValueError(f"{what}: found {text[:80]!r}, needed at most 64 letters, digits, '.', '_' and '-'")


def with_tls(certificate: str, client_ca: str) -> None:
    """Raise ValueError where clients need a certificate and there is no TLS in which they could show it."""
    if client_ca and not certificate:
        raise ValueError("client_ca: found one without a certificate of the server, needed both: it takes TLS")


@dataclass(frozen=True, slots=True)
class Server:
    """The engine behind the gateway.

    `model`: what it serves, which is its name in metrics. It listens on `socket` where that is given, else on `address`
    and `port`. `health`: the path at which it answers 200 once it can generate. `streams`: answers that it generates at
    a time. `answer_seconds`: how long it may say nothing, which for an answer in one piece is all of its generation.
    `counts`: it counts the tokens of each key, and is told whose request it is (`core.engines.spec.Serving`).
    """

    model: str
    address: str = LOOPBACK
    port: int = 8080
    socket: str = ""
    health: str = "/health"
    streams: int = 1
    answer_seconds: int = 900
    counts: bool = False

    def __post_init__(self) -> None:
        name("model", self.model)
        address("address", self.address)
        within("port", self.port, 1, 65535)
        if self.socket:
            path("socket", self.socket)
            within("length of socket", len(self.socket), 1, _SOCKET_LONGEST)
        path("health", self.health)
        within("streams", self.streams, 1, 256)
        within("answer_seconds", self.answer_seconds, 1, 86_400)


@dataclass(frozen=True, slots=True)
class Limits:
    """What clients may take.

    `queue`: requests that wait for the engine, each for at most `queue_seconds`; a key that has had its part of the
    last minute finds half of it. `connections`: open ones of all clients; `connections_per_client`: of one address.
    `body_bytes`: of a request, which is held in memory until it is whole. `request_seconds`: until a request is whole.
    `idle_seconds`: a client that takes nothing of its answer for so long loses it.
    """

    queue: int = 16
    queue_seconds: int = 120
    connections: int = 512
    connections_per_client: int = 128
    body_bytes: int = 256 * _KIB
    request_seconds: int = 15
    idle_seconds: int = 30

    def __post_init__(self) -> None:
        within("queue", self.queue, 1, 4096)
        within("queue_seconds", self.queue_seconds, 1, 3600)
        within("connections", self.connections, 8, 16_384)
        within("connections_per_client", self.connections_per_client, 1, self.connections)
        within("body_bytes", self.body_bytes, _KIB, 1024 * _KIB)
        within("request_seconds", self.request_seconds, 1, 600)
        within("idle_seconds", self.idle_seconds, 1, 600)


@dataclass(frozen=True, slots=True)
class Measuring:
    """What tells whether a prompt fits, for an engine that would cut it in silence.

    `program`: the file in Lua that asks. `socket`: where it is answered. `beyond`: bytes of a request up to which
    nobody need ask.
    """

    program: str
    socket: str
    beyond: int

    def __post_init__(self) -> None:
        path("program", self.program)
        path("socket", self.socket)
        within("length of socket", len(self.socket), 1, _SOCKET_LONGEST)
        within("beyond", self.beyond, 0, 1 << 30)


@dataclass(frozen=True, slots=True)
class Gateway:
    """One gateway: where clients reach it, and what it leads to.

    `certificate`: a PEM file on the host with chain and key, "" for plain HTTP. `client_ca`: a PEM file with the CAs
    of clients' certificates, "" where they need none. `keys`: the map of keys
    (`core.gateway.key_map`), "" to let everybody in. `metrics_port`: where its own metrics are, on loopback alone.
    `exporter_port`: where all metrics of the host are, on loopback alone, 0 for none; holders of a key for metrics
    (`key_map.METRICS`) are led there from /metrics.
    `measuring`: None where the engine itself refuses a prompt that is too long.
    `user`: whom its processes become once they have read their files, "" to stay who they are.
    """

    bind: str
    port: int
    server: Server
    certificate: str = ""
    keys: str = ""
    metrics_port: int = METRICS_PORT
    exporter_port: int = 0
    limits: Limits = field(default_factory=Limits)
    user: str = ""
    client_ca: str = ""
    measuring: Measuring | None = None

    def __post_init__(self) -> None:
        address("bind", self.bind)
        within("port", self.port, 1, 65535)
        within("metrics_port", self.metrics_port, 1, 65535)
        within("exporter_port", self.exporter_port, 0, 65535)
        if self.metrics_port == self.port:
            raise ValueError(f"metrics_port: found {self.port}, which is the gateway's port, needed one of its own")
        if self.exporter_port in (self.port, self.metrics_port):
            raise ValueError(f"exporter_port: found {self.exporter_port}, which is taken, needed one of its own")
        if self.user:
            name("user", self.user)
        paths = {"certificate": self.certificate, "client_ca": self.client_ca, "keys": self.keys}
        for what, given in paths.items():
            if given:
                path(what, given)
        with_tls(self.certificate, self.client_ca)
