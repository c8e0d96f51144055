"""`phi4-edge rollout list` and `show`: what somebody on call reads at 80 columns, at 200, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
import yaml
from click.testing import Result
from referencing import Registry, Resource

from phi4_edge.data import SCHEMAS, schema
from phi4_edge.report.text import cells
from phi4_edge.rollout.journal import Journal
from tests.standins.rollout_journal import begin, contained, cut, done, good, wave

Invoke = Callable[..., Result]
RESOURCES = [(f"{each}.schema.json", Resource.from_contents(schema(each))) for each in SCHEMAS]


def validate(name: str, document: object) -> None:
    jsonschema.Draft202012Validator(schema(name), registry=Registry().with_resources(RESOURCES)).validate(document)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PHI4_EDGE_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


def test_nothing_on_record(invoke: Invoke) -> None:
    found = invoke("rollout", "list")
    assert (found.exit_code, found.output) == (0, "no rollout on record: phi4-edge provision makes them\n")
    assert json.loads(invoke("rollout", "list", "-o", "json").output)["rollouts"] == []
    missing = invoke("rollout", "show")
    assert missing.exit_code == 1
    assert "found no rollout on record" in missing.stderr


@pytest.mark.parametrize("width", [80, 200])
def test_the_list_tells_what_was_good_and_what_was_not(
    invoke: Invoke, state: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    names = [good(state), contained(state), cut(state).id]
    lines = invoke("rollout", "list").output.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["ROLLOUT", *reversed(names)]
    assert max(map(cells, lines)) <= width
    assert lines[1].split()[1:5] == ["running", "provision", "1/4", "0"]
    assert lines[2].split()[1:6] == ["over", "budget", "provision", "1/4", "1"]
    assert lines[3].split()[1:5] == ["done", "provision", "4/4", "0"]
    assert ("LIMIT" in lines[0]) is (width == 200)


def test_a_list_is_as_long_as_asked_and_names_damaged_records(invoke: Invoke, state: Path) -> None:
    names = [good(state) for _ in range(4)]
    (state / "rollouts" / names[3] / "header.json").write_text("{")
    shown = invoke("rollout", "list", "-n", "2")
    assert names[2] in shown.output and names[1] not in shown.output
    assert "and 2 older rollouts" in shown.output
    assert f"{names[3]}: found a record" in shown.output
    document = json.loads(invoke("rollout", "list", "--number", "0", "-o", "json").output)
    validate("rollouts", document)
    assert [each["state"] for each in document["rollouts"]] == ["damaged", "done", "done", "done"]


@pytest.mark.parametrize("width", [80, 200])
def test_one_that_was_contained(invoke: Invoke, state: Path, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    name = contained(state)
    found = invoke("rollout", "show", "last")
    lines = found.output.splitlines()
    assert found.exit_code == 0
    assert lines[0].startswith(f"{name}: provision hosts.ini, by ")
    assert lines[1].endswith("exit 4; 1 bad, 0 allowed")
    table = {line.split()[0]: line for line in lines if line.startswith("gw") and ":" not in line.split()[0]}
    assert table["gw2"].split()[:6] == ["gw2", "wave", "1", "rolled", "back", "r-1"]
    assert "taken back" in table["gw3"] and "not begun" in table["gw4"]
    assert "    | no token after 30 s" in lines
    assert any(line.startswith("Stopped: 1 bad of 4 hosts, 0 allowed") for line in lines)
    assert "      phi4-edge provision hosts.ini" in lines  # to be copied, on a line of its own
    assert max(map(cells, lines)) <= width
    assert ("WHY" in found.output) is (width == 200)


def test_many_hosts_that_were_not_begun_are_one_line(invoke: Invoke, state: Path) -> None:
    from phi4_edge.core.rollout.budget import Budget
    from phi4_edge.core.rollout.waves import Size, Wave

    journal = begin(state)
    many = tuple(f"gw{number}" for number in range(2, 200))
    journal.waves((Wave("canary", 0, ("gw1",)), Wave("wave 1", 1, many)), Budget(Size(0)))
    wave(journal, 0, {"gw1": done("gw1")})
    journal.close()
    lines = invoke("rollout", "show").output.splitlines()
    assert len(lines) < 30
    assert any(line.split()[:4] == ["(198", "hosts)", "wave", "1"] for line in lines)
    assert "      phi4-edge provision hosts.ini --resume" in lines


def test_documents_for_programs(invoke: Invoke, state: Path) -> None:
    name = contained(state)
    document = json.loads(invoke("rollout", "show", name[:-2], "-o", "json").output)
    validate("rollout", document)
    assert document["id"] == name
    assert yaml.safe_load(invoke("rollout", "show", "-o", "yaml").output) == document


def test_events_one_by_one(invoke: Invoke, state: Path) -> None:
    contained(state)
    told = [json.loads(line) for line in invoke("rollout", "show", "--events", "-o", "json").output.splitlines()]
    assert [each["event"] for each in told][:2] == ["waves", "wave"]
    assert told[-1]["event"] == "result"
    lines = invoke("rollout", "show", "--events").output.splitlines()
    assert len(lines) == len(told)
    assert any("trouble" in line and "gw2" in line and "found no answer" in line for line in lines)
    assert yaml.safe_load(invoke("rollout", "show", "--events", "-o", "yaml").output) == told


def test_what_hosts_say_does_nothing_to_a_terminal(invoke: Invoke, state: Path) -> None:
    journal = begin(state, limit="\x1b[2Jgw*")
    evil = "\x1b]0;owned\x07\x1b[31mred\u202e\r\nfound \x9b2J[bold]"
    wave(journal, 0, {"gw1": done("gw1", reason=evil, release="\x1b[5mr-1")}, gw1=evil)
    journal.event("note", text=evil)
    journal.close()
    for arguments in (
        ["list"],
        ["show"],
        ["show", "--events"],
        ["show", "-o", "json"],
        ["show", "--events", "-o", "yaml"],
    ):
        output = invoke("rollout", *arguments).output
        assert not {"\x1b", "\x9b", "\x07", "\u202e", "\r"} & set(output), arguments


def test_a_record_that_cannot_be_read_is_no_traceback(invoke: Invoke, state: Path) -> None:
    name = good(state)
    (state / "rollouts" / name / "waves.json").unlink()
    assert invoke("rollout", "show").exit_code == 0  # nothing is read from there that the events do not tell
    (state / "rollouts" / name / "plans.json").write_text("nonsense")
    found = invoke("rollout", "show", name)
    assert found.exit_code == 1
    assert "plans.json" in found.stderr and "Traceback" not in found.stderr
    assert invoke("rollout", "show", "nothing").exit_code == 1


def test_a_resumed_rollout_shows_both_parts(invoke: Invoke, state: Path) -> None:
    from phi4_edge.core.rollout.budget import Budget
    from phi4_edge.core.rollout.waves import Size, Wave

    journal = cut(state)
    journal.close()
    again = Journal.reopen(state, journal.id)
    again.waves((Wave("wave 1", 0, ("gw2", "gw3")),), Budget(Size(0)))
    again.close()
    output = invoke("rollout", "show").output
    assert "note: resumed at" in output
    waves = [line for line in output.partition("\nWAVE ")[2].splitlines() if "wave 1" in line]
    assert "cut; its hosts are below" in waves[0]
    assert "(resumed)" in waves[1]


def test_the_lock_is_no_step_that_says_anything(invoke: Invoke, state: Path) -> None:
    from phi4_edge.runner.run import HostEvent

    journal = begin(state)
    for role in ("lock", "service", "lock"):
        journal.host_event(HostEvent("gw1", "ok", role, "does something"))
    journal.close()
    table = invoke("rollout", "show").output
    assert next(line for line in table.splitlines() if line.startswith("gw1 ")).split()[4] == "service"
