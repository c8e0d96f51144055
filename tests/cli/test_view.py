"""Progress: what each view shows of a run, and that text of a host stays text."""

from __future__ import annotations

import json

import pytest

from phi4_edge.commands._view import JsonView, LiveView, PlainView, view
from phi4_edge.runner import HostEvent

EVIL = "gw\x1b[2J[bold red]1"


def run(shown: PlainView | JsonView | LiveView) -> None:
    shown.phase("Provisioning 1 host")
    shown.event(HostEvent(EVIL, "start", "probe", "Validating arguments against arg spec 'main'"))
    shown.event(HostEvent(EVIL, "start", "artifact", "Push\x1b]0;x\x07 the model"))
    shown.event(HostEvent(EVIL, "changed", "artifact", "Push the model"))
    shown.progress("tiny/onnx-int4", "converting", "", 512, 1024)
    shown.event(HostEvent(EVIL, "failed", "health", "Prove", "no\x1b[31m answer"))
    shown.finished(EVIL, "failed")


def test_without_a_terminal_each_new_step_is_a_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    run(PlainView({"probe": "looking", "artifact": "receiving files"}))
    shown = capsys.readouterr()
    assert shown.out == ""
    assert [line.split("  ")[-1] for line in shown.err.splitlines()] == [
        "Provisioning 1 host",
        "looking",
        "receiving files",
        "tiny/onnx-int4: converting",
        "failed: no answer",
        "failed",
    ]
    assert "\x1b" not in shown.err


def test_json_lines_on_stdout_and_nothing_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    run(JsonView())
    shown = capsys.readouterr()
    assert shown.err == ""
    assert "\x1b" not in shown.out
    lines = [json.loads(line) for line in shown.out.splitlines()]
    assert [line["event"] for line in lines] == ["phase", "step", "step", "step", "artifact", "step", "host"]
    assert lines[-2]["message"] == "no\x1b[31m answer"


def test_the_live_board_has_a_line_per_host_with_its_step() -> None:
    board = LiveView({"artifact": "receiving files"})
    board.phase("Provisioning 1 host")
    board.event(HostEvent(EVIL, "start", "artifact", "Push\x1b]0;x\x07 the model"))
    title, line, _ = board._draw().plain.split("\n")
    assert title == "Provisioning 1 host"
    assert line.split() == ["gw[bold", "red]1", "0.0s", "receiving", "files:", "Push", "the", "model"]
    board.finished(EVIL, "done")
    assert board._draw().plain.split("\n")[1].split()[-1] == "done"


def test_hosts_at_work_come_first_and_what_does_not_fit_is_counted() -> None:
    board = LiveView({})
    for number in range(200):
        board.event(HostEvent(f"gw{number}", "start", "probe", "Look"))
    board.finished("gw0", "done")
    lines = board._draw().plain.splitlines()
    assert lines[0].split()[0] == "gw1"
    assert lines[-1].startswith("  and ")
    assert lines[-1].endswith(" more hosts")
    assert len(lines) < 200


def test_a_pipe_gets_lines_and_json_gets_json() -> None:
    assert isinstance(view("table"), PlainView)
    assert isinstance(view("json"), JsonView)
