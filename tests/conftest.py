"""What holds for every test: time is never what it depends on, and what takes longest begins first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# A machine that does other things too is slow for a moment: an example has no deadline.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

# Files of minutes, the longest first; then come the files of these marks, then all others.
LONGEST = (
    *("fleet", "readme", "kill_table", "hostile_lab", "lifecycle", "gateway", "rollout_commands", "workers_lab"),
    *("fake_gpu", "two_controllers", "trust_lab", "offline", "switch_engine", "canary", "bad_input", "collection_lab"),
    *("published", "rollout_truth", "doctor_lab", "webui", "drift_table", "port", "broken_release"),
    # Of `make tables` alone.
    *("molecule_vllm", "vllm", "molecule", "kill_compose", "tryout", "lock_kills"),
)
LONG = ("heavy", "e2e", "convert", "packaging")
# A worker runs a test when it knows the next one: it has to have two.
AHEAD = 2


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where files are spread over workers, the long ones are given out first; a file stays in its order.

    pytest-xdist would begin with the files that have the most tests, and end with those of two tests and ten minutes,
    one worker at work and the others through. One process begins with the quick ones: what fails there says the most.
    """
    if hasattr(config, "workerinput"):
        places: dict[Path, int] = {}
        for item in items:
            places[item.path] = min(place(item), places.get(item.path, len(LONGEST) + len(LONG)))
        items.sort(key=lambda item: places[item.path])


def place(item: pytest.Item) -> int:
    """How early a test's file begins, 0 for the first one."""
    name = item.path.stem.removeprefix("test_")
    if item.path.parent.name == "e2e" and name in LONGEST:
        return LONGEST.index(name)
    return len(LONGEST) + next((at for at, mark in enumerate(LONG) if item.get_closest_marker(mark)), len(LONG))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object | None:
    """`--dist loadfile`, in which no worker has a file in stock that another one could begin with.

    pytest-xdist's own gives a worker its next file when two tests are left to it: they may take minutes, in which the
    others are through with theirs.
    """
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class OneFileAtATime(LoadFileScheduling):
        def _pending_of(self, workload: dict[str, dict[str, bool]]) -> int:
            left: int = super()._pending_of(workload)
            return left if left < AHEAD else left + 1  # the caller hands out a file at two or less

    return OneFileAtATime(config, log)
