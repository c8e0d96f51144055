"""A change of settings alone: which steps it has, what they are given, and what becomes of their answers."""

from __future__ import annotations

from typing import Any

import pytest

from phi4_edge.core.layout import STANDARD
from phi4_edge.core.plan.changes import settings_alone
from phi4_edge.errors import HostFailedError
from phi4_edge.remote import change

TIMES = {"start_seconds": 0.0, "generation_seconds": 120.0, "stability_seconds": 5.0}


def plan(mode: str = "down", **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "engine": "onnx", "quantization": "int4", "service_manager": "systemd", "accelerator": "cpu",
        "bind": "127.0.0.1", "port": 8080, "unit": "phi4-edge.service", "release": "r-000000000000",
        "fingerprint": "0" * 64, "runtime": {"id": "e-1"}, "image": None, "webui": None, "context_length": 2048,
        "parallel": 1, "knobs": {"memory_max": 1 << 30, "threads": 2, "queue": 8, "heal": False},
        "model": {"id": "tiny", "artifact": "tiny/onnx-int4", "digest": "d" * 64, "served_name": "phi"},
        "memory": {"weights": 7}, "steps": ["artifact", "onnx", "service", "health", "receipt"],
        "switch": {"mode": mode, "port": 18080, "down_seconds": 9, "reason": ""}, "action": "change",
        "recovery": "none", "changes": [{"what": "context length", "before": 4096, "after": 2048}],
    }  # fmt: skip
    return {**found, **more}


def steps(mode: str = "down", restart: bool = False) -> list[change.Step]:
    wanted = change.Change(plan(mode), STANDARD, "gw1", TIMES, restart, forget=False)
    return wanted.steps({}, before=[wanted.inherits])


def answered(found: list[change.Step]) -> list[dict[str, Any]]:
    by: dict[Any, dict[str, Any]] = {
        change.INHERIT: {"complete": True, "changed": True, "images": {}},
        change.STAGE: {"changed": True, "changes": ["environment"], "diff": [], "reread": True},
        change.VERIFY: {"verified": True}, change.REHEARSE: {"changed": False},
        change.REST: {"changed": False, "ended": True},
        change.SWITCH: {"changed": True, "changes": ["current"], "restarted": True},
        change.GATE: {"ready_seconds": 1.0, "generation": {"tokens": 2, "seconds": 0.1}, "proof": "ab"},
        change.COMMIT: {"changed": True},
    }  # fmt: skip
    return [by[step.operation] for step in found]


def test_the_steps_are_those_of_the_roles_in_their_order() -> None:
    tail = ["switch", "gate", "commit"]
    assert [step.operation[2] for step in steps()] == ["inherit", "stage", "verify", *tail]
    beside = steps("beside")
    assert [step.operation[2] for step in beside] == [
        "inherit", "stage", "verify", "rehearse", "gate", "rest", *tail,
    ]  # fmt: skip
    assert [step.args["rehearsal"] for step in beside if step.operation == change.GATE] == [True, False]
    for found in (steps(), beside):
        commit = found[-1]
        at, key = commit.takes["proof"]
        assert (found[at].operation, found[at].args["rehearsal"], key) == (change.GATE, False, "proof")


def test_it_restarts_for_what_is_read_again_or_where_it_is_told_to() -> None:
    switch = next(step for step in steps() if step.operation == change.SWITCH)
    assert (switch.args["restart"], switch.takes) == (False, {"restart": (1, "reread")})
    forced = next(step for step in steps(restart=True) if step.operation == change.SWITCH)
    assert (forced.args["restart"], forced.takes) == (True, {})


def test_a_container_s_files_name_its_image_and_no_step_is_counted_wrongly() -> None:
    image = {"key": "ghcr.io/x/y:1/amd64", "repository": "ghcr.io/x/y", "tag": "1", "digest": "sha256:" + "a" * 64}
    knobs = {"memory_max": 1 << 30, "threads": 2, "queue": 8, "container_port": 8080, "heal": False, "shm_size": 1}
    contained = plan(service_manager="compose", image={**image, "disk": 9}, knobs=knobs)
    wanted = change.Change(contained, STANDARD, "gw1", TIMES, restart=False, forget=False)
    assert wanted.inherits.args["made_of"]["image.digest"] == image["digest"]
    found = wanted.steps({"engine": "sha256:" + "b" * 64})
    assert [step.operation[2] for step in found] == ["stage", "verify", "switch", "gate", "commit"]
    assert "sha256:" + "b" * 64 in found[0].args["files"]["compose.yml"]
    assert found[-1].args["body"]["image"]["id"] == "sha256:" + "b" * 64
    switch = found[2]
    assert (found[switch.takes["restart"][0]].operation, found[found[-1].takes["proof"][0]].operation) == (
        change.STAGE, change.GATE,
    )  # fmt: skip


def test_a_whole_series_is_a_changed_task() -> None:
    found = change.result(steps(), answered(steps()))
    assert (found["changed"], found["done"]) == (True, True)
    assert found["answer"]["changes"] == ["environment", "current"]


def test_a_release_of_something_else_is_not_done_and_not_changed() -> None:
    found = change.result(steps(), [{"complete": False, "changed": False, "images": {}}])
    assert (found["changed"], found["done"]) == (False, False)


def test_without_a_proof_nothing_is_committed_in_silence() -> None:
    given = answered(steps())
    given[4] = {**given[4], "proof": ""}
    with pytest.raises(HostFailedError, match="found no proof"):
        change.result(steps(), given)


@pytest.mark.parametrize(("mode", "failed", "expected"), [
    ("beside", 3, True), ("beside", 4, True), ("beside", 5, True), ("beside", 2, False), ("beside", 6, False),
    ("beside", 7, False), ("down", 3, False), ("down", 1, False),
])  # fmt: skip
def test_a_failed_rehearsal_is_told_from_a_failed_switch(mode: str, failed: int, expected: bool) -> None:
    found = steps(mode)
    assert change.rehearsing(found, [*answered(found)[:failed], {"error": "no"}]) is expected


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, True),
        ({"changes": [{"what": "release", "before": "a", "after": "b"}]}, True),
        ({"changes": [{"what": "model", "before": "a", "after": "b"}]}, False),
        ({"changes": [{"what": "/etc/systemd/system/phi4-edge.service", "before": "changed", "after": "x"}]}, False),
        ({"changes": [{"what": "half-done run", "before": "x", "after": "finished"}]}, False),
        ({"changes": [{"what": "NVIDIA driver", "before": None, "after": "installed"}]}, False),
        ({"action": "repair"}, False), ({"action": "install"}, False), ({"action": "restore"}, False),
        ({"service_manager": "compose"}, True), ({"webui": {"port": 3000}}, False), ({"recovery": "undo"}, False),
        ({"changes": [{"what": "image digest", "before": "a", "after": "b"}]}, False),
    ],
)  # fmt: skip
def test_only_settings_of_an_engine_as_committed_are_changed_so(more: dict[str, Any], expected: bool) -> None:
    assert settings_alone(plan(**more)) is expected
