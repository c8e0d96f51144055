"""A host's findings in one line: what would stop provisioning in full, the rest counted."""

from __future__ import annotations

from typing import Any

import pytest

from phi4_edge.core.doctor import words

PROBLEM = {
    "level": "problem",
    "check": "port",
    "found": "port 8080 is in use",
    "needed": "a free port",
    "fix": "stop it",
}
WARNING = {"level": "warning", "check": "memory", "found": "no swap", "needed": "", "fix": ""}
NOTE = {"level": "note", "check": "reboot", "found": "a pending reboot", "needed": "", "fix": "reboot"}
FINE = {"level": "ok", "check": "disk", "found": "", "needed": "", "fix": ""}


def entry(*findings: dict[str, str], reached: bool = True) -> dict[str, Any]:
    return {"host": "gw1", "reached": reached, "findings": list(findings)}


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (entry(FINE), "gw1: nothing found"),
        (entry(NOTE, FINE), "gw1: 1 note"),
        (entry(WARNING, NOTE, WARNING), "gw1: 2 warnings, 1 note | warning memory: no swap | warning memory: no swap"),
        (
            entry(WARNING, PROBLEM),
            "gw1: 1 problem, 1 warning | problem port: port 8080 is in use; needed: a free port; fix: stop it"
            " | warning memory: no swap",
        ),
        (entry(PROBLEM, reached=False), "gw1: unreachable, 1 problem | problem port: port 8080 is in use; needed: "
                                        "a free port; fix: stop it"),
    ],
)  # fmt: skip
def test_line(found: dict[str, Any], line: str) -> None:
    assert words.line(found) == line


def test_what_a_host_said_is_one_line_that_no_terminal_obeys() -> None:
    line = words.line(entry({**PROBLEM, "found": "a\nb\x1b[2J\u202e", "fix": "c\rd\x07"}))
    assert "\n" not in line
    assert not [char for char in line if char < " " or char == "\u202e"]
    assert "a b" in line
