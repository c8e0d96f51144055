"""What is tried on which hosts, before anything is changed: what the operator is asked, and who is left out."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.core.facts.journal import Journal
from phi4_edge.core.facts.model import HostFacts
from phi4_edge.core.facts.parse import parse
from phi4_edge.core.facts.receipt import Receipt
from phi4_edge.inventory import Host
from phi4_edge.operations import tryout
from phi4_edge.operations.candidates import asked
from phi4_edge.operations.detect import Survey
from phi4_edge.operations.fleet import Fleet
from phi4_edge.operations.tryout import Tryout
from phi4_edge.rollout.result import Outcome
from phi4_edge.runner.access import Access
from tests.unit.operations.test_bench import WISH
from tests.unit.operations.test_bench_fleet import View, document
from tests.unit.operations.test_tryout import BEFORE, OLLAMA4, OLLAMA8, ONNX, trial


def test_the_operator_hears_what_is_interrupted_and_what_brings_it_back() -> None:
    found = trial(ONNX, OLLAMA8, OLLAMA4, hosts=("gw1", "gw2"))
    found.hosts["gw2"] = dataclasses.replace(found.hosts["gw2"], candidates=(ONNX,))
    assert found.proposal() == [
        {"host": "gw1", "serves": "onnx int4", "tries": ["ollama q8_0", "ollama q4_K_M"], "down_seconds": 80}
    ]
    found.hosts["gw2"] = dataclasses.replace(
        found.hosts["gw2"], receipt=dataclasses.replace(found.hosts["gw2"].receipt, release="r-bbbbbbbbbbbb")
    )
    assert found.ways_back(["gw1", "gw2"]) == [
        f"phi4-edge rollback site/gateways.ini --limit gw1 --to {BEFORE}",
        "phi4-edge rollback site/gateways.ini --limit gw2 --to r-bbbbbbbbbbbb",
    ]


def test_hosts_on_which_nothing_can_be_tried_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PHI4_EDGE_STORE", str(tmp_path))
    documents = {"bare": document("bare", None), "good": document("good", 8080), "none": document("none", 8080)}

    def variables(_: Fleet, host: Host) -> dict[str, Any]:
        return {"phi4_context_length": 131072} if host.name == "none" else {}

    monkeypatch.setattr(Fleet, "variables", variables)
    monkeypatch.setattr(Fleet, "survey", lambda *_: Survey(documents, ()))
    fleet = Fleet(tuple(Host(name, "192.0.2.1") for name in documents), Access(("unused",)), {})
    found = Tryout(fleet, WISH, asked("ollama:q8_0"), 4)
    found.look(View())  # type: ignore[arg-type]
    assert list(found.hosts) == ["good"]
    assert {one.host: one.outcome for one in found.problems} == {"bare": Outcome.PREFLIGHT, "none": Outcome.NO_FIT}


@pytest.fixture(scope="module")
def serving() -> HostFacts:
    facts = parse(document("gw1", 8080))
    assert tryout._unsafe("gw1", facts) is None
    return facts


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"journal": Journal(True, release="r-1", step="switch", phase="before")}, "cut at switch"),
        ({"service": None}, "found what serves stopped"),
        ({"receipt": Receipt(True)}, "a receipt without a release"),
    ],
)
def test_a_host_that_might_not_come_back_is_not_touched(serving: HostFacts, changes: dict[str, Any], said: str) -> None:
    found = tryout._unsafe("gw1", dataclasses.replace(serving, **changes))
    assert found is not None and found.outcome is Outcome.PREFLIGHT and said in found.reason
    assert "phi4-edge provision" in found.next_step
