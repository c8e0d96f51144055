"""Whose host it is just now, what the last run left half done there, and what a plan makes of that."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from phi4_edge.core.facts import parse
from phi4_edge.core.facts.journal import Journal, Lock
from phi4_edge.core.plan.decide import Plan

Make = Callable[..., Any]
HOST = "n150-8gb"
SERVICE = "LoadState=loaded\nActiveState=active\nUnitFileState=enabled\nMainPID=7\nDescription=Phi-4 on this gateway"


def lock(document: Make, told: object) -> Lock:
    return parse.parse(document(HOST, lock=told if isinstance(told, str) else json.dumps(told))).lock


def journal(document: Make, told: object) -> Journal:
    return parse.parse(document(HOST, journal=told if isinstance(told, str) else json.dumps(told))).journal


def half_done(step: str, phase: str, release: str) -> str:
    return json.dumps({"id": "r", "operation": "provision", "release": release, "step": step, "phase": phase})


def committed(plan: Plan, release: str = "") -> str:
    """The receipt of a host that runs exactly this plan, or another release."""
    receipt = {
        "format": "phi4-edge/receipt/1", "release": release or plan.release, "unit": plan.unit,
        "plan_fingerprint": "f" * 64 if release else plan.fingerprint,
    }  # fmt: skip
    return json.dumps({"present": True, "receipt": receipt, "file_count": 1, "drift": []})


def test_a_host_of_an_older_probe_is_nobodys_and_that_is_no_gap(document: Make) -> None:
    found = parse.parse(document(HOST, lock=None, journal=None))
    assert (found.lock, found.journal) == (Lock(), Journal())
    assert not {"lock", "journal"} & {gap.source for gap in found.gaps}


def test_a_journal_that_nobody_could_read_is_a_gap(document: Make) -> None:
    found = parse.parse(document(HOST, journal={"gap": "denied", "detail": "no"}))
    assert "journal" in {gap.source for gap in found.gaps}
    assert found.journal == Journal()


def test_who_holds_the_host(document: Make) -> None:
    told = {
        "present": True, "state": "held", "id": "x", "user": "ada", "host": "desk", "pid": 7, "operation": "provision",
        "version": "1", "started": "2026-01-02T03:04:05Z", "age": 2.5, "left": 27.5,
    }  # fmt: skip
    found = lock(document, told)
    assert found == Lock("held", "x", "ada", "desk", 7, "provision", "1", "2026-01-02T03:04:05Z", 2.5)
    assert found.present
    assert not lock(document, {"present": False}).present


@pytest.mark.parametrize(
    "told", ["{", "[]", "nonsense", {"present": True}, {"present": True, "state": "mine", "pid": "x", "age": "old"}]
)
def test_a_lock_that_cannot_be_read_keeps_nobody_out(document: Make, told: object) -> None:
    assert lock(document, told).state in ("", "stale")


def test_text_of_a_holder_is_one_printable_line(document: Make) -> None:
    found = lock(document, {"present": True, "state": "held", "user": "a\x1b[2Jb\nc" + "x" * 500, "pid": -3, "age": -1})
    assert found.user.isprintable()
    assert len(found.user) <= 200
    assert (found.pid, found.age) == (0, 0.0)


@pytest.mark.parametrize("told", ["{", "[]", "{}", '{"step": "elsewhere", "phase": "before"}'])
def test_a_journal_that_cannot_be_read_counts_as_switched(document: Make, told: str) -> None:
    assert journal(document, told).switched


def test_its_head_is_read(document: Make) -> None:
    told = {"id": "x", "operation": "provision", "release": "r-1", "step": "probe", "phase": "before", "at": "now"}
    assert journal(document, told) == Journal(True, "x", "provision", "r-1", "probe", "before", "now")
    assert not journal(document, {**told, "closed": True}).open


@pytest.mark.parametrize(
    ("cut", "recovery", "action"),
    [
        (("stage", "after", "same"), "none", "none"),
        (("commit", "after", "same"), "none", "none"),
        (("rollback", "after", "other"), "none", "none"),
        (("switch", "before", "same"), "finish", "repair"),
        (("probe", "after", "same"), "finish", "repair"),
        (("switch", "failed", "other"), "undo", "repair"),
        (("rollback", "before", "other"), "undo", "repair"),
    ],
)
def test_a_switch_that_was_cut_is_something_to_do_where_all_is_as_committed(
    document: Make, plan: Make, cut: tuple[str, str, str], recovery: str, action: str
) -> None:
    first = plan(document(HOST))
    step, phase, which = cut
    left = half_done(step, phase, first.release if which == "same" else "r-000000000000")
    found = plan(document(HOST, receipt=committed(first), service=SERVICE, journal=left))
    assert (found.recovery, found.action) == (recovery, action)
    assert found.fingerprint == first.fingerprint
    told = [change for change in found.changes if change["what"] == "half-done run"]
    assert len(told) == (recovery != "none")
    assert len(found.changes) == len(told), "nothing else is wrong with it"
    if recovery == "undo":
        assert told[0]["after"] == f"back to {first.release} first"


def test_what_was_cut_for_another_release_is_undone_before_the_change(document: Make, plan: Make) -> None:
    first = plan(document(HOST))
    left = half_done("probe", "before", "r-000000000000")
    found = plan(document(HOST, receipt=committed(first, "r-aaaaaaaaaaaa"), service=SERVICE, journal=left))
    assert (found.recovery, found.action) == ("undo", "change")
    assert "back to r-aaaaaaaaaaaa first" in [change["after"] for change in found.changes]


def test_a_first_installation_that_was_cut_is_done_again(document: Make, plan: Make) -> None:
    first = plan(document(HOST))
    found = plan(document(HOST, journal=half_done("switch", "before", first.release)))
    assert (found.recovery, found.action) == ("finish", "install")


def test_a_lock_does_not_change_the_plan(document: Make, plan: Make) -> None:
    held = json.dumps({"present": True, "state": "held", "id": "x"})
    assert plan(document(HOST, lock=held)) == plan(document(HOST))


@pytest.mark.parametrize(
    ("port", "told", "kept"),
    [
        ("", "", True),  # a probe of before
        ("LoadState=not-found\nActiveState=inactive\nUnitFileState=", "", True),
        ("LoadState=loaded\nActiveState=active\nUnitFileState=enabled", "active, enabled", True),
        ("LoadState=loaded\nActiveState=active\nUnitFileState=disabled", "active, disabled", False),
        ("LoadState=loaded\nActiveState=failed\nUnitFileState=enabled", "failed, enabled", False),
        ("LoadState=masked\nActiveState=inactive\nUnitFileState=masked", "inactive, masked", False),
        ("LoadState=not-found\nActiveState=active\nUnitFileState=", "active, not installed", False),
        ("LoadState=loaded\nActiveState=\x1b[31m\nUnitFileState=" + "x" * 9999, None, False),
    ],
)
def test_a_port_that_is_systemds_must_stay_so(document: Make, port: str, told: str | None, kept: bool) -> None:
    service = parse.parse(document(HOST, service=f"{SERVICE}\n\n{port}\n")).service
    assert service is not None
    assert (service.active, service.enabled, service.main_pid) == ("active", "enabled", 7)
    assert (service.holds_port, service.up) == (kept, kept)
    assert told is None or service.socket == told
    assert len(service.socket) < 80 and "\x1b" not in service.socket
