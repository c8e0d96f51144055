"""Lines of HAProxy's configuration that a gateway and a balancer share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from phi4_edge.core.gateway import refusals
from phi4_edge.core.gateway.model import Limits

# HAProxy's buffers hold a request and its headers.
_HEADERS = 16_384
# ECDHE alone, authenticated encryption alone: what Mozilla calls intermediate, without DHE. TLS 1.3 has no other.
_CIPHERS = ":".join(
    f"ECDHE-{kind}-{cipher}"
    for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
    for kind in ("ECDSA", "RSA")
)


def text(note: str, sections: Iterable[Iterator[str]]) -> str:
    """Return a whole file; the first line of each section is its head."""
    return f"{note}\n\n" + "\n".join(map(_section, sections))


def _section(lines: Iterator[str]) -> str:
    head = next(lines)
    return f"{head}\n" + "".join(f"    {line}\n" for line in lines)


def refuse(refusal: refusals.Refusal, when: str = "") -> str:
    """Return the rule that answers so `when` the condition holds; "" for always."""
    return f"http-request return {refusal.answer()}" + (f" if {when}" if when else "")


def place(address: str, port: int) -> str:
    """Return an address and a port as HAProxy has them."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def bind(address: str, port: int, certificate: str, client_ca: str = "") -> str:
    """Return where clients come in; `certificate` is a file, "" for plain HTTP, and so is that of their own CAs.

    Handshakes come to their end with any certificate of a client, and without: `certified` refuses them in words.
    """
    tls = f" ssl crt {certificate} alpn h2,http/1.1" if certificate else ""
    asked = f" ca-file {client_ca} verify optional crt-ignore-err all ca-ignore-err all" if client_ca else ""
    return f"bind {place(address, port)}{tls}{asked}"


def process(limits: Limits, user: str, certificate: str, answer_seconds: int) -> Iterator[str]:
    """Yield the section `global`. `user`: whom the process becomes, "" to stay who it is."""
    yield "global"
    yield "log stdout format short daemon info"
    if user:
        yield f"user {user}"
        yield f"group {user}"
    yield f"maxconn {limits.connections}"
    yield "# One is far more than engines need, and counts exactly."
    yield "nbthread 1"
    yield f"tune.bufsize {limits.body_bytes + _HEADERS}"
    yield "tune.h2.max-concurrent-streams 32"
    yield "# After a reload the process before ends with its last answer, or then."
    yield f"hard-stop-after {answer_seconds + limits.queue_seconds}s"
    if certificate:
        yield "ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets"
        yield f"ssl-default-bind-ciphers {_CIPHERS}"
        yield "tune.ssl.default-dh-param 2048"


def connections(limits: Limits, answer_seconds: int) -> Iterator[str]:
    """Yield what every connection is held to, and what is said where HAProxy itself finds a fault."""
    yield "mode http"
    yield "log global"
    yield "option dontlognull"
    yield "# What comes of an answer goes on at once."
    yield "option http-no-delay"
    yield "timeout connect 5s"
    yield f"timeout http-request {limits.request_seconds}s"
    yield f"timeout http-keep-alive {limits.request_seconds}s"
    yield f"timeout client {limits.idle_seconds}s"
    yield "timeout client-fin 5s"
    yield f"timeout queue {limits.queue_seconds}s"
    yield f"timeout server {answer_seconds}s"
    for refusal in refusals.FOUND_BY_HAPROXY:
        yield f"http-error {refusal.answer()}"


def each_client(limits: Limits) -> Iterator[str]:
    """Yield the rules that hold one address to its part of the connections."""
    yield "# Nobody holds all connections."
    yield "tcp-request connection track-sc1 src table clients"
    yield f"tcp-request connection reject if {{ sc_conn_cur(1,clients) gt {limits.connections_per_client} }}"


def clients() -> Iterator[str]:
    """Yield the table in which addresses are counted."""
    yield "backend clients"
    yield "stick-table type ipv6 size 16k expire 1m store conn_cur"


def metrics(port: int) -> Iterator[str]:
    """Yield where the process tells of itself, on loopback alone."""
    yield "frontend metrics"
    yield f"bind 127.0.0.1:{port}"
    yield "maxconn 8"
    yield "no log"
    yield "http-request use-service prometheus-exporter if { path /metrics }"
    yield refuse(refusals.NO_ROUTE)


def certified() -> Iterator[str]:
    """Yield the rules that let nobody by but who has a certificate of a CA of clients, which is valid now."""
    yield "# ssl_c_verify is known of a session that is resumed too, the other two only after a whole handshake."
    yield "acl certificate_sent ssl_c_used"
    yield refuse(refusals.NO_CERTIFICATE, "!certificate_sent")
    wrong = ("ssl_c_verify", "ssl_c_err", "ssl_c_ca_err")
    yield refuse(refusals.WRONG_CERTIFICATE, " or ".join(f"!{{ {name} 0 }}" for name in wrong))


def routes(besides: str = "", client_ca: str = "") -> Iterator[str]:
    """Yield how it is, and what gets to the API at all. Needs the condition `serving`.

    `besides`: the name of a condition for the path /metrics, which gets through too; "" for none. `client_ca`: as for
    `bind`; how it is can be asked without a certificate.
    """
    yield "acl health path /health"
    yield 'http-request return status 200 content-type application/json string \'{"status":"ok"}\' if health serving'
    yield refuse(refusals.NOT_SERVING, "health")
    if client_ca:
        yield from certified()
    yield "# What an engine might read as another path is none."
    yield "acl api path_reg ^/v1(/[A-Za-z0-9._:-]+)+/?$"
    yield "acl api_steps_back path_sub /."
    if besides:
        yield f"acl {besides} path /metrics"
    yield refuse(refusals.NO_ROUTE, f"!api{f' !{besides}' if besides else ''} or api_steps_back")
    yield refuse(refusals.NO_METHOD, "!METH_GET !METH_POST")
