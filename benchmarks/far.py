"""Lab hosts that are far away: a delay and a loss on what they send to this machine."""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import harness
from harness import BenchError

from phi4_edge.lab import Lab, docker

PROGRAM = Path(__file__).with_name("far_link.py")
THERE = "/run/far_link.py"
_NO_NETEM = "Specified qdisc kind is unknown"


def gateway(lab: Lab) -> str:
    """This machine's address on the lab's network: the first one."""
    return str(subnet(lab)[1])


def subnet(lab: Lab) -> ipaddress.IPv4Network:
    """The lab's network."""
    with docker.connect() as client:
        return ipaddress.IPv4Network(client.networks.get(lab.network).attrs["IPAM"]["Config"][0]["Subnet"])


@contextlib.contextmanager
def far(lab: Lab, milliseconds: int, loss: int = 0) -> Iterator[str]:
    """Round trips to the hosts take `milliseconds` longer, and `loss` percent of the packets that they send are lost.

    Yields how: with netem where the kernel has it, else with a tunnel device and a program of ours in each host.
    """
    how = _netem(lab, milliseconds, loss) or _tunnels(lab, milliseconds, loss)
    try:
        _really(lab, milliseconds)
        yield how
    finally:
        for host in lab.hosts:
            harness.on_host(
                lab, host.name,
                "tc qdisc del dev eth0 root 2>/dev/null || true; "
                f"test ! -e {THERE}.pid || kill $(cat {THERE}.pid) || true; rm -f {THERE} {THERE}.pid {THERE}.out",
            )  # fmt: skip


def _netem(lab: Lab, milliseconds: int, loss: int) -> str:
    command = f"tc qdisc replace dev eth0 root netem delay {milliseconds}ms loss {loss}% limit 10000 2>&1 || true"
    said = harness.on_all(lab, command).values()
    if any(_NO_NETEM in text for text in said):
        return ""
    if any(said):
        raise BenchError(f"{command!r} said: {' '.join(said)}")
    return "tc netem"


def _tunnels(lab: Lab, milliseconds: int, loss: int) -> str:
    program, controller = base64.b64encode(PROGRAM.read_bytes()).decode(), gateway(lab)
    start = f"""\
echo {program} | base64 -d > {THERE}
nohup python3 {THERE} {controller} {milliseconds} {loss} > {THERE}.out 2>&1 < /dev/null &
echo $! > {THERE}.pid
for _ in $(seq 100); do grep -q ready {THERE}.out && exit 0; sleep 0.1; done; cat {THERE}.out; exit 1
"""
    harness.on_all(lab, start)
    return "a tunnel device in each host"


def _really(lab: Lab, milliseconds: int) -> None:
    """Raises BenchError unless connecting takes a round trip."""
    for host in lab.hosts:
        best = 1e9
        for _ in range(4):
            begun = time.perf_counter()
            with socket.create_connection((host.address, 22), timeout=30):
                best = min(best, time.perf_counter() - begun)
        if not milliseconds / 1000 <= best <= milliseconds / 1000 + 0.2:
            raise BenchError(f"{host.name}: connecting took {best:.3f} s, needed a round trip of {milliseconds} ms")
