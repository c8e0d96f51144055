"""The controller's journal: what is on disk, when, and that a full disk does not end a rollout."""

from __future__ import annotations

import itertools
import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.errors import LockedError, RecordError
from phi4_edge.rollout import journal as rollout_journal
from phi4_edge.rollout.journal import Journal, state_root
from phi4_edge.runner.run import HostEvent
from tests.standins.rollout_journal import begin, done, good, host, wave


def lines(journal: Journal) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (journal.folder / "events.jsonl").read_text().splitlines()]


def test_where_it_is() -> None:
    home = Path.home()
    assert state_root({}) == home / ".local/state/phi4-edge"
    assert state_root({"XDG_STATE_HOME": "/x"}) == Path("/x/phi4-edge")
    assert state_root({"XDG_STATE_HOME": "/x", "PHI4_EDGE_STATE": "~/y"}) == home / "y"
    assert state_root({"PHI4_EDGE_STATE": ""}) == state_root({})


def test_a_user_without_a_home_is_told_what_to_name() -> None:
    with pytest.raises(RecordError, match="needed a place for the record of rollouts: name a folder in PHI4_EDGE_"):
        state_root({"PHI4_EDGE_STATE": "~nobody-of-this-name/x"})


def test_a_rollout_has_a_private_folder_of_its_own(tmp_path: Path) -> None:
    journal = begin(tmp_path, inventory=["hosts.ini", "a,b,"])
    journal.plans([{"host": "gw1", "engine": "onnx"}])
    assert re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{6}", journal.id)
    assert journal.folder == tmp_path / "rollouts" / journal.id
    assert {stat.S_IMODE(path.stat().st_mode) for path in (journal.folder, journal.folder.parent)} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in journal.folder.iterdir()} == {0o600}
    header = json.loads((journal.folder / "header.json").read_text())
    assert (header["id"], header["operation"], header["pid"]) == (journal.id, "provision", os.getpid())
    assert header["inventory_paths"] == [str(Path("hosts.ini").absolute()), "a,b,"]
    kept = json.loads((journal.folder / "plans.json").read_text())
    assert kept["sha256"] == rollout_journal.digest([{"engine": "onnx", "host": "gw1"}])
    assert len({begin(tmp_path).id for _ in range(5)}) == 5
    assert not [path for path in journal.folder.parent.iterdir() if path.name.startswith(".")]


def test_what_hosts_tell_is_kept_in_brief(tmp_path: Path) -> None:
    journal = begin(tmp_path)
    host(journal, "gw1", ("artifact", "service"), failing="found nothing, needed something")
    journal.host_event(HostEvent("gw1", "ok", "", "without a role"))
    told = [{key: value for key, value in line.items() if key != "at"} for line in lines(journal)]
    assert told[1:] == [
        {"event": "step", "host": "gw1", "role": "artifact", "changed": 0},
        {"event": "step", "host": "gw1", "role": "service", "changed": 1},
        {"event": "trouble", "host": "gw1", "kind": "failed", "role": "service", "task": "it breaks"}
        | {"message": "found nothing, needed something"},
    ]
    assert "hunter2" not in (journal.folder / "events.jsonl").read_text()
    assert all(line["at"].endswith("Z") for line in lines(journal))


def test_a_line_is_a_line_whatever_a_host_says(tmp_path: Path) -> None:
    journal = begin(tmp_path)
    journal.event("note", text='\n\r\x1b[2J\u2028\x00"}')
    assert (journal.folder / "events.jsonl").read_bytes().count(b"\n") == 2
    assert lines(journal)[-1]["text"] == '\n\r\x1b[2J\u2028\x00"}'
    assert b"\x1b" not in (journal.folder / "events.jsonl").read_bytes()


def test_it_goes_on_after_a_line_that_was_cut_off(tmp_path: Path) -> None:
    journal = begin(tmp_path)
    journal.close()
    with (journal.folder / "events.jsonl").open("ab") as stream:
        stream.write(b'{"event": "wa')
    again = Journal.reopen(tmp_path, journal.id)
    *_, half, last = (journal.folder / "events.jsonl").read_text().splitlines()
    assert half == '{"event": "wa'
    assert json.loads(last)["event"] == "resumed"
    again.event("note", text="goes on")
    assert json.loads((journal.folder / "events.jsonl").read_text().splitlines()[-1])["text"] == "goes on"


def test_the_result_of_an_earlier_part_is_kept_aside(tmp_path: Path) -> None:
    name = good(tmp_path)
    for number in (1, 2):
        journal = Journal.reopen(tmp_path, name)
        assert not (journal.folder / "result.json").exists()
        assert (journal.folder / f"result-{number}.json").exists()
        journal.result({"exit_code": 0, "hosts": []})


def test_a_rollout_that_is_driven_is_nobody_elses(tmp_path: Path) -> None:
    journal = begin(tmp_path)
    with pytest.raises(LockedError, match=f"found rollout {journal.id} still running"):
        Journal.reopen(tmp_path, journal.id)
    journal.close()
    Journal.reopen(tmp_path, journal.id)


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from phi4_edge.rollout.journal import Journal;"
        "journal = Journal.begin(Path(sys.argv[1]), {'operation': 'provision', 'inventory': ['a,']});"
        "print(journal.id, flush=True); sys.stdin.readline(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        alive = tmp_path / "rollouts" / process.stdout.readline().strip() / "alive"
        assert rollout_journal.held(alive)
        process.stdin.write("\n")
        process.stdin.close()
        process.wait(20)
    assert not rollout_journal.held(alive)
    assert not rollout_journal.held(tmp_path / "nothing")


def test_no_rollout_begins_where_none_can_be_recorded(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(RecordError, match=r"found no way to write the record .* PHI4_EDGE_STATE"):
        begin(tmp_path / "state")
    with pytest.raises(RecordError, match="cannot be continued"):
        Journal.reopen(tmp_path, "20260101T000000Z-aaaaaa")


def full(*args: object) -> int:
    raise OSError(28, "No space left on device")


def test_a_full_disk_is_told_once_and_ends_no_rollout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []
    journal = Journal.begin(tmp_path, {"operation": "provision", "inventory": []}, heard.append)
    journal.event("note", text="before")
    with monkeypatch.context() as patched:
        patched.setattr(rollout_journal.os, "write", full)
        journal.plans([])
        wave(journal, 0, {"gw1": done("gw1")})
    assert len(heard) == 1
    assert "No space left on device" in heard[0] and str(journal.folder) in heard[0]
    assert journal.problem
    journal.result({"exit_code": 0, "hosts": []})
    assert json.loads((journal.folder / "result.json").read_text())["exit_code"] == 0
    journal.event("note", text="too late")  # closed: nothing to write to, and nothing breaks
    assert [line["event"] for line in lines(journal)] == ["note", "result"]


@pytest.mark.parametrize("name", ["host", "wave", "stop", "result", "note", "budget"])
def test_what_a_later_run_relies_on_is_durable(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = begin(tmp_path)
    synced: list[int] = []
    monkeypatch.setattr(rollout_journal.os, "fsync", synced.append)
    journal.event(name)
    assert len(synced) == (name not in ("note", "budget"))


def test_a_file_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever call the power goes out at, a reader finds the old document or the new one."""
    path = tmp_path / "x.json"
    for point in itertools.count(1):
        rollout_journal.write(path, {"is": "old"})
        calls = itertools.count(1)

        def cutting(real: Any, calls: Any = calls, point: int = point) -> Any:
            def call(*args: Any, **kwargs: Any) -> Any:
                if next(calls) == point:
                    raise KeyboardInterrupt
                return real(*args, **kwargs)

            return call

        with monkeypatch.context() as patched:
            for name in ("open", "write", "fsync"):
                patched.setattr(rollout_journal.os, name, cutting(getattr(os, name)))
            patched.setattr(Path, "replace", cutting(Path.replace))
            try:
                rollout_journal.write(path, {"is": "new"})
            except KeyboardInterrupt:
                assert json.loads(path.read_text())["is"] in ("old", "new")
                continue
        break
    assert point > 5
    assert json.loads(path.read_text())["is"] == "new"


def test_an_incomplete_record_is_told_after_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from phi4_edge.operations.rollout import Rolling

    rolling = Rolling(fleet=Any, waving=Any, operation="provision")  # type: ignore[arg-type]
    rolling.journal = begin(tmp_path)
    told: list[str] = []
    with monkeypatch.context() as patched:
        patched.setattr(rollout_journal.os, "write", full)
        result = rolling.close([done("gw1")], told.append)
    assert result["exit_code"] == 0
    assert "the record of this rollout is incomplete: found No space left on device" in told[0]
