"""A server of completions that is started, asked and looked at: what takes how long, and what it holds meanwhile."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import processes

FIRST = (5000,) * 8  # any tokens will do


@dataclass
class Server:
    """One that serves: its port, its process, what it needs in a request beside what both do; samples by measure."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    own: Mapping[str, Any] = field(default_factory=dict)
    samples: dict[str, list[float]] = field(default_factory=dict)

    def asked(self, prompt: Sequence[int], tokens: int) -> float:
        """Seconds of an answer of so many tokens. Raises SystemExit where it has another length."""
        body = {"model": "m", "prompt": list(prompt), "max_tokens": tokens, "temperature": 0, **self.own}
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=900)
        began = time.perf_counter()
        try:
            line.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
            answer = line.getresponse()
            content = answer.read()
        finally:
            line.close()
        took = time.perf_counter() - began
        found = json.loads(content)
        if answer.status != 200 or found["usage"]["completion_tokens"] != tokens:
            raise SystemExit(f"{self.name} answered {answer.status}, needed {tokens} tokens: {content[:400]!r}")
        return took

    def together(self, prompts: Sequence[Sequence[int]], tokens: int) -> float:
        """Seconds until all have been answered that are asked at the same time."""
        began = time.perf_counter()
        with ThreadPoolExecutor(len(prompts)) as pool:
            list(pool.map(lambda prompt: self.asked(prompt, tokens), prompts))
        return time.perf_counter() - began

    def looked(self) -> float:
        """Seconds of one look at /health on a connection of its own."""
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        began = time.perf_counter()
        try:
            line.request("GET", "/health")
            line.getresponse().read()
        finally:
            line.close()
        return time.perf_counter() - began

    def tree(self) -> list[int]:
        """Its process and their children."""
        return list(processes.family(self.process.pid))

    def memory(self, pids: Sequence[int] | None = None) -> tuple[int, int]:
        """Bytes in memory of no file, and of files; of these processes alone, where some are named."""
        anonymous = total = 0
        for pid in self.tree() if pids is None else pids:
            rows = (line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
            found = {row[0]: int(row[1]) * 1024 for row in rows}
            anonymous, total = anonymous + found["Anonymous:"], total + found["Rss:"]
        return anonymous, total - anonymous

    def ticks(self) -> float:
        """Seconds of the processor that it has used so far."""
        stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in self.tree()]
        return sum(int(one[11]) + int(one[12]) for one in stats) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def serving(name: str, command: Sequence[object], environment: Mapping[str, str], port: int, log: Path,
            own: Mapping[str, Any]) -> Iterator[Server]:  # fmt: skip
    """A server that has loaded its model. Raises SystemExit where it does not."""
    with log.open("wb") as stream:
        process = subprocess.Popen(
            list(map(str, command)), env={"PATH": os.environ["PATH"], **environment}, stdout=stream, stderr=stream
        )
    server = Server(name, port, process, own)
    try:
        for _ in range(1200):
            if process.poll() is not None:
                raise SystemExit(f"{name} ended with {process.returncode}: {log.read_text()[-2000:]}")
            with contextlib.suppress(OSError, SystemExit, ValueError):
                server.asked(FIRST, 1)
                break
            time.sleep(0.5)
        yield server
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    """A port of loopback that nobody has taken just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
