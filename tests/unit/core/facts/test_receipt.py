"""Receipts, what a plan does about them, and the state of a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from phi4_edge.core.facts.receipt import MOST_DRIFT, Receipt, from_dict, status
from phi4_edge.core.facts.units import Service
from phi4_edge.core.plan.decide import Plan
from phi4_edge.core.rollout.outcome import EXIT_CODES, PRECEDENCE, Outcome, RunState, exit_code

Make = Callable[..., Any]
UP = "LoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\nNRestarts=0\nMainPID=77"


def verified(plan: Plan, drift: list[dict[str, str]] | None = None, **changed: Any) -> str:
    assert plan.model is not None
    receipt = {
        "format": "phi4-edge/receipt/1",
        "phi4_edge_version": "0.1.0",
        "host": plan.host,
        "release": plan.release,
        "previous_release": None,
        "plan_fingerprint": plan.fingerprint,
        "engine": plan.engine,
        "quantization": plan.quantization,
        "model": {"id": plan.model.id, "artifact": plan.model.artifact, "digest": plan.model.digest},
        "bind": plan.bind,
        "port": plan.port,
        "context_length": plan.context_length,
        "parallel": plan.parallel,
        "threads": plan.knobs["threads"],
        "runtime": plan.runtime.id,
        "unit": plan.unit,
        "committed_at": "2026-11-22T10:00:00Z",
    }
    return json.dumps({"present": True, "receipt": receipt | changed, "file_count": 1200, "drift": drift or []})


def installed(document: Make, plan: Make, name: str = "n150-8gb", service: str = UP, **receipt: Any) -> Any:
    return document(name, receipt=verified(plan(document(name)), **receipt), service=service)


def test_a_host_without_receipt_is_installed(document: Make, plan: Make) -> None:
    made = plan(document("n150-8gb"))
    assert made.action == "install"
    assert {"what": "engine", "before": None, "after": "onnx"} in made.changes


@pytest.mark.parametrize("kind", ["timeout", "failed", "denied", "nonsense"])
def test_a_receipt_that_nobody_could_verify_is_not_an_absent_one(document: Make, plan: Make, kind: str) -> None:
    made = document("n150-8gb", service=UP)
    made["sources"]["receipt"] = {"gap": kind, "detail": "no answer in time"}
    found = plan(made)
    assert found.action == "repair"
    assert any(kind in str(change["before"]) for change in found.changes if change["what"] == "receipt")


def test_a_verification_that_ended_early_is_not_nothing_to_do(document: Make, plan: Make) -> None:
    answer = json.loads(verified(plan(document("n150-8gb")))) | {"error": "not every file could be verified in time"}
    assert plan(document("n150-8gb", receipt=json.dumps(answer), service=UP)).action == "repair"


@pytest.mark.parametrize("standing", ["link", "file", "user"])
def test_a_host_with_something_else_in_our_place_is_not_touched(document: Make, plan: Make, standing: str) -> None:
    made = plan(document("n150-8gb", our_disk=f"/opt/phi4-edge 0 ours\n/var/lib/phi4-edge 0 {standing}"))
    assert made.fits
    assert len(made.blockers) == 1
    assert made.blockers[0].startswith("/var/lib/phi4-edge is ")


def test_a_unit_that_somebody_wrote_or_masked_is_left_alone(document: Make, plan: Make) -> None:
    loaded = UP + "\nDescription="
    foreign = plan(document("n150-8gb", service=loaded + "My own \x1b[31munit"))
    assert [blocker for blocker in foreign.blockers if "is not ours" in blocker]
    assert "\x1b" not in "".join(foreign.blockers)
    assert plan(document("n150-8gb", service=loaded + "Phi-4 on this gateway (onnx int4)")).blockers == ()
    masked = document("n150-8gb", service="LoadState=masked\nActiveState=inactive\nUnitFileState=masked")
    assert "masked" in plan(masked).blockers[0]


def test_a_true_receipt_means_nothing_to_do(document: Make, plan: Make) -> None:
    made = plan(installed(document, plan))
    assert (made.action, made.changes, made.blockers) == ("none", (), ())


def test_our_own_memory_port_and_disk_do_not_count_against_us(document: Make, plan: Make) -> None:
    before = plan(document("n150-8gb"))
    serving = document(
        "n150-8gb",
        receipt=verified(before),
        service=UP,
        meminfo="MemTotal: 7968768 kB\nMemAvailable: 900000 kB",
        listening="127.0.0.1 8080",
        disk="/opt/phi4-edge 62725623808 54504711424 1\n/var/lib/phi4-edge 62725623808 54504711424 1",
        our_disk="/opt/phi4-edge 300000000\n/var/lib/phi4-edge 2400000000",
    )
    after = plan(serving)
    assert (after.fingerprint, after.action, after.blockers) == (before.fingerprint, "none", ())
    assert after.disk.available == before.disk.available


@pytest.mark.parametrize(
    ("service", "before"),
    [
        (UP.replace("=active", "=failed"), "failed, enabled"),
        (UP.replace("enabled", "disabled"), "active, disabled"),
        (UP.replace("enabled", ""), "active, not installed"),
        ("", "unknown"),
    ],
)
def test_a_service_that_is_down_is_repaired(document: Make, plan: Make, service: str, before: str) -> None:
    made = plan(installed(document, plan, service=service))
    assert made.action == "repair"
    assert made.changes == ({"what": "phi4-edge.service", "before": before, "after": "active, enabled"},)


def test_drift_is_repaired_file_by_file(document: Make, plan: Make) -> None:
    unit = "/etc/systemd/system/phi4-edge.service"
    drift = [{"path": unit, "problem": "changed"}, {"path": "/opt/phi4-edge/current", "problem": "link"}]
    made = plan(installed(document, plan, drift=drift))
    assert made.action == "repair"
    assert [(item["what"], item["before"]) for item in made.changes] == [
        (unit, "changed"),
        ("/opt/phi4-edge/current", "link"),
    ]


def test_one_variable_changes_only_what_depends_on_it(document: Make, plan: Make) -> None:
    made = plan(installed(document, plan), port=9000)
    assert made.action == "change"
    assert made.changes[0] == {"what": "port", "before": 8080, "after": 9000}
    assert [item["what"] for item in made.changes] == ["port", "release"]
    assert made.disk.to_write == 0


def test_a_change_names_the_setting(document: Make, plan: Make) -> None:
    made = plan(installed(document, plan), context_length=2048)
    assert [(item["what"], item["before"], item["after"]) for item in made.changes][:1] == [
        ("context length", 4096, 2048)
    ]
    newer = plan(installed(document, plan, runtime="0123456789abcdef-cp313-x86_64", plan_fingerprint="0" * 64))
    assert "engine files" in [item["what"] for item in newer.changes]
    older = plan(installed(document, plan, runtime="", threads=0, plan_fingerprint="0" * 64))
    assert not {"engine files", "threads"} & {item["what"] for item in older.changes}


def test_an_unreadable_receipt_is_repaired(document: Make, plan: Make) -> None:
    for text in ("{", '{"present": true}', '{"present": true, "receipt": {"format": "x"}}', '{"error": "denied"}'):
        made = plan(document("n150-8gb", receipt=text, service=UP))
        assert made.action == "repair"
        assert any(item["what"] == "receipt" for item in made.changes)


def test_receipts_go_through_their_document(document: Make, plan: Make) -> None:
    drift = [{"path": "/x", "problem": "mode"}]
    receipt = from_dict(json.loads(verified(plan(document("n150-8gb")), drift, gpu="GPU-1", image_disk=7)))
    assert from_dict(receipt.to_dict()) == receipt
    assert (receipt.port, receipt.file_count, receipt.gpu, receipt.image_disk) == (8080, 1200, "GPU-1", 7)
    assert receipt.previous_release == ""


def test_hostile_receipts() -> None:
    assert from_dict(3).error
    assert not from_dict({"present": False}).present
    body = {"format": "phi4-edge/receipt/1", "port": True, "release": ["x"], "model": 3, "engine": "\x1b[31mx"}
    drift: list[Any] = [1, {}, {"path": 3, "problem": "odd"}, *[{"path": "p", "problem": "missing"}] * 5000]
    found = from_dict({"present": True, "receipt": body, "drift": drift, "file_count": -1})
    assert (found.port, found.release, found.engine, found.file_count) == (0, "", "[31mx", 0)
    assert len(found.drift) <= MOST_DRIFT and found.drift[0].problem == "changed"
    assert from_dict({"present": True, "receipt": body, "drift": 3}).drift == ()


def test_status_in_one_word() -> None:
    up, down = Service("loaded", "active", "running", "enabled", 0, 1), None
    whole = Receipt(present=True)
    drifted = from_dict(
        {"present": True, "receipt": {"format": "phi4-edge/receipt/1"}, "drift": [{"path": "x", "problem": "link"}]}
    )
    assert [
        status(Receipt(present=False), up),
        status(Receipt(present=True, error="x"), up),
        status(drifted, up),
        status(whole, down),
        status(whole, up),
    ] == ["absent", "unreadable", "drifted", "stopped", "serving"]


def test_the_exit_code_is_that_of_the_worst_host() -> None:
    assert exit_code([]) == 0
    assert exit_code([Outcome.DONE, Outcome.UNCHANGED]) == 0
    by_code = {code: [name for name, value in EXIT_CODES.items() if value == code] for code in PRECEDENCE}
    assert set(EXIT_CODES) == set(Outcome)
    for index, code in enumerate(PRECEDENCE):
        lesser = [name for other in PRECEDENCE[index:] for name in by_code[other]]
        assert exit_code([*lesser, Outcome.DONE]) == code


def test_a_run_ends_host_by_host() -> None:
    run = RunState.start(["a", "b", "c"])
    assert (run.untouched, run.exit_code) == (("a", "b", "c"), 0)
    later = run.ended("a", Outcome.DONE).ended("b", Outcome.FAILED).ended("c", Outcome.UNREACHABLE)
    assert (later.exit_code, later.untouched) == (4, ())
    assert later.counts == {"done": 1, "failed": 1, "unreachable": 1}
    assert run.counts == {"untouched": 3}
    with pytest.raises(KeyError):
        run.ended("d", Outcome.DONE)


IMAGE = {"key": "docker.io/ollama/ollama:0.35.0/amd64", "digest": "sha256:" + "a" * 64, "id": "sha256:" + "b" * 64}
PAGE = {**IMAGE, "id": "sha256:" + "c" * 64}


def in_containers(document: Make, named: Make, containers: Any, **more: Any) -> Plan:
    """The plan for a host whose release runs in containers; `containers` as the probe found them."""
    wishes = {"engine": "ollama", "service_manager": "compose"}
    fingerprint = named(document("n150-8gb"), **wishes).fingerprint
    body = {"format": "phi4-edge/receipt/1", "plan_fingerprint": fingerprint, "service_manager": "compose"}
    found = {"present": True, "receipt": body | {"image": IMAGE} | more, "containers": containers}
    there = {"docker": "28.5.2", "compose": "2.40.3"}
    made: Plan = named(document("n150-8gb", receipt=json.dumps(found), service=UP, **there), **wishes)
    return made


def container(service: str = "engine", image: str = IMAGE["id"], state: str = "running") -> dict[str, str]:
    return {"service": service, "image": image, "state": state}


def test_containers_that_run_as_committed_are_left_alone(document: Make, named: Make) -> None:
    assert in_containers(document, named, [container()]).action == "none"
    # Nobody could ask Docker: the unit says that it is up.
    assert in_containers(document, named, None).action == "none"
    both = [container(), container("webui", PAGE["id"])]
    assert in_containers(document, named, both, webui=PAGE).action == "none"


@pytest.mark.parametrize(
    ("containers", "more", "change"),
    [
        ([], {}, ("engine container", "not running", "running")),
        ([container(state="exited")], {}, ("engine container", "not running", "running")),
        ([container()], {"webui_image": PAGE}, ("webui container", "not running", "running")),
        ([container(image=PAGE["id"])], {}, ("engine container", "of another image", "as committed")),
    ],
)
def test_a_container_that_is_gone_or_another_one_is_put_right(
    document: Make, named: Make, containers: Any, more: Any, change: tuple[str, str, str]
) -> None:
    made = in_containers(document, named, containers, **more)
    assert made.action == "repair"
    assert dict(zip(("what", "before", "after"), change, strict=True)) in made.changes


def test_what_a_native_release_has_beside_it_in_docker_is_not_looked_at(document: Make, plan: Make) -> None:
    made = plan(document("n150-8gb"))
    found = json.loads(verified(made)) | {"containers": [container("other", state="exited")]}
    assert plan(document("n150-8gb", receipt=json.dumps(found), service=UP)).action == "none"


@pytest.mark.parametrize("garbage", [3, "x", {"a": 1}, [3, None], [{"service": 3, "image": [], "state": {}}]])
def test_containers_that_make_no_sense_raise_nothing(garbage: Any) -> None:
    found = from_dict({"present": True, "receipt": {"format": "phi4-edge/receipt/1"}, "containers": garbage})
    assert found.error == "" and status(found, None) == "stopped"


def test_what_a_release_takes_and_runs_survives_being_written() -> None:
    body = {
        "format": "phi4-edge/receipt/1", "service_manager": "compose", "memory_need": 5, "vram_need": 6,
        "image": IMAGE, "webui_image": PAGE,
    }  # fmt: skip
    found = from_dict({"present": True, "receipt": body, "containers": [container()]})
    assert (found.memory_need, found.vram_need, found.image.id, found.webui_image.id) == (5, 6, IMAGE["id"], PAGE["id"])
    assert from_dict(found.to_dict()) == found
    assert from_dict({"present": True, "receipt": body}).containers is None


def test_another_service_manager_and_image_are_named_as_changes(document: Make, plan: Make) -> None:
    there = installed(document, plan, service_manager="systemd", image=IMAGE)
    made = plan(there, service_manager="compose")
    changed = {change["what"]: (change["before"], change["after"]) for change in made.changes}
    assert changed["service manager"] == ("systemd", "compose")
    assert changed["engine files"][1] is None
    assert changed["image"][0] == IMAGE["key"] and str(changed["image"][1]).startswith("phi4-edge/onnx:0.18.0-")


def test_what_is_added_to_a_release_is_named(document: Make, plan: Make) -> None:
    there = installed(document, plan, service_manager="systemd")
    changed = {change["what"]: change["before"] for change in plan(there, webui_enabled=True).changes}
    assert changed["web page"] is None and "image" not in changed
    old = installed(document, plan)
    assert "web page" not in {change["what"] for change in plan(old, webui_enabled=True).changes}
