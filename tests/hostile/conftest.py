"""The counts of the hostile-host table at the end of a test run, wherever its tests ran (xdist)."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    every = [report for group in ("passed", "failed") for report in terminalreporter.stats.get(group, [])]
    lines = [value for report in every for name, value in report.user_properties if name == "hostile"]
    if lines:
        terminalreporter.section("hostile hosts")
        for line in lines:
            terminalreporter.write_line(str(line))
