"""What holds for every test: time is never what it depends on, and what takes longest begins first."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# A machine that does other things too is slow for a moment: an example has no deadline.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

# Marks of tests that take minutes, the longest first.
LONG = ("heavy", "e2e", "convert", "packaging")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where files are spread over workers, the long ones are given out first; a file stays in its order.

    pytest-xdist would begin with the files that have the most tests, and end with those of two tests and ten minutes,
    one worker at work and the others through. One process begins with the quick ones: what fails there says the most.
    """
    if hasattr(config, "workerinput"):
        places: dict[Path, int] = {}
        for item in items:
            places[item.path] = min(length(item), places.get(item.path, len(LONG)))
        items.sort(key=lambda item: places[item.path])


def length(item: pytest.Item) -> int:
    """Place of a test's kind among all kinds, the longest first."""
    return next((place for place, mark in enumerate(LONG) if item.get_closest_marker(mark)), len(LONG))
