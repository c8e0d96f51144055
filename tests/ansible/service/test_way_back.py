"""The way back: to which release, what is left alone, and what a run says of it afterwards."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ansible.host_scripts import ONE, THREE, TWO, Host, args, hostdocker, hostunit, load, release, stage
from tests.ansible.plays import ROOT, play, write_inventory, write_playbook

gatedocker = load("health", "gatedocker")
GIB = 1 << 30


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """TWO serves, ONE is the release before."""
    monkeypatch.setattr(release, "end_rehearsal", lambda: False)
    monkeypatch.setattr(hostdocker, "lost", lambda images: [])
    for module in (release, hostunit):
        monkeypatch.setattr(module, "shown", lambda unit: {"ActiveState": "active"})
        monkeypatch.setattr(module, "FOLDER", str(tmp_path / "units"))
    made = Host(tmp_path)
    for name in (ONE, TWO):
        stage(made, name, {"plan.json": json.dumps({"release": name, "port": 1})}, {})
    made.receipt.parent.mkdir()
    made.receipt.write_text(json.dumps({"release": TWO, "previous_release": ONE}))
    return made


@pytest.mark.parametrize(("to", "name", "action"), [("", ONE, "restore"), (ONE, ONE, "restore"), (TWO, TWO, "none")])
def test_the_release_to_go_back_to(host: Host, to: str, name: str, action: str) -> None:
    (host.root / "current").symlink_to(f"releases/{TWO}")
    plan = release.previous(args(host, to=to), b"")["plan"]
    assert plan == {"release": name, "port": 1, "action": action}
    assert release.committed(args(host), b"")["plan"] == {"release": TWO, "port": 1}


@pytest.mark.parametrize(("current", "journal", "active"), [
    (ONE, "commit", "active"),  # a switch that was cut
    (TWO, "switch", "active"),
    (TWO, "commit", "failed"),
])  # fmt: skip
def test_the_committed_release_is_brought_back_where_another_one_may_run(
    host: Host, monkeypatch: pytest.MonkeyPatch, current: str, journal: str, active: str
) -> None:
    stage(host, TWO, {"plan.json": json.dumps({"release": TWO}), "phi4-edge.service": "[Unit]\n"}, {})
    (host.root / "current").symlink_to(f"releases/{current}")
    (host.receipt.parent / "journal.json").write_text(json.dumps({"step": journal, "phase": "after"}))
    for module in (release, hostunit):
        monkeypatch.setattr(module, "shown", lambda unit: {"ActiveState": active})
    monkeypatch.setattr(release, "pending", lambda args, wanted: [current] if current != TWO else [])
    assert release.previous(args(host, to=TWO), b"")["plan"]["action"] == "restore"


@pytest.mark.parametrize(
    ("receipt", "to", "message"),
    [
        ({"release": TWO, "previous_release": ONE}, THREE,
         rf"found no release '{THREE}' on this host, needed one that it keeps: {ONE} \(the one before\), or {TWO}"),
        ({"release": TWO, "previous_release": ONE}, "../../etc", "needed one that it keeps"),
        ({"release": TWO}, "", rf"found no previous release on this host \(only {TWO}, which serves now\), needed one"),
        ({"release": TWO}, ONE, rf"found no previous release .*, needed {ONE} to go back to"),
        ({}, "", r"found no previous release on this host \(none\)"),
    ],
)  # fmt: skip
def test_a_release_that_is_not_kept_is_no_way_back(host: Host, receipt: Any, to: str, message: str) -> None:
    host.receipt.write_text(json.dumps(receipt))
    with pytest.raises(release.HostError, match=message):
        release.previous(args(host, to=to), b"")


def test_a_host_that_was_never_provisioned_has_nothing_to_watch(tmp_path: Path) -> None:
    with pytest.raises(release.HostError, match="found no committed release on this host"):
        release.committed(args(Host(tmp_path)), b"")


@pytest.mark.parametrize(
    ("receipt", "current", "active", "kept"),
    [
        (None, None, "inactive", False),  # a first installation that failed before its switch
        (None, TWO, "activating", False),  # and one that failed after it
        (None, TWO, "active", False),
        (None, ONE, "active", True),  # the receipt was lost, and nobody has switched
        (None, ONE, "failed", False),
        ({"release": "?"}, TWO, "active", True),  # a receipt that says nothing
    ],
)
def test_what_serves_without_a_receipt_is_left_alone(
    host: Host, monkeypatch: pytest.MonkeyPatch, receipt: Any, current: str | None, active: str, kept: bool
) -> None:
    for module in (release, hostunit):
        monkeypatch.setattr(module, "shown", lambda unit: {"ActiveState": active})
    host.receipt.unlink()
    if receipt is not None:
        host.receipt.write_text(json.dumps(receipt))
    if current:
        (host.root / "current").symlink_to(f"releases/{current}")
    found = release.rollback(args(host, failed=TWO), b"")
    assert found == {"changed": False, "to": "", "restarted": False, "kept": kept}


@pytest.mark.parametrize("restarted", [True, False])
def test_going_back_says_what_serves(host: Host, monkeypatch: pytest.MonkeyPatch, restarted: bool) -> None:
    switched: list[str] = []

    def switch(given: dict[str, Any]) -> dict[str, Any]:
        switched.append(given["release"])
        return {"changed": restarted, "restarted": restarted}

    monkeypatch.setattr(release, "switched", switch)
    found = release.rollback(args(host, failed=THREE), b"")
    assert switched == [TWO]
    assert (found["to"], found["restarted"], found["kept"]) == (TWO, restarted, False)


@pytest.mark.parametrize(
    ("to", "kept", "removed"), [(TWO, False, False), ("", True, False), ("", False, True)]
)  # fmt: skip
def test_the_facts_of_a_rollback(to: str, kept: bool, removed: bool) -> None:
    path = ROOT / "plugins" / "action" / "phi4_release.py"
    spec = importlib.util.spec_from_file_location("phi4_release_facts", path)
    assert spec is not None and spec.loader is not None
    plugin = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plugin)
    done = {"changed": True, "to": to, "restarted": bool(to), "kept": kept, "plan": {}}
    assert plugin.FACTS["rollback"](done) == {
        "phi4_rollback": {"to": to, "restarted": bool(to), "kept": kept, "removed": removed}
    }


@pytest.mark.parametrize(
    ("wanted", "found"), [('""', ""), (ONE, ONE), (f"{{here: {ONE}}}", ONE), (f"{{other: {ONE}}}", "")]
)  # fmt: skip
def test_a_release_is_named_for_all_hosts_or_by_host(tmp_path: Path, wanted: str, found: str) -> None:
    [task] = yaml.safe_load((ROOT / "roles" / "service" / "tasks" / "previous.yml").read_text())
    shown = {"ansible.builtin.debug": {"msg": f"to=<{task['phi4_edge.edge.phi4_release']['to']}>"}}
    playbook = write_playbook(tmp_path, dict(shown, vars={"service_rollback_to": yaml.safe_load(wanted)}))
    done = play(playbook, write_inventory(tmp_path, {"here": {}}))
    assert f'"msg": "to=<{found}>"' in done.output, done.output


@pytest.mark.parametrize(
    ("rehearsal", "receipt", "passes"),
    [
        (False, {"gpu": "GPU-1", "vram_need": 6 * GIB}, True),
        # All that is used belongs to the engine that serves: the rehearsal runs on the CPU.
        (True, {"gpu": "GPU-1", "vram_need": 6 * GIB}, False),
        (True, {"gpu": "GPU-2", "vram_need": 6 * GIB}, True),
        (True, {"gpu": "GPU-1", "vram_need": 2 * GIB}, True),
        (True, {}, True),
        (True, None, True),
    ],
)
def test_a_rehearsal_on_a_gpu_is_not_shown_the_old_engine_s_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rehearsal: bool, receipt: Any, passes: bool
) -> None:
    monkeypatch.setattr(gatedocker, "seen", lambda asked: {"GPU-1": 6 * GIB})
    path = tmp_path / "receipt.json"
    if receipt is not None:
        path.write_text(json.dumps(receipt))
    asked = {"rehearsal": rehearsal, "receipt": str(path), "gpu_uuid": "GPU-1", "held_by_others": 0, "weights": 4 * GIB}
    if passes:
        gatedocker.uses_gpu(asked)
        return
    with pytest.raises(gatedocker.StepError, match="fell back to the CPU: 0 bytes of GPU memory used"):
        gatedocker.uses_gpu(asked)
