"""Progress without a terminal: lines and JSON Lines of a run and of a rollout, and that text of a host stays text."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from referencing import Registry, Resource

from phi4_edge.core.rollout.waves import Wave
from phi4_edge.data import schema
from phi4_edge.runner.run import HostEvent
from phi4_edge.view import lines as view_lines
from phi4_edge.view.json_lines import JsonView
from phi4_edge.view.lines import PlainView
from phi4_edge.view.view import STEPS, View, progress_view

# Clears the screen, sets the title, colours as Rich would, turns the direction, hides, stacks, and has no end.
EVIL = "gw\x1b[2J\x1b]0;owned\x07[bold red]\u202e\u200b\u061c\x9b2J\r\x00" + "a" + "\u0301" * 5000 + "x" * 5000
CANARY, FIRST = Wave("canary", 0, ("gw1",)), Wave("wave 1", 1, ("gw2", "gw3"))


def rollout(shown: View, text: str = "no answer") -> None:
    """A canary that is watched, then a wave in which a host fails and goes back, and the other goes back for it."""
    with shown:
        shown.phase("Preparing")
        shown.progress(f"tiny{text}", "converting", text, 512, 1024)
        shown.rollout("20261122T153000Z-ab12cd", (CANARY, FIRST), "0")
        shown.wave(CANARY)
        shown.event(HostEvent("gw1", "start", "service", f"Switch {text}"))
        shown.event(HostEvent("gw1", "changed", "service", f"Switch {text}", seconds=0.5))
        shown.finished("gw1", "done")
        shown.spent(0, False)
        shown.bake(CANARY, 60.0)
        shown.event(HostEvent("gw1", "start", "health", "Watch it"))
        shown.wave(FIRST)
        shown.event(HostEvent("gw2", "start", "health", "Ask"))
        shown.event(HostEvent("gw2", "failed", "health", "Ask", text))
        shown.event(HostEvent("gw2", "start", "service", "Go back"))
        shown.finished("gw2", "rolled_back")
        shown.finished("gw3", "done")
        shown.spent(1, True)
        shown.note(f"gw3 goes back {text}")
        shown.finished("gw3", "reverted")


def documents(text: str) -> Iterator[dict[str, Any]]:
    """JSON Lines, each of which is as its schema says."""
    names = ("event", "result", "plan", "facts")
    known = Registry().with_resources((f"{name}.schema.json", Resource.from_contents(schema(name))) for name in names)
    check = jsonschema.Draft202012Validator(schema("event"), registry=known)
    for line in text.splitlines():
        check.validate(document := json.loads(line))
        yield document


def test_a_log_says_what_happens_to_whom_and_when(capsys: pytest.CaptureFixture[str]) -> None:
    seconds = iter(range(1000))
    rollout(PlainView(STEPS, clock=lambda: float(next(seconds))))
    shown = capsys.readouterr()
    assert shown.out == ""
    log = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", "NOW", re.sub(r"\b[\d.]+s  ", "T  ", shown.err))
    assert log.splitlines() == [
        "Preparing",
        "  tinyno answer: converting no answer",
        "rollout 20261122T153000Z-ab12cd: 3 hosts in 2 waves, bad hosts allowed: 0",
        "NOW  canary (1 of 2) begins: 1 host: gw1",
        "  gw1  T  switching the release",
        "  gw1  T  done",
        "NOW  canary (1 of 2) bakes for 1m00s: 1 done",
        "  gw1  T  proving that it answers",
        "NOW  canary (1 of 2) is over: 1 done",
        "NOW  wave 1 (2 of 2) begins: 2 hosts: gw2, gw3",
        "  gw2  T  proving that it answers",
        "  gw2  T  failed: no answer",
        "  gw2  T  switching the release",
        "  gw2  T  rolled back",
        "  gw3  T  done",
        "bad hosts: 1 (allowed: 0), stopping: no further host starts",
        "gw3 goes back no answer",
        "  gw3  T  taken back",
        "NOW  wave 1 (2 of 2) is over: 1 rolled back, 1 taken back",
    ]


def test_every_json_line_is_an_event_of_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    rollout(JsonView())
    shown = capsys.readouterr()
    assert shown.err == ""
    lines = list(documents(shown.out))
    steps = ["step", "step"]
    assert [line["event"] for line in lines] == [
        *("phase", "artifact", "rollout", "wave", *steps, "host", "bake", "step", "wave"),
        *(*steps, "step", "host", "host", "budget", "note", "host"),
    ]
    assert lines[2] == {
        "event": "rollout",
        "id": "20261122T153000Z-ab12cd",
        "waves": [
            {"name": "canary", "number": 0, "hosts": ["gw1"]},
            {"name": "wave 1", "number": 1, "hosts": ["gw2", "gw3"]},
        ],
        "budget": "0",
    }
    assert lines[7] == {"event": "bake", "name": "canary", "number": 0, "seconds": 60.0}
    assert lines[15] == {"event": "budget", "bad": 1, "budget": "0", "exceeded": True}


@pytest.mark.parametrize("shown", [PlainView(STEPS), JsonView()], ids=["lines", "json"])
def test_hostile_text_stays_text(shown: View, capsys: pytest.CaptureFixture[str]) -> None:
    rollout(shown, EVIL)
    said = capsys.readouterr()
    text = said.out + said.err
    assert "[bold red]" in text
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b\u202e]", text)
    assert "\u0301" * 3 not in text
    if isinstance(shown, PlainView):
        assert all(len(line) <= 800 for line in text.splitlines() if "goes back" not in line)  # notes are whole
    else:
        assert {line["message"] for line in documents(said.out) if line.get("kind") == "failed"} == {EVIL}


def test_what_is_being_made_is_told_once_a_second_to_programs_and_once_to_logs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for shown in (JsonView(), PlainView(STEPS)):
        for done in range(1000):
            shown.progress("tiny", "converting", "", done, 1000)
        shown.progress("tiny", "converting", "", 1000, 1000)
    said = capsys.readouterr()
    assert [line["done"] for line in documents(said.out)] == [0, 1000]
    assert said.err == "  tiny: converting\n"


def test_ctrl_c_may_speak_into_a_line_that_is_being_written(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    shown = PlainView(STEPS)
    handler = signal.signal(signal.SIGUSR1, lambda *_: shown.note("stopping"))

    def echo(text: str, err: bool) -> None:
        if not lines:
            signal.raise_signal(signal.SIGUSR1)
        assert err
        lines.append(text)

    monkeypatch.setattr(view_lines.click, "echo", echo)
    try:
        shown.note("first")
    finally:
        signal.signal(signal.SIGUSR1, handler)
    assert lines == ["first", "stopping"]


def test_a_pipe_gets_lines_and_json_gets_json() -> None:
    assert isinstance(progress_view("table"), PlainView)
    assert isinstance(progress_view("json"), JsonView)


@pytest.mark.parametrize("shown", [PlainView(STEPS), JsonView()])
def test_a_reader_that_went_away_does_not_end_what_is_under_way(
    shown: View, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pipe into `head`, a log on a full disk: an error here would end Ansible in the middle of a switch."""

    def gone(text: str, err: bool) -> None:
        raise BrokenPipeError

    with monkeypatch.context() as patched:
        patched.setattr(view_lines.click, "echo", gone)
        rollout(shown)
    shown.note("there again")
    told = capsys.readouterr()
    assert "there again" in told.out + told.err
