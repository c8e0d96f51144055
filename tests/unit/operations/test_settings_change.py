"""A change of settings over a session, against a host whose answers are chosen: what is asked, what comes of it."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import yaml

from phi4_edge.core.inventory import Host, SshSettings
from phi4_edge.core.plan.decide import Plan
from phi4_edge.operations.settings_change import LeftError, SettingsChange, Wanted
from phi4_edge.remote import gate
from phi4_edge.remote.action import HostRefusedError
from phi4_edge.runner.events import HostEvent, HostOutcome
from phi4_edge.ssh.errand import Errand, Said
from phi4_edge.ssh.finding import Refused
from phi4_edge.ssh.guest import Unanswered
from tests.ansible.plays import ROOT
from tests.hostile.answers import ANSWERS, REFUSED, Row
from tests.hostile.honest import IMAGE_ID
from tests.unit.operations.standin_guest import HELD, HONEST, StandinGuest, plan

Json = dict[str, Any]
FIRST = ["lock/lock/take", "probe/probe/probe"]
CHANGE = [
    "trust/trust/present", "service/release/inherit", "service/release/stage", "service/release/verify",
    "service/release/switch", "health/gate/gate", "receipt/receipt/commit", "lock/lock/release",
]  # fmt: skip
BESIDE = [*CHANGE[:4], "service/release/rehearse", "health/gate/gate", "service/release/rest", *CHANGE[4:]]
BACK = ["service/release/rollback", "health/gate/gate", "receipt/receipt/sweep"]


def changing(
    answer: Mapping[str, Json] | Callable[[str, int], Json] | None = None,
    lie: Callable[[Json, int], Any] = lambda document, _: document,
    wanted: Plan | None = None,
    now: Plan | None = None,
    **roles: float,
) -> tuple[StandinGuest, SettingsChange, list[HostEvent]]:
    events: list[HostEvent] = []
    asked, agreed = {**HONEST, **(answer if isinstance(answer, Mapping) else {})}, wanted or plan()
    guest = StandinGuest(
        Host("gw1", ssh=SshSettings(), for_roles=roles),
        answer if callable(answer) else lambda name, _: asked[name],
        lie,
    )
    holder = {"lock_id": "r1", "lock_operation": "provision", "lock_wait": 0, "lock_holder": {"user": "ada"}}
    found = Wanted(agreed, lambda document: now or agreed, holder, ())
    return guest, SettingsChange(guest, found, events.append, threading.Lock()), events


def through(change: SettingsChange) -> HostOutcome:
    return change.changed(change.taken())


def fails(*where: str, second: str = "") -> Callable[[str, int], Json]:
    """Answers of a host on which these operations fail, or the gate the second time."""

    def answer(name: str, times: int) -> Json:
        if name in where or (name == second and times > 1):
            return {"error": f"no {name}"}
        return HONEST[name]

    return answer


@pytest.mark.parametrize(("mode", "steps"), [("down", CHANGE), ("beside", BESIDE)])
def test_it_is_two_exchanges_and_one_changed_task(mode: str, steps: list[str]) -> None:
    guest, change, events = changing(wanted=plan(mode))
    outcome = through(change)
    change.leave()
    assert guest.asked == [FIRST, steps]
    assert (outcome.status, outcome.changed, outcome.message) == ("ok", 1, "")
    assert [(event.kind, event.role) for event in events] == [
        ("start", "lock"), ("ok", "lock"), ("start", "service"), ("changed", "service"),
    ]  # fmt: skip
    wish = guest.args[0]["series"][0]["args"]["wish"]
    assert (wish["id"], wish["operation"], wish["user"], wish["stale_seconds"]) == ("r1", "provision", "ada", 30.0)
    assert "lock" not in guest.args[0]
    assert guest.args[1]["lock"]["id"] == "r1"


def test_times_of_the_inventory_are_those_of_the_lock_and_the_gate() -> None:
    guest, change, _ = changing(lock_stale_seconds=3.0, health_generation_seconds=7.0, health_stability_seconds=1.0)
    through(change)
    assert guest.args[0]["series"][0]["args"]["wish"]["stale_seconds"] == 3.0
    asked = next(step["args"] for step in guest.args[1]["series"] if step["args"].get("do") == "gate")
    assert (asked["generation_seconds"], asked["stability_seconds"]) == (7.0, 1.0)


def test_times_are_else_those_of_the_roles() -> None:
    """What role health has by default is said a second time in `remote.gate`."""
    health = yaml.safe_load((ROOT / "roles" / "health" / "defaults" / "main.yml").read_text())
    assert gate.times({"stability_seconds": 5.0}) == {
        "start_seconds": health["health_start_seconds"], "generation_seconds": health["health_generation_seconds"],
        "stability_seconds": 5.0,
    }  # fmt: skip


def test_files_of_containers_have_the_images_of_the_host() -> None:
    inherited = {"complete": True, "changed": True, "images": {"engine": IMAGE_ID}}
    guest, change, _ = changing(
        {"service/release/inherit": inherited}, wanted=plan(engine="ollama", phi4_service_manager="compose")
    )
    assert through(change).status == "ok"
    assert guest.asked == [FIRST, CHANGE[:2], CHANGE[2:]]
    stage = guest.args[2]["series"][0]["args"]
    assert IMAGE_ID in stage["files"]["compose.yml"]


@pytest.mark.parametrize(
    "answer",
    [{"lock/lock/take": HELD}, {"lock/lock/take": {"error": "no root"}}, {"probe/probe/probe": {"error": "x"}}],
)
def test_a_host_that_is_not_ours_is_left(answer: dict[str, Json]) -> None:
    guest, change, _ = changing(answer)
    with pytest.raises(LeftError):
        change.taken()
    change.leave()
    released = [asked for asked in guest.asked if asked == ["lock/lock/release"]]
    assert len(released) == (0 if "lock/lock/take" in answer else 1)


@pytest.mark.parametrize(
    "now",
    [
        {"fingerprint": "f" * 64}, {"action": "repair"}, {"recovery": "undo"}, {"fits": False}, {"blockers": ("port",)},
        {"applicable": False}, {"changes": ({"what": "model", "before": "a", "after": "b"},)}, {"awaits": ("a model",)},
    ],
)  # fmt: skip
def test_a_host_that_is_not_as_it_was_is_left_and_given_back(now: dict[str, Any]) -> None:
    agreed = plan()
    guest, change, _ = changing(wanted=agreed, now=dataclasses.replace(agreed, **now))
    with pytest.raises(LeftError):
        through(change)
    change.leave()
    assert guest.asked == [FIRST, ["lock/lock/release"]]


@pytest.mark.parametrize(
    "answer",
    [
        {"service/release/inherit": {"complete": False, "changed": False, "images": {}}},
        {"trust/trust/present": {"error": "refused"}},
    ],
)
def test_where_nothing_was_changed_it_is_left(answer: dict[str, Json]) -> None:
    guest, change, events = changing(answer)
    with pytest.raises(LeftError):
        through(change)
    assert all(event.kind in ("start", "ok") for event in events)
    change.leave()
    assert guest.asked[-1] == ["lock/lock/release"]


@pytest.mark.parametrize("failed", CHANGE[1:-1])
def test_a_step_that_fails_is_undone(failed: str) -> None:
    once = {"health/gate/gate"}

    def answer(name: str, times: int) -> Json:
        return {"error": f"no {name}"} if name == failed and (name not in once or times == 1) else HONEST[name]

    guest, change, events = changing(answer)
    outcome = through(change)
    change.leave()
    assert [asked[0] for asked in guest.asked[2:]] == [*BACK, "lock/lock/release"]
    back = HONEST["service/release/rollback"]["to"]
    assert outcome.message == f"no {failed} (the host is back on {back})"
    assert (outcome.status, outcome.facts["phi4_rollback"]["to"]) == ("failed", back)
    assert [event.kind for event in events][-6:] == ["failed", "start", "ok", "failed", "start", "ok"]


def test_a_rehearsal_that_fails_says_that_nothing_was_switched() -> None:
    stays = {**HONEST["service/release/rollback"], "restarted": False, "changed": False}

    def answer(name: str, times: int) -> Json:
        if name == "service/release/rollback":
            return stays
        return {"error": "it is deaf"} if name == "health/gate/gate" else HONEST[name]

    guest, change, _ = changing(answer, wanted=plan("beside"))
    outcome = through(change)
    assert "beside the release that serves did not pass, so nothing was switched: it is deaf" in outcome.message
    assert outcome.message.endswith(f"(the host still serves {stays['to']})")
    assert [asked[0] for asked in guest.asked[2:]] == [BACK[0], BACK[2]]


def test_a_way_back_that_fails_has_both_reasons() -> None:
    _, change, events = changing(fails("health/gate/gate"))
    outcome = through(change)
    assert outcome.message == "no health/gate/gate (and going back failed: no health/gate/gate)"
    assert [event.kind for event in events][-4:] == ["start", "ok", "failed", "failed"]


def test_a_host_that_lost_its_receipt_meanwhile_is_left() -> None:
    lost = {"changed": False, "to": "", "restarted": False, "kept": False}
    _, change, _ = changing({"service/release/switch": {"error": "no"}, "service/release/rollback": lost})
    with pytest.raises(LeftError):
        through(change)


def test_a_release_that_fails_undoes_nothing() -> None:
    guest, change, _ = changing({"lock/lock/release": {"error": "the disk is full"}})
    assert through(change).status == "ok"
    with pytest.raises(HostRefusedError, match="the disk is full"):
        change.leave()
    assert guest.asked[-1] == ["lock/lock/release"]


def test_a_step_that_takes_too_long_is_told_as_such() -> None:
    late = {"error": "out of time", "timedout": {"period": 5}}
    _, change, _ = changing({"service/release/switch": late})
    assert through(change).timed_out


@pytest.mark.parametrize(
    "end", [Refused("unreachable", "found that the connection ended", ""), Unanswered(Said(None, "", ""))]
)
def test_a_host_that_is_lost_on_the_way_is_unreachable(end: Exception) -> None:
    guest, change, events = changing()
    document, honest = change.taken(), guest.do

    def gone(errand: Errand, sudo: bool = True) -> Said:
        guest.alive = False
        raise end

    guest.do = gone  # type: ignore[method-assign]
    outcome = change.changed(document)
    assert (outcome.status, events[-1].kind) == ("unreachable", "unreachable")
    assert "found that the connection ended" in outcome.message
    guest.do = honest  # type: ignore[method-assign]
    change.leave()
    assert guest.asked == [FIRST]


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("name", [name for name, answer in ANSWERS.items() if answer.expect == REFUSED])
def test_false_answers_are_no_answers(name: str, at: int) -> None:
    """To either exchange: the host is left before anything was changed, or fails; nothing of it is a fact."""
    row = Row(name, "series", "/none")

    def lie(document: Json, number: int) -> Any:
        if number != at:
            return document
        return {"answers": [ANSWERS[name].make(one, row) for one in document["answers"]]}

    def lies(document: Json, number: int) -> Any:
        found = lie(document, number)
        try:
            json.dumps(found)
        except (TypeError, ValueError):  # it is bytes, where JSON of Python could not say it
            return next(one for one in found["answers"] if isinstance(one, bytes))
        return found

    _, change, events = changing(lie=lies)
    if at == 1:
        with pytest.raises((LeftError, ValueError)):
            change.taken()
        return
    outcome = through(change)
    assert outcome.status == "failed"
    assert set(outcome.facts) <= {"phi4_rollback"}
    assert row.mark not in json.dumps([outcome.message, *(event.message for event in events)])
