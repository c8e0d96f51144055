"""B17: what a gateway costs, and what becomes of a crowd: the real HAProxy with our configuration, TLS and keys.

    .venv/bin/python benchmarks/bench_gateway.py [--requests 300] [--seconds 300]

The engine behind it generates nothing and takes the time that it is told to, so all that is measured is the gateway's.
A request goes to the engine itself and through the gateway in turns: over a connection of its own, as the gateway's to
the engine is, and over one with TLS that a client keeps. Then four
answers stream 20 tokens a second, and at last 64 clients with a key each ask on and on where four are answered at a
time: for five minutes, with some beside them that send or read slowly, and some that hang up.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import harness
from verdict import Limit, limits_document, show_limits, write

sys.path.insert(0, str(harness.ROOT))
from phi4_edge.core.gateway.model import Limits
from tests.unit.core.gateway.certificates import certificate
from tests.unit.core.gateway.running_gateway import CHAT, Running, key, running, token

STREAMS, CLIENTS, RATE, STREAMED = 4, 64, 20, 20
SLOW, ANSWER = 8, 0.5
TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    chosen = harness.options("What a gateway costs", pairs=1, requests=300, seconds=300)
    keys = [key(f"client-{number}", number) for number in range(1, CLIENTS + 1)]
    with tempfile.TemporaryDirectory(prefix="phi4-bench-") as folder:
        limits = Limits(queue=16, connections_per_client=512)
        served = running(
            Path(folder), *keys, certificate=str(certificate(Path(folder))), limits=limits, streams=STREAMS
        )
        with served as gateway:
            added = overhead(gateway, chosen.requests)
            busy = streaming(gateway)
            got, refused, memory = crowd(gateway, chosen.seconds)
            wrong = sum(number for status, number in refused.items() if status != 429)
            found = [
                Limit("added to a request, median", added * 1000, 2.0, " ms"),
                Limit(f"CPU while {STREAMS} answers stream {RATE} tokens/s, of one core", busy * 100, 3.0, " %"),
                Limit("answers that are neither 200 nor 429", wrong, 0),
                Limit("least answers of a client, of the mean", min(got) / statistics.mean(got), 0.5, at_least=True),
                Limit("memory at the end, of that after a fifth", memory, 1.1),
                Limit("answers at a time at the engine", gateway.engine.seen.most, STREAMS),
            ]
    print(f"{sum(got)} answers to {CLIENTS} clients, refused: {dict(refused)}")
    show_limits(found, chosen.full)
    document = {
        "title": "B17 gateway",
        "hosts": 0,
        "full": chosen.full,
        "sizes": {"requests": chosen.requests, "seconds": chosen.seconds},
    }
    write("gateway", {**document, "samples": {}, "goals": [], "limits": limits_document(found, chosen.full)})


def overhead(gateway: Running, pairs: int) -> float:
    """Seconds that a request takes longer through the gateway, of medians."""
    direct, through = [], []
    with contextlib.closing(gateway.connection()) as kept:
        for _ in range(pairs + 20):
            begin = time.perf_counter()
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", gateway.engine.port, timeout=20)) as own:
                status(own, 1, {"of": 1})
            middle = time.perf_counter()
            status(kept, 1, {"of": 1})
            direct.append(middle - begin)
            through.append(time.perf_counter() - middle)
    return statistics.median(through[20:]) - statistics.median(direct[20:])


def status(connection: http.client.HTTPConnection, number: int, body: object) -> int:
    """Status of one request, whose answer is read to its end."""
    connection.request("POST", CHAT, json.dumps(body), {"Authorization": f"Bearer {token(number)}"})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def streaming(gateway: Running) -> float:
    """Share of one core that HAProxy takes while all answers that there can be stream."""
    body = {"stream": True, "pieces": RATE * STREAMED, "gap": 1 / RATE, "size": 200}

    def client(number: int) -> int:
        with contextlib.closing(gateway.connection()) as connection:
            return status(connection, number, body)

    with ThreadPoolExecutor(STREAMS) as pool:
        running_ = [pool.submit(client, number) for number in range(1, STREAMS + 1)]
        time.sleep(2)
        began, before = time.monotonic(), cpu(gateway)
        time.sleep(STREAMED * 0.7)
        share = (cpu(gateway) - before) / (time.monotonic() - began)
        if {one.result() for one in running_} != {200}:
            raise harness.BenchError("an answer that streamed was refused")
    return share


def crowd(gateway: Running, seconds: int) -> tuple[list[int], Counter[int], float]:
    """Answers of each client; refusals by status; memory at the end as a share of that after a fifth of the time."""
    got, refused, over, lock = [0] * CLIENTS, Counter[int](), threading.Event(), threading.Lock()

    def client(number: int) -> None:
        while not over.is_set():
            with contextlib.closing(gateway.connection()) as connection:
                found = status(connection, number + 1, {"seconds": ANSWER / 10})
            with lock:
                if found == 200:
                    got[number] += 1
                else:
                    refused[found] += 1
            if found != 200:
                over.wait(1)

    with nuisances(gateway, over), ThreadPoolExecutor(CLIENTS) as pool:
        running_ = [pool.submit(client, number) for number in range(CLIENTS)]
        time.sleep(seconds / 5)
        first = memory(gateway)
        time.sleep(seconds * 4 / 5)
        last = memory(gateway)
        over.set()
    for one in running_:
        one.result()
    return got, refused, last / first


@contextlib.contextmanager
def nuisances(gateway: Running, over: threading.Event) -> Iterator[None]:
    """Beside the block some send the beginning of a request and no more, and some hang up in the middle of one."""

    def nuisance(number: int) -> None:
        while not over.is_set():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", gateway.gateway.port), 5) as one:
                one.sendall(b"\x16\x03\x01")
                over.wait(20 if number % 2 else 0.2)

    with ThreadPoolExecutor(SLOW) as pool:
        for number in range(SLOW):
            pool.submit(nuisance, number)
        yield


def processes(gateway: Running) -> list[Path]:
    """The master and its workers, below /proc."""
    master = gateway.process.pid
    below = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    return [Path("/proc") / str(pid) for pid in (master, *below)]


def cpu(gateway: Running) -> float:
    """CPU seconds of all of them."""
    fields = [(one / "stat").read_text().rpartition(")")[2].split() for one in processes(gateway)]
    return sum(int(found[11]) + int(found[12]) for found in fields) / TICKS


def memory(gateway: Running) -> int:
    """Resident bytes of all of them."""
    return sum(int((one / "statm").read_text().split()[1]) for one in processes(gateway)) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    harness.start(main)
