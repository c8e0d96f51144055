"""The HAProxy of a host: its package, and on a socket how its servers are, and which of them gets requests."""

from __future__ import annotations

import csv
import re
import socket
import time
from typing import Dict, List

from hostlib import HostError
from hostrun import command

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MOST_BYTES = 1 << 20
SECONDS = 5.0
PAUSE_SECONDS = 0.5


def installed() -> str:
    """Version of the distribution's package, "" where it is not installed."""
    status, output = command("dpkg-query", "--show", "--showformat=${db:Status-Status} ${Version}", "haproxy")
    state, _, version = output.strip().partition(" ")
    return version[:100] if status == 0 and state == "installed" else ""


def told(path: str, line: str) -> str:
    """What HAProxy answers to one command. Raises HostError where it is not there, or says too much."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(SECONDS)
        try:
            client.connect(path)
            client.sendall(line.encode() + b"\n")
            client.shutdown(socket.SHUT_WR)
            parts, size = [], 0
            while part := client.recv(65536):
                parts.append(part)
                size += len(part)
                if size > MOST_BYTES:
                    raise HostError("HAProxy said more than %d bytes to %r" % (MOST_BYTES, line))
        except OSError as error:
            raise HostError("HAProxy does not answer at %s: %s" % (path, error)) from None
    return b"".join(parts).decode("utf-8", "replace")


def servers(path: str, backend: str) -> List[Dict[str, str]]:
    """The servers of a backend, by HAProxy's names for what it knows of them."""
    lines = told(path, "show stat").lstrip("# ").splitlines()
    rows = csv.DictReader(line for line in lines if line)
    return [row for row in rows if row["pxname"] == backend and row["svname"] not in ("FRONTEND", "BACKEND")]


def drain(path: str, backend: str, server: str, seconds: float) -> int:
    """The server gets no more requests; returns how many of its answers still run after at most so many seconds."""
    set_state(path, backend, server, "drain")
    end = time.monotonic() + seconds
    while True:
        running = sum(int(row["scur"] or 0) for row in servers(path, backend) if row["svname"] == server)
        if not running or time.monotonic() >= end:
            return running
        time.sleep(PAUSE_SECONDS)


def set_state(path: str, backend: str, server: str, state: str) -> None:
    """The server is `ready` for requests, or is in the state `drain`. Raises HostError where there is no such one."""
    if not NAME.fullmatch(server):  # a semicolon would begin another command
        raise HostError("found the gateway %r, needed its name in the inventory" % server[:80])
    said = told(path, "set server %s/%s state %s" % (backend, server, state)).strip()
    if said:
        raise HostError("HAProxy does not set %s to %s: %s" % (server, state, said[:200]))
