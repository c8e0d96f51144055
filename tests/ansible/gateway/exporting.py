"""The exporter's modules, and an exporter that serves in this process until the end of a block."""

from __future__ import annotations

import contextlib
import http.client
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.ansible.plays import ROOT

sys.path.insert(0, str(ROOT / "roles" / "gateway" / "files"))
sys.path.insert(0, str(ROOT / "cli" / "phi4_edge" / "remote" / "host"))
import exporter
import metrics_fetch
import metrics_host
import metrics_served
import metrics_text
import metrics_units

__all__ = [
    "exporter", "metrics_fetch", "metrics_host", "metrics_served", "metrics_text", "metrics_units", "plan", "scraped",
    "serving",
]  # fmt: skip


def plan(engine: str, port: int, metrics_port: int, **more: Any) -> dict[str, Any]:
    """What the exporter takes from a release's plan."""
    return {
        "release": "r-000000000000", "engine": engine, "quantization": "int4", "accelerator": "cpu",
        "bind": "127.0.0.1", "port": port, "service_manager": "systemd", "knobs": {},
        "model": {"served_name": "phi-4-mini-instruct"},
        "gateway": {"metrics_port": metrics_port, "exporter_port": 0, "queue": 16, "tls": False}, **more,
    }  # fmt: skip


@contextlib.contextmanager
def serving(wanted: dict[str, Any], folder: Path, **paths: str) -> Iterator[int]:
    """The port of an exporter for this plan, with its release and its state in a folder.

    `paths`: stand-ins for /sys and the local fact.
    """
    server = exporter.serving(wanted, exporter.parts_of(wanted, str(folder), str(folder), **paths))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def scraped(port: int, path: str = "/metrics", method: str = "GET") -> tuple[int, str]:
    """Status and text of one answer."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as client:
        client.request(method, path)
        answer = client.getresponse()
        return answer.status, answer.read().decode()
