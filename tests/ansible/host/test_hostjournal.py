"""The journal of a host: written before and after each step, open where a run was cut, and the hook of the tests."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.core.facts.journal import PHASES, ROLLBACK, STEPS, Journal
from tests.ansible.host_scripts import hostlib, hostrun
from tests.ansible.plays import ROOT

journal = sys.modules["hostjournal"]
HELD = {"id": "run-1", "operation": "provision"}
ONE, TWO = "r-111111111111", "r-222222222222"


@pytest.fixture(autouse=True)
def as_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Journals are root's. The files belong to whoever runs the test, which `own_directory` holds us to."""
    monkeypatch.setattr(journal, "unprivileged", lambda: False)
    monkeypatch.setattr(journal, "HOOK", str(tmp_path / "hook"))


def did(folder: Path, do: str, fails: str = "", held: dict[str, str] | None = None, **args: Any) -> None:
    """One operation of a script that runs under the lock."""
    with journal.recorded({"do": do, "lock": {**(held or HELD), "folder": str(folder)}, **args}):
        if fails:
            raise hostlib.HostError(fails)


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "journal.json").read_text())
    return found


def head(folder: Path) -> Journal:
    return Journal.from_dict({"present": True, **read(folder)})


def test_every_step_is_there_before_and_after_it(tmp_path: Path) -> None:
    for do in ("finish", "build"):
        did(tmp_path, do)
    did(tmp_path, "stage", release=ONE)
    assert head(tmp_path) == Journal(True, "run-1", "provision", ONE, "stage", "after", read(tmp_path)["at"])
    with journal.recorded({"do": "switch", "release": ONE, "lock": {**HELD, "folder": str(tmp_path)}}):
        assert (head(tmp_path).step, head(tmp_path).phase, head(tmp_path).release) == ("switch", "before", ONE)
        assert head(tmp_path).switched
    did(tmp_path, "gate", unit="phi4-edge.service")
    assert (head(tmp_path).step, head(tmp_path).release) == ("probe", ONE)
    assert head(tmp_path).switched
    did(tmp_path, "commit", body={"release": ONE})
    assert not head(tmp_path).open
    records = [(record["do"], record["phase"]) for record in read(tmp_path)["records"]]
    assert records == [
        (do, phase) for do in ("finish", "build", "stage", "switch", "gate", "commit") for phase in ("before", "after")
    ]


def test_a_failure_is_there_with_its_words(tmp_path: Path) -> None:
    with pytest.raises(hostlib.HostError):
        did(tmp_path, "switch", fails="systemd said no", release=TWO)
    assert (head(tmp_path).step, head(tmp_path).phase) == ("switch", "failed")
    assert head(tmp_path).switched
    assert read(tmp_path)["records"][-1]["error"] == "systemd said no"


def test_the_way_back_closes_it_and_its_gate_opens_nothing(tmp_path: Path) -> None:
    did(tmp_path, "switch", release=TWO)
    did(tmp_path, "rollback")
    assert (head(tmp_path).step, head(tmp_path).phase, head(tmp_path).release) == ("rollback", "after", TWO)
    did(tmp_path, "gate", release=ONE)
    assert not head(tmp_path).open
    assert [record["do"] for record in read(tmp_path)["records"]][-2:] == ["gate", "gate"]
    did(tmp_path, "stage", release=TWO)
    assert head(tmp_path).open


def test_the_gate_of_a_rehearsal_is_before_the_switch(tmp_path: Path) -> None:
    did(tmp_path, "gate", unit="phi4-edge-rehearsal.service", release=ONE)
    assert (head(tmp_path).step, head(tmp_path).switched) == ("stage", False)


def test_a_run_that_ends_before_the_switch_leaves_nothing_open(tmp_path: Path) -> None:
    did(tmp_path, "stage", release=ONE)
    assert head(tmp_path).open
    journal.close(str(tmp_path))
    assert not head(tmp_path).open
    did(tmp_path, "switch", release=ONE)
    before = read(tmp_path)
    journal.close(str(tmp_path))
    assert read(tmp_path) == before
    journal.close(str(tmp_path / "nothing"))


def test_it_holds_the_last_forty_records_and_survives_a_damaged_one(tmp_path: Path) -> None:
    (tmp_path / "journal.json").write_text("{")
    for number in range(30):
        did(tmp_path, "stage", release=f"r-{number:012d}")
    assert len(read(tmp_path)["records"]) == 40
    assert read(tmp_path)["records"][-1]["release"] == "r-000000000029"


@pytest.mark.parametrize(
    "args", [{"do": "switch", "check": True}, {"do": "previous"}, {"do": "remove"}, {"do": "erase"}, {"do": "sweep"}]
)
def test_looking_and_cleaning_up_is_not_recorded(tmp_path: Path, args: dict[str, Any]) -> None:
    did(tmp_path, **args)
    assert not list(tmp_path.iterdir())


def test_without_a_lock_there_is_no_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with journal.recorded({"do": "switch", "release": ONE}):
        pass
    monkeypatch.setattr(journal, "unprivileged", lambda: True)
    did(tmp_path, "switch", release=ONE)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_keeps_nobody_from_going_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: str, document: object) -> None:
        raise OSError(28, "No space left on device", path)

    monkeypatch.setattr(journal, "write_json", full)
    with pytest.raises(OSError, match="No space"):
        did(tmp_path, "switch", release=ONE)
    did(tmp_path, "rollback")


def test_a_gate_that_outlives_its_run_does_not_write_over_the_next_one_s_steps(tmp_path: Path) -> None:
    with journal.recorded({"do": "gate", "release": ONE, "lock": {**HELD, "folder": str(tmp_path)}}):
        (tmp_path / "lock").write_text(json.dumps({"id": "run-2"}))
        did(tmp_path, "commit", held={**HELD, "id": "run-2"}, body={"release": TWO})
    assert (head(tmp_path).id, head(tmp_path).step, head(tmp_path).phase) == ("run-2", "commit", "after")


def test_a_full_disk_keeps_nobody_from_releasing_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: str, document: object) -> None:
        raise OSError(28, "No space left on device", path)

    did(tmp_path, "build")
    monkeypatch.setattr(journal, "write_json", full)
    journal.close(str(tmp_path))
    assert not read(tmp_path)["closed"]


def test_every_step_and_phase_is_one_that_core_knows() -> None:
    assert set(journal.STEPS.values()) <= {*STEPS, ROLLBACK}
    source = (ROOT / "cli" / "phi4_edge" / "remote" / "host" / "hostjournal.py").read_text()
    assert all(f'"{phase}"' in source for phase in PHASES)


def test_every_operation_that_is_a_step_is_one_of_a_host_script() -> None:
    sources = "\n".join(path.read_text() for path in ROOT.glob("roles/*/files/*.py"))
    for name in journal.STEPS:
        assert f"\ndef {name}(" in sources, name


@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_hook_has_a_step_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: str) -> None:
    (tmp_path / "hook").write_text(json.dumps({"at": f"switch:{phase}", "do": "fail"}))
    did(tmp_path / "state", "verify", release=ONE)
    with pytest.raises(hostlib.HostError, match=rf"hook made switch:{phase} fail"):
        did(tmp_path / "state", "switch", release=ONE)
    assert head(tmp_path / "state").phase == "failed"


def test_a_hook_has_a_step_wait_until_it_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = tmp_path / "hook"
    hook.write_text(json.dumps({"at": "commit:before", "do": "wait"}))
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            hook.unlink()

    monkeypatch.setattr(journal.time, "sleep", sleep)
    did(tmp_path / "state", "commit", body={"release": ONE})
    assert len(slept) == 3
    assert (tmp_path / "hook.reached").read_text() == "commit:before\n"


@pytest.mark.parametrize("mode", [0o666, 0o620])
def test_a_hook_that_others_may_write_is_none(tmp_path: Path, mode: int) -> None:
    hook = tmp_path / "hook"
    hook.write_text(json.dumps({"at": "switch:before", "do": "fail"}))
    hook.chmod(mode)
    assert journal.hooked() == {}
    hook.unlink()
    hook.symlink_to(tmp_path / "elsewhere")
    assert journal.hooked() == {}


def test_serve_writes_it_and_refuses_a_run_that_lost_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostrun, "LOCK", str(tmp_path / "scripts"))
    monkeypatch.setattr(hostrun.hostlock, "GUARD", str(tmp_path / "guard"))
    monkeypatch.setattr(hostrun, "unprivileged", lambda: False)
    state = tmp_path / "state"
    answers: list[Any] = []
    held = {**HELD, "folder": str(state)}

    class Payload:
        def read(self) -> bytes:
            return b""

    scope = {"PAYLOAD": Payload(), "EMIT": answers.append}
    calls: list[str] = []

    def switch(args: dict[str, Any], _payload: bytes) -> dict[str, Any]:
        calls.append(args["release"])
        return {"changed": True}

    hostrun.serve({**scope, "ARGS": {"do": "switch", "release": ONE, "lock": held}}, {"switch": switch})
    assert (head(state).step, head(state).phase) == ("switch", "after")
    (state / "lock").write_text(json.dumps({"id": "run-2", "user": "eve", "host": "desk"}))
    hostrun.serve({**scope, "ARGS": {"do": "switch", "release": TWO, "lock": held}}, {"switch": switch})
    assert calls == [ONE]
    assert answers[0] == {"changed": True}
    assert "another run took over" in answers[1]["error"]
    assert head(state).release == ONE
