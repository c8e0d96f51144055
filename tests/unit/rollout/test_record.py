"""Reading journals: the document of a rollout, also of one that was cut off, resumed or damaged."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from referencing import Registry, Resource

from phi4_edge.core.rollout.budget import Budget
from phi4_edge.core.rollout.waves import Size, Wave
from phi4_edge.data import SCHEMAS, schema
from phi4_edge.errors import LockedError, RecordError
from phi4_edge.rollout import record
from phi4_edge.rollout.journal import Journal
from phi4_edge.rollout.result import document
from tests.standins.rollout_journal import WAVES, WHY, begin, contained, cut, done, good, wave

RESOURCES = [(f"{each}.schema.json", Resource.from_contents(schema(each))) for each in SCHEMAS]
VALID = jsonschema.Draft202012Validator(schema("rollout"), registry=Registry().with_resources(RESOURCES))


def loaded(root: Path, name: str) -> dict[str, Any]:
    found = record.load(root, name)
    VALID.validate(found)
    return found


def by_name(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {host["host"]: host for host in found["hosts"]}


def test_a_good_rollout(tmp_path: Path) -> None:
    found = loaded(tmp_path, good(tmp_path, limit="gw*"))
    assert (found["state"], found["stopped"], found["exit_code"], found["notes"]) == ("done", None, 0, [])
    assert (found["operation"], found["inventory"], found["limit"]) == ("provision", ["hosts.ini"], "gw*")
    assert found["budget"] == {"size": "0", "bad": 0, "exceeded": False}
    assert [(wave["name"], wave["hosts"], wave["bake_seconds"]) for wave in found["waves"]] == [
        ("canary", ["gw1"], 60.0),
        ("wave 1", ["gw2", "gw3"], 60.0),
        ("wave 2", ["gw4"], 0),
    ]
    assert found["started"] <= found["waves"][0]["began"] <= found["waves"][0]["ended"] <= found["ended"]
    first = by_name(found)["gw1"]
    assert (first["outcome"], first["wave"], first["release"], first["changed"]) == ("done", 0, "r-2", 5)
    # Watching is no step: the role that watches is not there a second time.
    assert [step["role"] for step in first["steps"]] == ["artifact", "onnx", "service", "health", "receipt"]
    assert first["began"] <= first["ended"] <= found["waves"][0]["ended"]
    assert all(step["seconds"] is not None for host in found["hosts"] for step in host["steps"])


def test_a_contained_release(tmp_path: Path) -> None:
    found = loaded(tmp_path, contained(tmp_path))
    assert (found["state"], found["stopped"], found["exit_code"]) == ("stopped", "budget", 4)
    assert found["budget"] == {"size": "0", "bad": 1, "exceeded": True}
    hosts = by_name(found)
    assert {name: host["outcome"] for name, host in hosts.items()} == {
        "gw1": "done",
        "gw2": "rolled_back",
        "gw3": "reverted",
        "gw4": "untouched",
    }
    assert hosts["gw2"]["reason"] == WHY
    assert (hosts["gw4"]["wave"], hosts["gw4"]["began"], hosts["gw4"]["steps"]) == (2, None, [])
    assert [step["role"] for step in hosts["gw3"]["steps"]][-2:] == ["service", "health"]
    assert found["waves"][2]["began"] is None
    assert found["notes"] == ["gw3: brought back to the release before: 1 of 3 hosts are bad, and the budget is 0"]


def test_while_it_runs_and_when_it_died(tmp_path: Path) -> None:
    journal = cut(tmp_path)
    running = loaded(tmp_path, journal.id)
    assert (running["state"], running["exit_code"], running["ended"]) == ("running", None, None)
    assert [host["outcome"] for host in running["hosts"]] == ["done", None, None, None]
    journal.close()
    dead = loaded(tmp_path, journal.id)
    assert (dead["state"], dead["exit_code"], dead["ended"]) == ("dead", None, None)
    hosts = by_name(dead)
    assert [hosts[name]["outcome"] for name in ("gw1", "gw2", "gw3", "gw4")] == [
        "done",
        "interrupted",
        "untouched",
        "untouched",
    ]
    assert "the next run finishes or undoes" in hosts["gw2"]["reason"]
    assert hosts["gw2"]["next_step"] == "run the same command again"
    assert [step["role"] for step in hosts["gw2"]["steps"]] == ["artifact", "onnx", "service"]


def test_a_resumed_rollout_is_one_rollout(tmp_path: Path) -> None:
    journal = cut(tmp_path)
    journal.close()
    again = Journal.reopen(tmp_path, journal.id)
    rest = (Wave("canary", 0, ("gw2",)), Wave("wave 1", 1, ("gw3", "gw4")))
    again.waves(rest, Budget(Size(1)))
    half = loaded(tmp_path, journal.id)
    assert (half["state"], by_name(half)["gw2"]["outcome"], by_name(half)["gw1"]["outcome"]) == (
        "running",
        None,
        "done",
    )
    for each in rest:
        again.event("wave", name=each.name, number=each.number, hosts=list(each.hosts))
        for name in each.hosts:
            again.event("host", result=done(name).to_dict(), wave=each.number)
        again.event("wave_end", name=each.name, number=each.number)
    results = [done("gw1"), done("gw2", wave=0), done("gw3", wave=1), done("gw4", wave=1)]
    again.result(document(results, rollout=journal.id))
    found = loaded(tmp_path, journal.id)
    assert (found["state"], found["budget"]["size"]) == ("done", "1")
    assert [(wave["name"], wave["number"], wave["hosts"]) for wave in found["waves"]] == [
        ("canary", 0, ["gw1"]),
        ("wave 1", 1, ["gw2", "gw3"]),
        ("canary (resumed)", 2, ["gw2"]),
        ("wave 1 (resumed)", 3, ["gw3", "gw4"]),
    ]
    assert {name: host["wave"] for name, host in by_name(found).items()} == {"gw1": 0, "gw2": 2, "gw3": 3, "gw4": 3}
    assert "resumed at" in found["notes"][0]


def test_plans_belong_to_their_hosts_and_are_as_they_were_written(tmp_path: Path) -> None:
    journal = begin(tmp_path)
    journal.plans([{"host": "gw2", "engine": "onnx"}])
    assert by_name(record.load(tmp_path, journal.id))["gw2"]["plan"] == {"host": "gw2", "engine": "onnx"}
    path = journal.folder / "plans.json"
    path.write_text(path.read_text().replace("onnx", "vllm"))
    assert "plans.json is not as it was written" in record.load(tmp_path, journal.id)["notes"][0]


def test_what_is_meant(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="found no rollout on record"):
        record.find(tmp_path, "last")
    for name in ("20260101T000000Z-aaaaaa", "20260102T000000Z-abcdef", "20260102T000000Z-abffff"):
        (tmp_path / "rollouts" / name).mkdir(parents=True)
    (tmp_path / "rollouts" / ".20260103T000000Z-dddddd").mkdir()
    assert record.find(tmp_path, "last") == "20260102T000000Z-abffff"
    assert record.find(tmp_path, "20260101") == "20260101T000000Z-aaaaaa"
    assert record.find(tmp_path, "20260102T000000Z-abcdef") == "20260102T000000Z-abcdef"
    for word in ("20260102", "20260102T000000Z-ab", "2026"):
        with pytest.raises(RecordError, match=r"found \d rollouts that begin with 2026"):
            record.find(tmp_path, word)
    for word in ("x", "", "../..", "20260103"):
        with pytest.raises(RecordError, match="see phi4-edge rollout list"):
            record.find(tmp_path, word)


def test_which_one_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = iter(f"20260101T00000{number}Z-aaaaaa" for number in range(9))

    def renamed(name: str) -> str:
        folder, to = tmp_path / "rollouts" / name, next(names)
        header = json.loads((folder / "header.json").read_text())
        (folder / "header.json").write_text(json.dumps({**header, "id": to}))
        return folder.rename(folder.with_name(to)).name

    assert record.newest_unfinished(tmp_path, ["hosts.ini"]) is None
    first = renamed(contained(tmp_path))
    assert record.newest_unfinished(tmp_path, ["hosts.ini"]) == first
    assert record.newest_unfinished(tmp_path, [str(tmp_path / "hosts.ini")]) == first
    assert record.newest_unfinished(tmp_path, ["other.ini"]) is None
    assert record.newest_unfinished(tmp_path, ["hosts.ini"], "rollback") is None
    # A part of the fleet that went well since does not make the whole finished; the whole does.
    renamed(good(tmp_path, limit="gw1"))
    assert record.newest_unfinished(tmp_path, ["hosts.ini"]) == first
    journal = cut(tmp_path)
    journal.close()
    second = renamed(journal.id)
    assert record.newest_unfinished(tmp_path, ["hosts.ini"]) == second
    (tmp_path / "rollouts" / second / "header.json").write_text("{")
    assert record.newest_unfinished(tmp_path, ["hosts.ini"]) == first
    renamed(good(tmp_path))
    assert record.newest_unfinished(tmp_path, ["hosts.ini"]) is None
    running = begin(tmp_path)
    with pytest.raises(LockedError, match=f"found rollout {running.id} of this inventory still running"):
        record.newest_unfinished(tmp_path, ["hosts.ini"])


def test_a_summary_of_a_damaged_record_says_so(tmp_path: Path) -> None:
    name = good(tmp_path)
    assert record.summary(tmp_path, name)["counts"] == {"done": 4}
    (tmp_path / "rollouts" / name / "result.json").write_text("[]")
    found = record.summary(tmp_path, name)
    assert found["state"] == "damaged"
    assert "result.json: a JSON list, needed an object" in found["problem"]
    (tmp_path / "rollouts" / name / "header.json").unlink()
    assert "header.json: it is missing" in record.summary(tmp_path, name)["problem"]


@pytest.mark.parametrize("seed", range(40))
def test_a_record_cut_off_anywhere_can_be_read(tmp_path: Path, seed: int) -> None:
    """As far as its events go, at any byte; the last line may be half a line."""
    name = contained(tmp_path)
    folder = tmp_path / "rollouts" / name
    (folder / "result.json").unlink()
    whole = (folder / "events.jsonl").read_bytes()
    (folder / "events.jsonl").write_bytes(whole[: random.Random(seed).randrange(len(whole))])
    found = loaded(tmp_path, name)
    assert found["state"] == "dead"
    assert {host["outcome"] for host in found["hosts"]} <= {
        "done",
        "interrupted",
        "untouched",
        "rolled_back",
        "reverted",
    }
    assert found["notes"] in ([], found["notes"][:1])


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sound")
    journal = begin(root)
    journal.plans([{"host": "gw1"}])
    wave(journal, 0, {"gw1": done("gw1")})
    journal.result(document([done("gw1", wave=0)], rollout=journal.id))
    return journal.folder


FILES = st.sampled_from(["header.json", "plans.json", "events.jsonl", "result.json"])
JUNK = st.sampled_from(
    [b"", b"{}", b"[]", b"null", b'"', b"\xff\xfe", b"\n", b"7", b"true", b'{"event": "wave", "at": ""}']
)


@settings(max_examples=300)
@given(FILES, st.integers(0, 5000), st.integers(0, 60), JUNK)
def test_a_damaged_record_is_an_error_that_says_what_to_do(
    sound: Path, name: str, start: int, length: int, junk: bytes
) -> None:
    root = sound.parent.parent
    fresh = sound.with_name("20270101T000000Z-ffffff")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(sound, fresh)
    text = (fresh / name).read_bytes()
    start %= len(text)
    (fresh / name).write_bytes(text[:start] + junk + text[start + length :])
    try:
        found = record.load(root, fresh.name)
    except RecordError as error:
        assert "found a record of rollout" in str(error) and "needed" in str(error)
    else:
        json.dumps(found)
        assert found["format"] == "phi4-edge/rollout/1"


WORD = st.sampled_from(["gw1", 0, 1, -1, 99, None, True, [], {}, "2026-01-01T00:00:00Z", "x", [{"host": "gw1"}]])
NAMES = st.sampled_from(["waves", "wave", "wave_end", "host", "step", "bake", "revert", "budget", "resumed", "trouble"])


@settings(max_examples=300)
@given(
    NAMES,
    st.dictionaries(
        st.sampled_from(["host", "hosts", "number", "waves", "result", "role", "at", "until", "why", "message"]), WORD
    ),
)
def test_events_of_a_wrong_shape_are_no_traceback(sound: Path, name: str, fields: dict[str, Any]) -> None:
    fresh = sound.with_name("20270101T000000Z-eeeeee")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(sound, fresh)
    with (fresh / "events.jsonl").open("a") as stream:
        stream.write(json.dumps({"event": name, "at": "2026-01-01T00:00:00Z", **fields}) + "\n")
    try:
        assert record.load(sound.parent.parent, fresh.name)["hosts"]
    except RecordError as error:
        assert "found a record of rollout" in str(error)


def test_the_waves_of_the_stand_in_are_waves() -> None:
    assert [wave.number for wave in WAVES] == [0, 1, 2]
