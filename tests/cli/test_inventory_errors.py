"""Mistakes in an inventory end with 1 before any host is contacted; hosts that are not there end with 5."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
from click.testing import Result
from referencing import Registry, Resource

from phi4_edge.data import SCHEMAS, schema

Invoke = Callable[..., Result]
COMMANDS = (["detect"], ["plan"], ["provision", "--yes"], ["status"], ["remove", "--yes"])


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "found no inventory"),
        ("", "found no hosts"),
        ("gw1 phi4_prot=9000\n", "did you mean phi4_port?"),
        ("gw1 phi4_port=none\n", "phi4_port"),
    ],
    ids=["missing", "empty", "unknown variable", "wrong value"],
)
def test_a_wrong_inventory_is_exit_1(
    invoke: Invoke, tmp_path: Path, command: list[str], text: str | None, message: str
) -> None:
    path = tmp_path / "hosts.ini"
    if text is not None:
        path.write_text(text)
    result = invoke(*command, path)
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_what_is_odd_about_an_inventory_is_said_first(invoke: Invoke, tmp_path: Path, command: list[str]) -> None:
    path = tmp_path / "hosts.yml"
    path.write_text("west:\n  hosts: {gw1: {ansible_host: 127.0.0.1, ansible_port: 1}}\neast:\n  host: {gw2: {}}\n")
    result = invoke(*command, path, "--output", "json")
    assert result.stderr.startswith("warning: ")
    assert all(word in result.stderr.splitlines()[0] for word in ("hosts.yml", "host", "east"))
    assert "warning" not in result.stdout
    missing = invoke(*command, path, "--limit", "gw2")
    assert missing.exit_code == 1
    assert all(word in missing.stderr for word in ("warning: ", "east", "found no host that matches"))


def test_a_question_needs_a_right_inventory_too(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("ask", tmp_path / "none.ini", "Are you there?")
    assert (result.exit_code, "found no inventory" in result.stderr) == (1, True)


@pytest.fixture
def nobody(tmp_path: Path) -> Path:
    """An inventory whose host refuses the connection: nothing listens on port 1 of the loopback."""
    path = tmp_path / "hosts.ini"
    path.write_text("gw1 ansible_host=127.0.0.1 ansible_port=1 ansible_user=nobody\n")
    return path


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_host_that_is_not_there_is_exit_5_and_named(invoke: Invoke, nobody: Path, command: list[str]) -> None:
    result = invoke(*command, nobody)
    assert result.exit_code == 5
    assert "gw1: unreachable: " in result.stdout + result.stderr
    assert "next: " in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


def test_asking_a_host_that_is_not_there_is_exit_5(invoke: Invoke, nobody: Path) -> None:
    result = invoke("ask", nobody, "Are you there?")
    assert result.exit_code == 5
    assert "error: gw1: " in result.stderr


@pytest.mark.parametrize(("command", "name"), [("plan", "plans"), ("status", "status")])
def test_documents_follow_their_schema(invoke: Invoke, nobody: Path, command: str, name: str) -> None:
    validate(name, json.loads(invoke(command, nobody, "--output", "json").stdout))


@pytest.mark.parametrize("command", ["provision", "remove"])
def test_events_follow_their_schema_and_end_with_the_result(invoke: Invoke, nobody: Path, command: str) -> None:
    result = invoke(command, nobody, "--yes", "--output", "json")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    for line in lines:
        validate("event", line)
    assert lines[-1]["event"] == "result"
    assert lines[-1]["exit_code"] == result.exit_code == 5
    assert lines[-1]["counts"] == {"unreachable": 1}


def test_removing_asks_first_and_without_a_terminal_needs_yes(invoke: Invoke, nobody: Path) -> None:
    result = invoke("remove", nobody)
    assert result.exit_code == 1
    assert "--yes; nothing was changed" in result.stderr


def validate(name: str, document: object) -> None:
    resources = [(f"{each}.schema.json", Resource.from_contents(schema(each))) for each in SCHEMAS]
    jsonschema.Draft202012Validator(schema(name), registry=Registry().with_resources(resources)).validate(document)
