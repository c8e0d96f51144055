"""HAProxy's configuration for a balancer in front of gateways.

Written for HAProxy 2.4 of Ubuntu 22.04, the oldest that reads JSON. 2.6 of Debian 12 and 3.0 of Debian 13 take it too,
without a warning. The balancer's key is in the environment, which a file of its own sets before this one is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from phi4_edge.core.gateway import lines, refusals
from phi4_edge.core.gateway.balancer import Balancer, Upstream

KEY_VARIABLE = "BALANCER_KEY"
_NOTE = "# Managed by phi4-edge. Changes made here are undone by `phi4-edge balance`."
# Conversations that are remembered, each for this long after its last answer: 150 bytes of memory each.
_CONVERSATIONS, _REMEMBERED = "50k", "2h"


def configuration(it: Balancer) -> str:
    """Return the whole file."""
    tables = (lines.clients(), _callers(), _answered(it))
    parts = (_process(it), _defaults(it), _front(it), *tables, _gateways(it), _models(it))
    return lines.text(_NOTE, (*parts, _generation(it), _generation_states(it), lines.metrics(it.metrics_port)))


def key_file(token: str) -> str:
    """Return the file that HAProxy reads before the configuration: the key with which it asks for a token."""
    return f"{_NOTE}\nglobal\n    setenv {KEY_VARIABLE} {token}\n"


def _process(it: Balancer) -> Iterator[str]:
    yield from lines.process(it.limits, it.user, it.certificate, it.answer_seconds)
    yield "# Checks of many gateways do not come at the same moment."
    yield "spread-checks 20"
    if it.socket:
        yield f"stats socket {it.socket} mode 600 level admin"


def _defaults(it: Balancer) -> Iterator[str]:
    yield "defaults"
    yield "# A gateway's next request comes over a new connection, which it cannot just have closed."
    yield "option http-server-close"
    yield "# Who leaves gives up the answer, and the place in the queue."
    yield "option abortonclose"
    yield from lines.connections(it.limits, it.answer_seconds)


def _front(it: Balancer) -> Iterator[str]:
    yield "frontend balancer"
    yield lines.bind(it.bind, it.port, it.certificate, it.client_ca)
    yield "# Never the key, and no query: clients put all sorts of things there."
    yield (
        'log-format "client=%ci gateway=%s method=%HM path=%{+Q}HP status=%ST bytes=%B queue_ms=%Tw first_ms=%Tr '
        'total_ms=%Ta tries_more=%rc end=%ts"'
    )
    yield from lines.each_client(it.limits)
    yield "acl serving nbsrv(gateways) gt 0"
    yield from lines.routes(client_ca=it.client_ca)
    yield "# The gateways know the keys; who sends none need not ask them."
    yield lines.refuse(refusals.NO_KEY, "{ req.fhdr_cnt(authorization) eq 0 }")
    yield lines.refuse(refusals.NOT_SERVING, "!serving")
    yield "http-request del-header Upgrade"
    yield "use_backend models if METH_GET"
    yield "default_backend gateways"


def _callers() -> Iterator[str]:
    yield "backend callers"
    yield "# By digest of what they send as their key."
    yield "stick-table type string len 40 size 4k expire 1m store conn_cur"


def _answered(it: Balancer) -> Iterator[str]:
    yield "backend answered"
    yield "# Gateways that have begun an answer a short time ago."
    yield f"stick-table type string len 64 size 128 expire {it.checks.patience_seconds}s store gpc0"


def _gateways(it: Balancer) -> Iterator[str]:
    queue = it.limits.queue
    yield "backend gateways"
    yield "balance leastconn"
    yield "# Whole before it goes on: it may be sent to another gateway, and says which conversation it belongs to."
    yield "option http-buffer-request"
    yield lines.refuse(refusals.TOO_LARGE, f"{{ req.body_size gt {it.limits.body_bytes} }}")
    yield lines.refuse(refusals.QUEUE_FULL, f"{{ queue(gateways) ge {queue} }}")
    yield "# Who has many open lets others go before, for half of the time that a request waits at the most."
    yield "http-request set-var(txn.caller) req.fhdr(authorization),sha1,hex"
    yield "http-request track-sc0 var(txn.caller) table callers"
    everything = queue + sum(one.places for one in it.gateways)
    back = max(it.limits.queue_seconds * 500 // everything, 1)
    yield f"http-request set-priority-offset sc_conn_cur(0,callers),mul({back})"
    yield from _affinity(it)
    yield "# A gateway answers 503 only when its engine has not begun. Nothing else is asked twice: a request that ends"
    yield "# an engine would end all of them."
    yield "retry-on conn-failure empty-response 503"
    yield "retries 3"
    yield "option redispatch 1"
    yield "http-response track-sc2 srv_name table answered if { status 200 }"
    yield from _health(it)
    for number, one in enumerate(it.gateways, 1):
        yield f"server {one.name} {_reached(it, one)} id {number} weight {one.weight} maxconn {one.places} check"


def _affinity(it: Balancer) -> Iterator[str]:
    yield "# A conversation is known by its caller and the messages that it begins with: what the system says, and the"
    yield "# first of the user. Its gateway still has that prefix."
    yield "http-request set-var(txn.first) req.body,json_query('$.messages[0].content')"
    yield "http-request set-var(txn.second) req.body,json_query('$.messages[1].content')"
    yield "acl begins req.body,json_query('$.messages[0].role') -m str user"
    yield "acl has_first var(txn.first) -m found"
    begin = "http-request set-var(txn.begin) var(txn.caller),concat(:,txn.first"
    yield f"{begin}) if has_first begins"
    yield f"{begin},:),concat(,txn.second) if has_first !begins"
    yield "http-request set-var(txn.conversation) var(txn.begin),sha1,hex if has_first"
    yield f"stick-table type string len 40 size {_CONVERSATIONS} expire {_REMEMBERED}"
    yield "stick store-request var(txn.conversation) if has_first"
    yield "http-request set-var(txn.known) var(txn.conversation),table_server_id(gateways) if has_first"
    yield "# Not where it would have to wait while others are free, and not on one that is being drained."
    for number, one in enumerate(it.gateways, 1):
        server = f"gateways/{one.name}"
        room = f"{{ srv_conn({server}) lt {one.streams} }} {{ srv_weight({server}) gt 0 }}"
        yield f"use-server {one.name} if {{ var(txn.known) -m int {number} }} {room}"


def _health(it: Balancer) -> Iterator[str]:
    seconds = it.checks.health_seconds
    yield "# It says that it serves, and has generated."
    yield "option httpchk"
    yield "http-check connect default"
    yield "http-check send meth GET uri /health ver HTTP/1.1 hdr Host gateway"
    yield "http-check expect status 200"
    yield f"http-check connect addr 127.0.0.1 port {it.generation_port}"
    yield 'http-check send meth GET uri-lf "/%[srv_name]" ver HTTP/1.1 hdr Host balancer'
    yield "http-check expect status 200"
    yield "timeout check 3s"
    yield f"default-server inter {seconds}s fastinter 1s downinter 1s fall 2 rise 1"


def _models(it: Balancer) -> Iterator[str]:
    yield "backend models"
    yield "# What needs no place among the answers that are generated."
    yield "balance roundrobin"
    yield "retry-on conn-failure empty-response 503"
    yield "retries 3"
    yield "option redispatch 1"
    for one in it.gateways:
        yield f"server {one.name} {_reached(it, one)} maxconn 8 track gateways/{one.name}"


def _generation(it: Balancer) -> Iterator[str]:
    yield "backend generation"
    yield "# Gets no requests: it is there for its checks. A gateway that refuses has not failed."
    yield "option httpchk"
    asked = {"model": it.gateways[0].model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    bearer = f'Authorization "Bearer ${{{KEY_VARIABLE}}}"'
    yield (
        "http-check send meth POST uri /v1/chat/completions ver HTTP/1.1 hdr Host gateway hdr Content-Type "
        f"application/json hdr {bearer} body '{json.dumps(asked)}'"
    )
    yield "http-check expect ! rstatus ^5"
    yield f"timeout check {it.checks.patience_seconds}s"
    yield f"default-server inter {it.checks.generation_seconds}s fastinter 2s downinter 2s fall 1 rise 1"
    for one in it.gateways:
        yield f"server {one.name} {_reached(it, one)} check"


def _generation_states(it: Balancer) -> Iterator[str]:
    yield "frontend generation_states"
    yield "# Where the checks of the backend gateways learn how those of the backend generation stand."
    yield f"bind 127.0.0.1:{it.generation_port}"
    yield "no log"
    for one in it.gateways:
        silent = f"!{{ srv_is_up(generation/{one.name}) }} !{{ str({one.name}),in_table(answered) }}"
        yield f"http-request return status 503 if {{ path /{one.name} }} {silent}"
    yield "http-request return status 200"


def _reached(it: Balancer, one: Upstream) -> str:
    place = lines.place(one.address, one.port)
    if not one.verified:
        return place
    shown = f" crt {it.shown}" if it.shown else ""
    return f"{place} ssl verify required ca-file {it.ca} verifyhost {one.verified} sni str({one.verified}){shown}"
