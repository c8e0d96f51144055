"""What a host that failed is told to do next."""

from __future__ import annotations

import pytest

from phi4_edge.rollout.interpret import THROUGH, Track, result_of
from phi4_edge.rollout.result import Outcome
from phi4_edge.runner.run import HostEvent, HostOutcome

JOURNAL = "fix the cause, then run again; the log of the service: journalctl -u phi4-edge"


@pytest.mark.parametrize(
    ("status", "message", "outcome", "step"),
    [
        ("failed", "could not find matching plugin: 'community.general.pbrun'", Outcome.FAILED, "general; or"),
        ("failed", "could not find matching plugin: 'dzdo'", Outcome.FAILED, "ansible-galaxy collection install"),
        ("failed", "the engine answers 500", Outcome.FAILED, JOURNAL),
        ("unreachable", "ssh_exchange_identification: Connection closed by remote host", Outcome.UNREACHABLE,
         "fail2ban-client status sshd"),
        ("unreachable", "Received disconnect: Too many authentication failures", Outcome.UNREACHABLE, "IdentitiesOnly"),
        ("unreachable", "No route to host", Outcome.UNREACHABLE, "see whether the host is up, then run again"),
    ],
)  # fmt: skip
def test_a_host_that_cannot_be_worked_on_is_not_sent_to_the_log_of_its_service(
    status: str, message: str, outcome: Outcome, step: str
) -> None:
    end = HostOutcome("gw1", status, message)  # type: ignore[arg-type]
    result = result_of("gw1", end, Track(), False, "r-1")
    assert result.outcome is outcome
    assert step in result.next_step


def test_a_host_that_is_through_keeps_nobody_from_ending_the_run() -> None:
    track = Track()
    for kind, role, result in (("ok", "lock", {}), ("start", "service", {}), ("changed", "service", {"done": True})):
        track.take(HostEvent("gw1", kind, role, result=result))  # type: ignore[arg-type]
    assert track.critical  # the way back may come next
    track.take(HostEvent("gw1", "changed", "service", result={THROUGH: True}))
    assert not track.critical
    track.take(HostEvent("gw2", "start", "service"))
    assert track.critical
