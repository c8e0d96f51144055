"""What is said of a host that gave no facts: the step that helps, not one for another trouble."""

from __future__ import annotations

import pytest

from phi4_edge.operations.detect import survey
from phi4_edge.rollout import access
from phi4_edge.rollout.interrupt import Interrupts
from phi4_edge.rollout.result import HostResult, Outcome
from phi4_edge.runner import run as runner_run
from phi4_edge.runner.run import HostOutcome, RunResult


def told(monkeypatch: pytest.MonkeyPatch, status: str, message: str) -> HostResult:
    """What becomes of a host of which Ansible says this."""
    end = HostOutcome("gw1", status, message)  # type: ignore[arg-type]
    monkeypatch.setattr(runner_run, "execute", lambda *_: RunResult({"gw1": end}, False, 2))
    found = survey(access.Access(("gw1,",)), ["gw1"], (), Interrupts(), lambda event: None)
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
