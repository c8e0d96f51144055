"""A task that takes too long: what the run is told, what it says afterwards, and what failed tasks leave to know."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.runner import run as runner_run
from phi4_edge.runner.access import Access
from phi4_edge.runner.events import Collector, HostOutcome

ENV = {"PATH": "/usr/bin", "HOME": "/nonexistent"}
LATE = {"failed": True, "msg": "Task failed: Timed out after 3 second(s).", "timedout": {"period": 3}}


def ends(*events: tuple[str, Mapping[str, Any], bool], failures: int) -> HostOutcome:
    """What becomes of a host with these events (name, result, ignored)."""
    collector = Collector(7, lambda event: None)
    for name, result, ignored in events:
        data = {"host": "gw1", "role": "r", "task": "t", "res": result, "ignore_errors": ignored}
        collector.take({"event": name, "job_id": 7, "event_data": data})
    counts = {"processed": {"gw1": 1}, "failures": {"gw1": failures} if failures else {}}
    collector.take({"event": "playbook_on_stats", "job_id": 7, "event_data": counts})
    return collector.outcomes(cancelled=False)["gw1"]


@pytest.mark.parametrize(
    ("seconds", "theirs", "told"), [(0, {}, None), (9, {}, "9"), (0, {"ANSIBLE_TASK_TIMEOUT": "5"}, "5"),
                                    (9, {"ANSIBLE_TASK_TIMEOUT": "5"}, "9")],
)  # fmt: skip
def test_the_time_of_a_task_is_ours_or_the_operator_s(
    tmp_path: Path, seconds: int, theirs: dict[str, str], told: str | None
) -> None:
    run = runner_run.build_run(Path("site.yml"), ["i"], environ={**ENV, **theirs}, cwd=tmp_path, task_timeout=seconds)
    assert run.env.get("ANSIBLE_TASK_TIMEOUT") == told


def test_access_hands_the_time_of_a_task_on() -> None:
    assert Access(("gw1,",)).run("detect", ["gw1"], task_timeout=11).env["ANSIBLE_TASK_TIMEOUT"] == "11"


def test_a_task_that_took_too_long_is_remembered_through_the_way_back() -> None:
    after = {"failed": True, "msg": "Timed out (the host is back on r-111111111111)"}
    end = ends(("runner_on_failed", LATE, False), ("runner_on_failed", after, False), failures=1)
    assert (end.status, end.timed_out, end.message) == ("failed", True, after["msg"])


def test_only_a_host_that_failed_timed_out() -> None:
    assert not ends(("runner_on_failed", LATE, False), failures=0).timed_out
    assert not ends(("runner_on_failed", LATE, True), failures=0).timed_out
    assert not ends(("runner_on_failed", {"failed": True, "msg": "no"}, False), failures=1).timed_out


def test_facts_of_a_failed_task_are_kept() -> None:
    facts = {"phi4_lock": {"state": "held"}}
    end = ends(("runner_on_failed", {"failed": True, "msg": "held", "ansible_facts": facts}, False), failures=1)
    assert (end.status, end.facts) == ("failed", facts)
