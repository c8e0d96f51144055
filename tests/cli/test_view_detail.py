"""-v: each task, what it said, Ansible's own words; no password in any of it, and nothing that a terminal obeys."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.operations.fleet import Fleet
from phi4_edge.operations.options import Reach
from phi4_edge.rollout.interpret import Track
from phi4_edge.runner import program
from phi4_edge.runner.events import Collector, HostEvent
from phi4_edge.view.detail import HIDDEN, Detail
from phi4_edge.view.lines import PlainView
from phi4_edge.view.view import STEPS, DetailedView, progress_view

SAID = {"msg": "two\nlines\x1b[2J", "stdout": "c4nary here", "answer": {"changed": True}}
ENDED = HostEvent("gw1", "ok", "service", "Switch", seconds=1.25, result=SAID)
SECRET = Detail(3, ("c4nary", "", "c4nary-longer"))


@pytest.mark.parametrize(
    ("verbosity", "event", "told"),
    [
        (0, ENDED, []),
        (1, ENDED, ["gw1: ok: service : Switch (1.2 s)"]),
        (1, HostEvent("gw1", "start", "service", "Switch"), []),
        (1, HostEvent("gw1", "failed", "", "Fail", result=SAID), ["gw1: failed: Fail (0.0 s)"]),
        (2, HostEvent("gw1", "ok", "", "T", result={"censored": "no_log", "msg": "x"}),
         ["gw1: ok: T (0.0 s)", "gw1:   the output is hidden because it may hold secrets"]),
        (2, HostEvent("gw1", "ok", "", "T", result={"_ansible_no_log": True, "stdout": "x"}),
         ["gw1: ok: T (0.0 s)", "gw1:   the output is hidden because it may hold secrets"]),
        (3, HostEvent("", "detail", message="<gw1> EXEC ssh\n\nmore"), ["<gw1> EXEC ssh", "more"]),
    ],
)  # fmt: skip
def test_how_much_is_told(verbosity: int, event: HostEvent, told: list[str]) -> None:
    assert Detail(verbosity).lines(event) == told


def test_passwords_and_escapes_are_in_none_of_it() -> None:
    lines = SECRET.lines(ENDED) + SECRET.lines(HostEvent("", "detail", message="-p c4nary-longer \x9b31m"))
    assert f"gw1:   {HIDDEN} here" in lines and f"-p {HIDDEN}" in lines
    assert not [line for line in lines if "c4nary" in line or "\x1b" in line or "\x9b" in line]
    assert 'gw1:   {"changed": true}' in lines
    assert "c4nary" not in repr(SECRET)


def test_a_view_has_details_only_where_they_are_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    assert isinstance(progress_view("table"), PlainView)
    with progress_view("table", STEPS, Detail(1)) as view:
        assert isinstance(view, DetailedView)
        view.event(HostEvent("gw1", "start", "service", "Switch"))
        view.event(ENDED)
        view.event(HostEvent("", "detail", message="of Ansible"))
    printed = capsys.readouterr().err.splitlines()
    assert [line for line in printed if line[:1] != " "] == ["gw1: ok: service : Switch (1.2 s)", "of Ansible"]


def test_what_ansible_tells_of_itself_is_of_no_host() -> None:
    heard: list[HostEvent] = []
    raw: dict[str, Any] = {"event": "verbose", "job_id": 7, "event_data": {}, "stdout": "<gw1> EXEC \x1b[1mssh"}
    for detailed in (False, True):
        Collector(7, heard.append, detailed).take(raw)
        Collector(7, heard.append, detailed).take({**raw, "job_id": 8})  # what a host printed
    assert [(event.kind, event.host, event.message) for event in heard] == [("detail", "", "<gw1> EXEC ssh")]
    track = Track()
    track.take(heard[0])
    assert not track.began and not track.roles


def test_a_fleet_s_view_knows_its_passwords_and_ansible_is_asked_for_as_much(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts.ini"
    hosts.write_text(
        f"gw1 ansible_connection=local ansible_python_interpreter={sys.executable} ansible_become_password=c4nary-1\n"
    )
    fleet = Fleet.open([str(hosts)], Reach(None, 1, lambda: "c4nary-2", pytest.fail, verbosity=9))
    view = fleet.view()
    assert isinstance(view, DetailedView)
    assert set(view._detail.secrets) == {"c4nary-1", "c4nary-2"}
    assert "-vvvv" in fleet.access.run("detect", ["gw1"]).argv
    heard: list[HostEvent] = []
    program.execute(fleet.access.run("detect", ["gw1"], {"probe_become": False}), heard.append)
    assert any("EXEC" in event.message for event in heard if event.kind == "detail")
    assert not isinstance(Fleet.open([str(hosts)], Reach(None, 1, None, pytest.fail)).view(), DetailedView)
