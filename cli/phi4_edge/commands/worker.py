"""`phi4-edge worker`: what a controller starts on another machine over ssh. Not for people."""

from __future__ import annotations

import json
import os
from typing import IO, Any

import click

from phi4_edge import content
from phi4_edge.artifacts import Store
from phi4_edge.artifacts.bundle import handover
from phi4_edge.errors import RunnerError
from phi4_edge.operations import trust
from phi4_edge.runner.workers import server
from phi4_edge.runner.workers.link import Hello


@click.command(hidden=True)
def command() -> None:
    """Serve one request of a controller, on standard input and output.

    A controller starts this itself, for `phi4-edge provision --worker user@host`.
    """
    source = os.fdopen(os.dup(0), "rb")
    # Only the protocol may go to standard output; whatever a library prints is a message.
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    store = Store()
    _say(sink, Hello.mine(str(store.root)).line())
    try:
        request = json.loads(source.readline() or b"{}")
        what = request.get("do")
    except (ValueError, AttributeError) as error:
        raise RunnerError("found an invalid request, needed one from a controller of this version") from error
    if what == "run":
        server.serve(request, source, sink)
    elif what == "store":
        handover.receive(store, content, source, sink, gate=trust.gate())
    elif what is not None:  # a controller that only wanted to know who is here says nothing
        raise RunnerError("found an invalid request, needed one from a controller of this version")


def _say(sink: IO[bytes], line: dict[str, Any]) -> None:
    sink.write(json.dumps(line).encode() + b"\n")
    sink.flush()
