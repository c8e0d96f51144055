"""What the gate asks of the gateway in front of the engine: that clients get through it, with its certificate."""

from __future__ import annotations

import http.client
import ssl
import time
from typing import Any

from gatehttp import Pauses, StepError
from hostguard import is_open
from hostlib import Json, read_bytes
from hostrun import clean
from hostunit import GATEWAY, GUARD, shown

SECONDS = 10.0
MOST_RESTARTS = 3


def front(args: Json, end: float) -> None:
    """The gateway runs, has the certificate that was brought, says that its engine is healthy, and asks who it is.

    No other user of the host gets past it, where the kernel can see to that.
    """
    pauses = Pauses()
    while args["gateway"]:
        found = wrong(args["gateway"])
        if not found:
            break
        state = shown(GATEWAY, "ActiveState,NRestarts")
        # What fails three times fails again.
        over = state.get("ActiveState") == "failed" or int(state.get("NRestarts") or 0) >= MOST_RESTARTS
        if over or time.monotonic() > end:
            where = "%s:%s" % (args["gateway"]["address"], args["gateway"]["port"])
            raise StepError("gateway", "%s does not let clients in at %s: %s" % (GATEWAY, where, found))
        pauses.rest()
    if args["gateway"] and unguarded(args):
        where = "%s:%s" % (args["address"], args["port"])
        raise StepError("gateway", "%s runs, and every user of the host is let in at %s" % (GUARD, where))


def unguarded(args: Json) -> bool:
    """Whether what keeps users of the host from the engine does not do so although it says that it does."""
    runs = shown(GUARD, "ActiveState").get("ActiveState") == "active"
    return runs and is_open((str(args["address"]), int(args["port"])))


def wrong(place: Json) -> str:
    """Why clients do not get through, "" where they do."""
    try:
        status, certificate = asked(place, "/health")
        if status != 200:
            return "it says %d of its engine" % status
        if place["certificate"] and certificate != first(place["certificate"]):
            return "it has another certificate than the one that was brought"
        status, _same = asked(place, "/v1/models")
        # Who has neither is told of the certificate first.
        lacks, refused = ("certificate", 403) if place["certified"] else ("key", 401)
        return "" if status == refused else "it answers %d to a request without a %s" % (status, lacks)
    except (OSError, ValueError, http.client.HTTPException) as error:
        return clean("%s: %s" % (type(error).__name__, error), 300)


def asked(place: Json, path: str) -> tuple[int, bytes]:
    """Status of an answer, and the certificate that came with it."""
    connection = way(place)
    try:
        connection.connect()
        certificate = connection.sock.getpeercert(binary_form=True) if place["certificate"] else b""
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read(1 << 16)
        return answer.status, certificate or b""
    finally:
        connection.close()


def way(place: Json) -> Any:
    """A connection. Nobody is trusted by it: the certificate is compared with the file itself."""
    if not place["certificate"]:
        return http.client.HTTPConnection(place["address"], place["port"], timeout=SECONDS)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection(place["address"], place["port"], timeout=SECONDS, context=context)


def first(path: str) -> bytes:
    """The first certificate in a file. Raises ValueError where there is none."""
    text = (read_bytes(path) or b"").decode("ascii", "replace")
    begin, end = text.find(ssl.PEM_HEADER), text.find(ssl.PEM_FOOTER)
    if begin < 0 or end < begin:
        raise ValueError("no certificate in %s" % path)
    return ssl.PEM_cert_to_DER_cert(text[begin : end + len(ssl.PEM_FOOTER)] + "\n")
