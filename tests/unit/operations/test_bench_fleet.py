"""Hosts are measured side by side: one that fails, is locked or serves nothing keeps no other from it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.core.facts.parse import parse
from phi4_edge.core.facts.receipt import Receipt
from phi4_edge.inventory import Host
from phi4_edge.operations import bench
from phi4_edge.operations.detect import Survey
from phi4_edge.rollout.result import Outcome, exit_code
from phi4_edge.ssh import tunnel
from tests.unit.inference.standin_openai import MODEL, serving
from tests.unit.inference.test_load import paced
from tests.unit.operations.test_bench import FIXTURE, WISH, Notebook, bad

pytestmark = pytest.mark.usefixtures("believed")
UNIT = "Id=phi4-edge.service\nLoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled"
HELD = {
    "present": True,
    "state": "held",
    "id": "run-1",
    "user": "ops",
    "host": "hq",
    "operation": "provision",
    "age": 1.0,
}


class Hosts:
    """Stands for a fleet that was looked at: its documents, and nobody to connect to."""

    access: Any = None

    def __init__(self, hosts: dict[str, tuple[Host, dict[str, Any]]]) -> None:
        self.hosts = hosts

    def survey(self, _view: object, keep: object) -> Survey:
        return Survey({name: document for name, (_, document) in self.hosts.items()}, ())

    def facts(self, seen: Survey) -> Iterator[tuple[Host, Any]]:
        for name, (host, _) in self.hosts.items():
            yield host, parse(seen.documents[name])

    def variables(self, host: Host) -> dict[str, Any]:
        return dict(host.vars)


class View:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def phase(self, text: str) -> None:
        self.said.append(text)

    note = phase


def document(name: str, port: int | None, lock: dict[str, Any] | None = None) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(FIXTURE.read_text())
    sources = {**made["sources"], "service": {"text": UNIT}}
    if port is not None:
        receipt = dataclasses.replace(
            Receipt(True), engine="onnx", quantization="int4", model=MODEL, bind="127.0.0.1", port=port, threads=4,
            parallel=1, context_length=4096, release="r-0123456789ab", service_manager="systemd",
        )  # fmt: skip
        sources["receipt"] = {"text": json.dumps(receipt.to_dict())}
    if lock is not None:
        sources["lock"] = {"text": json.dumps(lock)}
    return {**made, "host": name, "sources": sources}


def test_every_host_has_its_own_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    book, view = Notebook(), View()
    for name in ("REST_SECONDS", "IDLE_SECONDS", "WATCH_SECONDS"):
        monkeypatch.setattr(bench, name, 0.0)
    monkeypatch.setattr(bench, "Desk", lambda *_: book)
    monkeypatch.setattr(bench.exchange, "connector", lambda *_: tunnel.http_connection)
    with contextlib.ExitStack() as stack:
        ports = {
            name: stack.enter_context(serving(behave)).server_address[1]
            for name, behave in {"good": paced(0.02, 0.01), "bad": bad, "held": paced(0.02, 0.01)}.items()
        }
        locks = {"held": HELD}
        hosts = {
            name: (Host(name, "127.0.0.1", connection="local"), document(name, ports.get(name), locks.get(name)))
            for name in ("bad", "good", "held", "bare")
        }
        fleet: Any = Hosts(hosts)
        found, problems = bench.bench(fleet, WISH, 2, view)  # type: ignore[arg-type]
    assert {one.host: one.result.outcome for one in found} == {"bad": Outcome.FAILED, "good": Outcome.DONE}
    assert {one.host: one.outcome for one in problems} == {"held": Outcome.LOCKED, "bare": Outcome.PREFLIGHT}
    assert "ops" in next(one.reason for one in problems if one.host == "held")
    assert exit_code([*(one.result for one in found), *problems]) == 4
    assert "good: measured" in view.said and "Measuring 2 hosts" in view.said
    # What the plan says of it without a measurement stands beside.
    good = next(one for one in found if one.host == "good")
    assert (good.forecast.decode, good.forecast.source) == (8.0, "board")
    assert [name for name, _ in book.asked if name == "keep"] == ["keep"]
