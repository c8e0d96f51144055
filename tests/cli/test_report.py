"""`phi4-edge report`: from the journal of a rollout to a file or to stdout."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
from click.testing import Result
from referencing import Registry, Resource

from phi4_edge.core.rollout.waves import Wave
from phi4_edge.data import SCHEMAS, schema
from phi4_edge.rollout.journal import Journal
from phi4_edge.runner.run import HostEvent

Invoke = Callable[..., Result]
BROKEN = "generate: found no answer in 30 s, needed one; the last lines of its journal:\n  <b>loading</b>\n  I/O error"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PHI4_EDGE_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "state"


def end(host: str, outcome: str, reason: str = "") -> dict[str, Any]:
    return {
        "host": host,
        "outcome": outcome,
        "reason": reason or None,
        "next_step": "see phi4-edge status INVENTORY" if reason else None,
        "release": "r-1",
        "changed": 3,
        "seconds": 12.5,
        "wave": 0,
    }


@pytest.fixture
def rollout(root: Path) -> str:
    """A canary that failed and two hosts that were never touched, written by the journal itself."""
    journal = Journal.begin(root, {"operation": "provision", "inventory": ["gw.ini"], "limit": None, "options": {}})
    journal.waves([Wave("canary", 0, ("gw1",)), Wave("wave 1", 1, ("gw2", "gw3"))], "0")
    journal.event("wave", number=0)
    for role in ("artifact", "service", "health"):
        journal.host_event(HostEvent("gw1", "changed", role, "a task"))
    journal.host_event(HostEvent("gw1", "failed", "health", "Gate", BROKEN))
    journal.event("host", result=end("gw1", "rolled_back", BROKEN))
    journal.event("wave_end", number=0)
    journal.event("budget", bad=1, budget="0", exceeded=True)
    left = [{**end(host, "untouched"), "release": None, "wave": 1} for host in ("gw2", "gw3")]
    journal.result({"exit_code": 4, "stopped": "budget", "hosts": [end("gw1", "rolled_back", BROKEN), *left]})
    return journal.id


def test_a_page_in_a_file(invoke: Invoke, rollout: str, tmp_path: Path) -> None:
    result = invoke("report", "last", "-o", "report.html")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "wrote report.html" in result.stderr
    page = (tmp_path / "report.html").read_text()
    for said in (
        "Stopped: 1 bad of 3 hosts",
        "Bad in canary: gw1.",
        "&lt;b&gt;loading&lt;/b&gt;",
        "phi4-edge status gw.ini",
    ):
        assert said in page
    assert "<b>" not in page
    assert stat.S_IMODE((tmp_path / "report.html").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_without_a_name_the_page_is_named_after_the_rollout(invoke: Invoke, rollout: str, tmp_path: Path) -> None:
    result = invoke("report", rollout[:12])
    assert result.exit_code == 0
    assert (tmp_path / f"{rollout}.html").read_text().startswith("<!doctype html>")


def test_an_older_page_is_replaced(invoke: Invoke, rollout: str, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("old")
    assert invoke("report", rollout, "-o", "report.html").exit_code == 0
    assert "old" not in (tmp_path / "report.html").read_text()[:3]


@pytest.mark.parametrize("arguments", [("--output", "markdown"), ("--output", "markdown", "-o", "-"), ("-o", "-")])
def test_stdout(invoke: Invoke, rollout: str, arguments: tuple[str, ...]) -> None:
    result = invoke("report", "last", *arguments)
    assert result.exit_code == 0
    assert result.stdout.startswith("# Stopped: 1 bad" if "markdown" in arguments else "<!doctype html>")
    assert result.stdout.endswith("\n")


def test_json_is_the_record_with_its_schema(invoke: Invoke, rollout: str) -> None:
    result = invoke("report", "last", "--output", "json")
    document = json.loads(result.stdout)
    resources = [(f"{each}.schema.json", Resource.from_contents(schema(each))) for each in SCHEMAS]
    registry = Registry().with_resources(resources)
    jsonschema.Draft202012Validator(schema("rollout"), registry=registry).validate(document)
    assert document["id"] == rollout
    assert [host["outcome"] for host in document["hosts"]] == ["rolled_back", "untouched", "untouched"]


@pytest.mark.parametrize(
    ("name", "begin"), [("r.md", "# Stopped"), ("r.json", "{"), ("r.xml", "<?xml"), ("r.txt", "<!doctype html>")]
)
def test_the_name_of_the_file_says_the_format(
    invoke: Invoke, rollout: str, tmp_path: Path, name: str, begin: str
) -> None:
    assert invoke("report", "last", "-o", name).exit_code == 0
    assert (tmp_path / name).read_text().startswith(begin)


def test_junit_is_for_ci(invoke: Invoke, rollout: str) -> None:
    result = invoke("report", "last", "--output", "junit")
    assert result.exit_code == 0
    root = ElementTree.fromstring(result.stdout)
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("3", "1", "0")
    assert [case.get("name") for case in root.iter("testcase")] == ["gw1", "gw2", "gw3"]
    (failure,) = root.iter("failure")
    assert failure.text is not None
    assert "<b>loading</b>" in failure.text
    assert "next: see phi4-edge status gw.ini" in failure.text


def test_o_is_the_file_and_not_the_format(invoke: Invoke, rollout: str, tmp_path: Path) -> None:
    result = invoke("report", "last", "-o", "json")
    assert result.exit_code == 1
    assert "--output json" in result.stderr
    assert not (tmp_path / "json").exists()


def test_a_folder_that_is_not_there(invoke: Invoke, rollout: str) -> None:
    result = invoke("report", "last", "-o", "none/report.html")
    assert result.exit_code == 1
    assert "found none/report.html not writable" in result.stderr


def test_no_such_rollout(invoke: Invoke, rollout: str) -> None:
    result = invoke("report", "2019")
    assert result.exit_code == 1
    assert "found no rollout 2019" in result.stderr


def test_a_running_rollout_is_told_as_far_as_it_is(invoke: Invoke, root: Path) -> None:
    journal = Journal.begin(root, {"operation": "provision", "inventory": ["gw.ini"], "limit": None, "options": {}})
    journal.waves([Wave("wave 1", 0, ("gw1", "gw2"))], "0")
    journal.event("wave", number=0)
    journal.host_event(HostEvent("gw1", "start", "artifact", "a task"))
    running = invoke("report", "last", "--output", "markdown").stdout
    assert running.startswith("# Still running: 0 of 2 hosts ready, 0 bad")
    assert "| gw1 | wave 1 | under way |" in running
    journal.close()
    dead = invoke("report", "last", "--output", "markdown").stdout
    assert dead.startswith("# Died without a result")
    assert "phi4-edge provision gw.ini --resume" in dead
    assert invoke("report", "last", "-o", "-").exit_code == 0
