"""The result document and the exit code of a run."""

from __future__ import annotations

import pytest

from phi4_edge.rollout.result import HostResult, Outcome, document, exit_code


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ([], 0),
        ([Outcome.DONE, Outcome.UNCHANGED], 0),
        ([Outcome.NO_FIT, Outcome.DONE], 3),
        ([Outcome.PREFLIGHT, Outcome.UNREACHABLE], 5),
        ([Outcome.NO_FIT, Outcome.UNREACHABLE, Outcome.FAILED], 4),
    ],
)
def test_failed_goes_before_unreachable_before_preflight(outcomes: list[Outcome], code: int) -> None:
    assert exit_code(HostResult(f"gw{number}", outcome) for number, outcome in enumerate(outcomes)) == code


def test_an_interrupted_run_says_so_even_when_every_host_was_finished() -> None:
    found = document([HostResult("gw1", Outcome.DONE, release="r-1", changed=7, seconds=1.23456)], interrupted=True)
    assert found["exit_code"] == 130
    assert found["interrupted"] is True
    assert found["changed"] == 7
    assert found["counts"] == {"done": 1}
    assert found["hosts"] == [
        {
            "host": "gw1",
            "outcome": "done",
            "reason": None,
            "next_step": None,
            "release": "r-1",
            "changed": 7,
            "seconds": 1.235,
            "wave": None,
        }
    ]
