"""HAProxy's configuration for a gateway.

Written for the oldest that is promised, 2.2 of Debian 11. 2.6 of Debian 12 and 3.0 of Debian 13 take it too, without a
warning.
"""

from __future__ import annotations

from collections.abc import Iterator

from phi4_edge.core.gateway import lines, refusals
from phi4_edge.core.gateway.key_map import KEY_CHARACTERS, MARK, METRICS
from phi4_edge.core.gateway.model import Gateway, Measuring, Server

# Whose request it is, and how many tokens that key has for a day: what an engine that counts them is told.
KEY_HEADER, TOKENS_HEADER = "phi4-key", "phi4-tokens-per-day"
_NOTE = "# Managed by phi4-edge. Changes made here are undone by `phi4-edge provision`."


def configuration(it: Gateway) -> str:
    """Return the whole file."""
    shared = (lines.clients(), _everybody()) if it.keys else (lines.clients(),)
    head = (_process(it), _defaults(it))
    exporter = (_exporter(it),) if _scraped(it) else ()
    parts = (*head, _front(it), *shared, _engine(it), _models(it), *exporter, lines.metrics(it.metrics_port))
    return lines.text(_NOTE, parts)


def _process(it: Gateway) -> Iterator[str]:
    yield from lines.process(it.limits, it.user, it.certificate, it.server.answer_seconds)
    if it.measuring:
        yield "# MiB; a question holds a request two or three times for a moment. What gets none lets its request pass."
        yield "tune.lua.maxmem 64"
        yield f"lua-load {it.measuring.program}"


def _defaults(it: Gateway) -> Iterator[str]:
    yield "defaults"
    yield "# The engine's next request comes over a new connection, which it cannot just have closed."
    yield "option http-server-close"
    yield "# Who leaves gives up the engine's work, and from 2.4 on the place in the queue."
    yield "option abortonclose"
    yield "# Who waits for an engine that goes away is told so at once, and not when nobody waits any more."
    yield "option redispatch"
    yield from lines.connections(it.limits, it.server.answer_seconds)


def _front(it: Gateway) -> Iterator[str]:
    yield "frontend gateway"
    yield lines.bind(it.bind, it.port, it.certificate, it.client_ca)
    yield "# Never the key, and no query: clients put all sorts of things there."
    yield (
        'log-format "client=%ci key=%[var(txn.key)] method=%HM path=%{+Q}HP status=%ST bytes=%B queue_ms=%Tw '
        f'first_ms=%Tr total_ms=%Ta end=%ts{" measured=%[var(txn.measured)]" if it.measuring else ""}"'
    )
    yield from lines.each_client(it.limits)
    yield "# The server's own state: a backend has no server left while its process finishes after a reload."
    yield f"acl serving srv_is_up(engine/{it.server.model})"
    yield from lines.routes("scrape" if _scraped(it) else "", it.client_ca)
    if it.keys:
        yield from _keys(it)
    yield lines.refuse(refusals.NOT_SERVING, f"!serving{' !scrape' * _scraped(it)}")
    yield from _forwarded(it)
    if _scraped(it):
        yield "use_backend exporter if scrape"
    yield "use_backend models if METH_GET"
    yield "default_backend engine"


def _keys(it: Gateway) -> Iterator[str]:
    yield "acl sent req.fhdr_cnt(authorization) gt 0"
    yield lines.refuse(refusals.NO_KEY, "!sent")
    yield "acl bearer req.fhdr_cnt(authorization) eq 1"
    yield f"acl formed req.fhdr(authorization) -m reg -i ^Bearer\\ {MARK}[A-Za-z0-9_-]{{{KEY_CHARACTERS}}}$"
    yield lines.refuse(refusals.WRONG_KEY, "!bearer or !formed")
    yield "# Its name, its requests per minute, when it expires, and its requests at once."
    yield (
        f"http-request set-var(txn.entry) req.fhdr(authorization),bytes({len('Bearer ')}),sha2(256),hex,lower,"
        f"map_str({it.keys})"
    )
    yield "http-request set-var(txn.key) var(txn.entry),field(1,:)"
    yield "http-request set-var(txn.per_minute) var(txn.entry),field(2,:),add(0)"
    yield "http-request set-var(txn.expires) var(txn.entry),field(3,:),add(0)"
    yield "http-request set-var(txn.at_once) var(txn.entry),field(4,:),add(0)"
    yield "acl known var(txn.key) -m found"
    yield "acl expires var(txn.expires) -m int gt 0"
    yield "acl over date,sub(txn.expires) ge 0"
    yield lines.refuse(refusals.WRONG_KEY, "!known or expires over")
    if _scraped(it):
        yield "# Who scrapes has a key for that alone, and no part of what the engine does."
        yield f"acl scraper var(txn.key) -m reg ^{METRICS}([._-].*)?$"
        yield lines.refuse(refusals.OTHER_KEY, "scrape !scraper or scraper !scrape")
    yield "# gpc0: what it asked, gpc1: what of it went to the engine. Refused ones do not count, or who asks on would"
    yield "# wait for ever."
    yield "stick-table type string len 64 size 2k expire 2m store gpc0,gpc0_rate(60s),gpc1,gpc1_rate(60s),conn_cur"
    counted = " if !scrape" if _scraped(it) else ""
    yield f"http-request track-sc0 var(txn.key){counted}"
    yield f"http-request track-sc2 int(1) table everybody{counted}"
    yield "acl limited var(txn.per_minute) -m int gt 0"
    yield "acl spent sc_gpc0_rate(0),sub(txn.per_minute) ge 0"
    yield lines.refuse(refusals.TOO_MANY, "limited spent")
    yield "acl narrow var(txn.at_once) -m int gt 0"
    yield "acl crowded sc_conn_cur(0),sub(txn.at_once) gt 0"
    yield lines.refuse(refusals.TOO_MANY_AT_ONCE, "narrow crowded")
    yield "# Who has many open lets others go before, for half of the time that a request waits at the most."
    yield f"http-request set-priority-offset sc_conn_cur(0),mul({_back_milliseconds(it)})"


def _back_milliseconds(it: Gateway) -> int:
    """How much younger a request counts in the queue for each one that its key has open.

    At worst all that there are room for are one key's, and then it is half of `queue_seconds`.
    """
    return max(it.limits.queue_seconds * 500 // (it.limits.queue + it.server.streams), 1)


def _forwarded(it: Gateway) -> Iterator[str]:
    yield "# What the engine sees: no secret, and no protocol that these rules do not know."
    for header in ("Authorization", "Proxy-Authorization", "Cookie", "Upgrade"):
        yield f"http-request del-header {header}"
    if it.keys:
        yield "# A key is more than what the engine tells its own clients from web pages by."
        yield "http-request del-header Origin"
        yield f"http-request set-header Host {_host(it.server)}"
    if it.server.counts:
        yield from _counted(it)


def _counted(it: Gateway) -> Iterator[str]:
    yield "# The engine counts tokens for the key that is named here, and by nobody else."
    for header in (KEY_HEADER, TOKENS_HEADER):
        yield f"http-request del-header {header}"
    if it.keys:
        yield f"http-request set-header {KEY_HEADER} %[var(txn.key)]"
        yield "# Maps that older versions made have no fifth field."
        yield "http-request set-var(txn.tokens_per_day) var(txn.entry),field(5,:),add(0)"
        yield "acl measured var(txn.tokens_per_day) -m int gt 0"
        yield f"http-request set-header {TOKENS_HEADER} %[var(txn.tokens_per_day)] if measured"


def _everybody() -> Iterator[str]:
    yield "backend everybody"
    yield "stick-table type integer size 1 expire 2m store gpc1,gpc1_rate(60s)"


def _engine(it: Gateway) -> Iterator[str]:
    yield "backend engine"
    yield "# Whole before it takes a place: who sends slowly keeps none from others."
    yield "option http-buffer-request"
    yield lines.refuse(refusals.TOO_LARGE, f"{{ req.body_size gt {it.limits.body_bytes} }}")
    if it.measuring:
        yield from _measured(it.measuring, it.limits.queue)
    yield lines.refuse(refusals.QUEUE_FULL, f"{{ queue(engine) ge {it.limits.queue} }}")
    if it.keys:
        yield "# The second half of the queue is for keys that got less than their part in the last minute. One more is"
        yield "# counted than there are: who is new finds room."
        yield "http-request set-var(txn.keys) table_cnt(gateway),add(1)"
        yield "http-request set-var(txn.all) sc_gpc1_rate(2)"
        yield "acl greedy sc_gpc1_rate(0),mul(txn.keys),sub(txn.all) gt 0"
        yield lines.refuse(refusals.QUEUE_FULL, f"greedy {{ queue(engine) ge {(it.limits.queue + 1) // 2} }}")
        yield "http-request sc-inc-gpc0(0)"
        yield "http-request sc-inc-gpc1(0)"
        yield "http-request sc-inc-gpc1(2)"
    yield "option httpchk"
    yield f"http-check send meth GET uri {it.server.health} ver HTTP/1.1 hdr Host {_host(it.server)}"
    yield "http-check expect status 200"
    yield (
        f"server {it.server.model} {_reached(it.server)} maxconn {it.server.streams} check inter 5s fastinter 1s "
        "downinter 2s fall 2 rise 1"
    )


def _measured(it: Measuring, queue: int) -> Iterator[str]:
    yield "# The engine would cut a prompt that is too long in silence. One that fits goes on, and so does any"
    yield "# where nobody answers; only after this does a request count for its key, and take a place."
    yield "acl prompted path /v1/chat/completions /v1/completions /v1/responses"
    yield (
        f"http-request lua.measure unix@{it.socket} if METH_POST prompted {{ req.body_size gt {it.beyond} }} "
        f"{{ queue(engine) lt {queue} }}"
    )


def _models(it: Gateway) -> Iterator[str]:
    yield "backend models"
    yield "# What needs no place among the answers that are generated."
    if it.keys:
        yield "http-request sc-inc-gpc0(0)"
    yield f"server {it.server.model} {_reached(it.server)} maxconn 8 track engine/{it.server.model}"


def _scraped(it: Gateway) -> bool:
    """Whether holders of a key for metrics are let in: without keys nobody could be told from others."""
    return bool(it.exporter_port and it.keys)


def _exporter(it: Gateway) -> Iterator[str]:
    yield "backend exporter"
    yield "# It answers in five seconds, whatever does not answer it."
    yield "timeout server 15s"
    yield f"server exporter 127.0.0.1:{it.exporter_port} maxconn 4"


def _reached(server: Server) -> str:
    return f"unix@{server.socket}" if server.socket else lines.place(server.address, server.port)


def _host(server: Server) -> str:
    return "localhost" if server.socket else lines.place(server.address, server.port)
