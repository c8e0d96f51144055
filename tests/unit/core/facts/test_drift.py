"""What is not as committed beside files: what the release needs of its host, its port, and when a repair restarts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from phi4_edge.core.facts.installed import taken
from phi4_edge.core.facts.journal import Journal
from phi4_edge.core.facts.model import HostFacts
from phi4_edge.core.facts.parse import parse
from phi4_edge.core.facts.receipt import Drift, from_dict
from phi4_edge.core.facts.status import Health, State, classify
from phi4_edge.core.facts.units import Healing
from phi4_edge.core.layout import HEAL_TIMER
from phi4_edge.core.plan.changes import restarts

Make = Callable[..., Any]
UP = "Id=phi4-edge.service\nLoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\nMainPID=7\n"
DOWN = UP.replace("ActiveState=active", "ActiveState=failed").replace("MainPID=7", "MainPID=0")
BODY = {"format": "phi4-edge/receipt/1", "release": "r-1", "bind": "127.0.0.1", "port": 8080}
COMPOSE = {"service_manager": "compose"}
HERE = {"docker": "28.5.2", "compose": "2.40.3"}
NO_COMPOSE = {"docker": "28.5.2", "compose": {"gap": "missing", "detail": "docker-compose"}}


def facts(document: Make, body: dict[str, Any] | None = None, drift: Any = (), **sources: Any) -> HostFacts:
    """A host that serves a release of ours; `body` of its receipt, `drift` as its probe found it."""
    said = {"present": True, "receipt": {**BODY, **(body or {})}, "drift": list(drift), "file_count": 9}
    return parse(document("n150-8gb", **{"receipt": json.dumps(said), "service": UP, **sources}))


@pytest.mark.parametrize(
    ("body", "sources", "lost"),
    [
        ({}, NO_COMPOSE, None),
        (COMPOSE, HERE, None),
        (COMPOSE, NO_COMPOSE, "Docker Compose"),
        (COMPOSE, {"docker": {"gap": "missing", "detail": "docker"}}, "Docker Engine"),
        # Nobody could ask: that is no word of ours about a package.
        (COMPOSE, {"docker": {"gap": "denied", "detail": "permission denied"}, "compose": "2.40.3"}, None),
        ({"gpu": "GPU-1"}, {}, "GPU GPU-1"),
        ({}, {"service": f"{UP}\nId={HEAL_TIMER}\nLoadState=loaded\nActiveState=inactive\nUnitFileState=enabled"},
         HEAL_TIMER),
    ],
)  # fmt: skip
def test_what_the_release_needs_and_is_gone_is_drift(
    document: Make, body: dict[str, Any], sources: dict[str, Any], lost: str | None
) -> None:
    found = facts(document, body, **sources)
    assert [item.path for item in found.receipt.drift] == ([lost] if lost else [])
    status = classify(found, Health("healthy", "r-1"))
    assert status.state is (State.DRIFTED if lost else State.SERVING)
    assert lost is None or f"{lost} is " in status.detail


def test_the_gpu_of_the_release_is_looked_for_by_its_number(document: Make) -> None:
    uuid = parse(document("workstation-rtx4090-driver580")).nvidia.gpus[0].uuid
    for wanted, drift in ((uuid, []), ("GPU-other", ["GPU GPU-other"])):
        said = json.dumps({"present": True, "receipt": {**BODY, "gpu": wanted}, "drift": []})
        found = parse(document("workstation-rtx4090-driver580", receipt=said, service=UP))
        assert [item.path for item in found.receipt.drift] == drift


@pytest.mark.parametrize(
    ("service", "listening", "place"),
    [
        (DOWN, "127.0.0.1 8080", "127.0.0.1:8080"),
        (DOWN, "0.0.0.0 8080", "0.0.0.0:8080"),
        (DOWN, "192.0.2.7 8080", ""),
        (DOWN, "127.0.0.1 22", ""),
        (UP, "127.0.0.1 8080", ""),
        (f"{DOWN}\nId=phi4-edge.socket\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled", "127.0.0.1 8080",
         ""),
    ],
)  # fmt: skip
def test_another_program_on_our_port_is_told(document: Make, service: str, listening: str, place: str) -> None:
    found = facts(document, service=service, listening=listening)
    assert taken(found) == place
    half = Journal(present=True, release="r-2", step="switch", phase="after")
    assert taken(replace(found, journal=half)) == ""
    status = classify(found, None)
    assert (f"another program listens on {place}" in status.detail) is bool(place)
    assert ("sudo ss -ltnp" in status.next_step) is bool(place)


@pytest.mark.parametrize(
    ("drift", "again"),
    [
        ([("/opt/phi4-edge/releases/r-1/environment", "changed")], True),
        ([("/opt/phi4-edge/releases/r-1/environment", "mode")], False),
        ([("/opt/phi4-edge/releases/r-1/environment", "owner")], False),
        ([("/opt/phi4-edge/releases/r-1/plan.json", "changed")], False),
        ([("/opt/phi4-edge/current", "link")], False),
        ([("/opt/phi4-edge/releases/r-1/model", "link")], True),
        ([("/etc/ansible/facts.d/phi4_edge.fact", "changed")], False),
        ([("/etc/systemd/system/phi4-edge.service.d/a.conf", "added")], True),
        ([("/etc/systemd/system/phi4-edge-heal.timer", "changed")], False),
        ([("/etc/docker/daemon.json", "changed")], False),
        ([("image x", "untagged"), ("group docker", "missing")], False),
    ],
)
def test_a_repair_restarts_only_what_may_have_read_it(document: Make, drift: Any, again: bool) -> None:
    found = facts(document, drift=[{"path": path, "problem": problem} for path, problem in drift])
    assert restarts(found) is again


def test_a_receipt_that_says_nothing_is_a_reason_to_restart_and_an_edited_one_is_none(document: Make) -> None:
    for edited in (True, False):
        said = json.dumps({"present": True, "receipt": BODY, "drift": [], "error": "why", "edited": edited})
        found = parse(document("n150-8gb", receipt=said, service=UP))
        assert classify(found, None).state is State.UNREADABLE
        assert restarts(found) is not edited


def test_units_that_systemd_has_not_read_again_are_drift(document: Make) -> None:
    found = facts(document, service=f"{UP}NeedDaemonReload=yes\n")
    assert classify(found, None).detail == "systemd has not read the units again since they were changed"
    assert restarts(found)


def test_files_are_counted_and_other_things_named(document: Make) -> None:
    drift = [{"path": "/opt/phi4-edge/x", "problem": "changed"}, {"path": "group docker", "problem": "missing"}]
    status = classify(facts(document, drift=drift), None)
    assert status.detail == "1 of 9 managed files are not as committed; group docker is missing"
    assert status.next_step.endswith("--limit n150-8gb")
    assert classify(facts(document, drift=drift), None, deep=True).next_step.endswith("--limit n150-8gb --deep")


def test_a_receipt_that_is_gone_is_told_apart_from_a_host_that_never_had_one(document: Make) -> None:
    gone = parse(document("n150-8gb", receipt='{"present": false}', service=UP))
    assert classify(gone, None).detail == "its receipt is gone, and the service is active and enabled"
    assert classify(parse(document("n150-8gb")), None).detail == "nothing was provisioned here"


def test_what_the_host_put_right_is_told_and_kept_in_bounds(document: Make) -> None:
    noted = {"format": "phi4-edge/heal/1", "at": "2026-01-02T03:04:05Z", "did": ["started x"] * 99, "left": ["y is z"],
             "held": "/etc/phi4-edge/hold"}  # fmt: skip
    healing = Healing.from_dict(noted)
    assert (len(healing.did), healing.left) == (20, ("y is z",))
    assert healing.notes[0].startswith("healed itself at 2026-01-02T03:04:05Z: started x, ")
    assert "on hold: /etc/phi4-edge/hold" in healing.notes[1]
    assert Healing.from_dict({**noted, "at": "\x1b[2J"}).at == ""
    assert Healing.from_dict(healing.to_dict()) == healing
    receipt = replace(from_dict({"present": True, "receipt": BODY}), healing=healing, edited=True, general=("/x",))
    assert from_dict({**receipt.to_dict(), "general": ["/x"], "edited": True}) == receipt
    said = json.dumps({"present": True, "receipt": BODY, "heal": noted})
    assert classify(parse(document("n150-8gb", receipt=said, service=UP)), None).notes == healing.notes


def test_a_drift_of_another_kind_counts_as_a_change() -> None:
    assert from_dict({"present": True, "receipt": BODY, "drift": [{"path": "/x", "problem": "odd"}]}).drift == (
        Drift("/x", "changed"),
    )
