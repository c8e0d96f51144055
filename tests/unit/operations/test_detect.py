"""What is said of a host that gave no facts: the step that helps, not one for another trouble."""

from __future__ import annotations

import pytest

from phi4_edge.operations.detect import asked_for, survey
from phi4_edge.rollout.interrupt import Interrupts
from phi4_edge.rollout.result import HostResult, Outcome
from phi4_edge.runner import access, program
from phi4_edge.runner.run import HostOutcome, RunResult


def told(monkeypatch: pytest.MonkeyPatch, status: str, message: str) -> HostResult:
    """What becomes of a host of which Ansible says this."""
    end = HostOutcome("gw1", status, message)  # type: ignore[arg-type]
    monkeypatch.setattr(program, "execute", lambda *_: RunResult({"gw1": end}, False, 2))
    found = survey(access.Access(("gw1,",)), ["gw1"], {}, Interrupts(), lambda event: None)
    (result,) = found.problems
    return result


PYTHON_OR_SUDO = "it needs Python 3.8 or newer and sudo without a password, or --ask-become-pass"
NO_PLUGIN = "Task failed: Invalid become method specified, could not find matching plugin: 'doas'. Use `ansible-doc -t"
OURS = "found on the host that python3 is ended by SIGILL when it starts, needed Python 3.8 or newer: install another"


@pytest.mark.parametrize(
    ("status", "message", "outcome", "step"),
    [
        ("failed", NO_PLUGIN, Outcome.PREFLIGHT, "ansible-galaxy collection install community.general"),
        ("failed", "Task failed: the connection plugin 'lxd' was not found", Outcome.PREFLIGHT, "community.general"),
        ("failed", "Missing sudo password", Outcome.PREFLIGHT, PYTHON_OR_SUDO),
        ("failed", OURS, Outcome.PREFLIGHT, "see what it sends: phi4-edge detect INVENTORY --raw --limit gw1"),
        ("unreachable", "Failed to connect to the host via ssh: kex_exchange_identification: read: Connection reset by "
         "peer", Outcome.UNREACHABLE, "PerSourcePenalties"),
        ("unreachable", "Failed to connect to the host via ssh:", Outcome.UNREACHABLE, "PerSourcePenalties"),
        ("unreachable", "Permission denied (publickey).", Outcome.UNREACHABLE, "try it: ansible -i INVENTORY gw1"),
    ],
)  # fmt: skip
def test_the_step_is_for_what_ansible_said(
    monkeypatch: pytest.MonkeyPatch, status: str, message: str, outcome: Outcome, step: str
) -> None:
    result = told(monkeypatch, status, message)
    assert (result.host, result.outcome, result.reason) == ("gw1", outcome, message)
    assert step in result.next_step


@pytest.mark.parametrize(
    "message",
    [
        "Task failed: EOF when reading a line",
        "Task failed: I/O operation on closed file.",
        "[Errno 6] No such device or address: '/dev/tty'",
        "paramiko: The authenticity of host can't be established. stdin is not interactive",
    ],
)
def test_who_wanted_an_answer_is_told_that_there_is_no_terminal(message: str) -> None:
    assert "no terminal to answer on" in asked_for(message)


@pytest.mark.parametrize(
    "message",
    [
        "sudo: a terminal is required to read the password",
        "mesg: ttyname failed: Inappropriate ioctl for device",
        "Failed to connect to the host via ssh: Permission denied (publickey).",
        "",
    ],
)
def test_what_a_host_says_of_its_own_terminal_is_something_else(message: str) -> None:
    assert asked_for(message) == ""
