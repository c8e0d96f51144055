"""What a prune shows: each reason whole and once, at any width, and nothing that a terminal obeys."""

from __future__ import annotations

from typing import Any

import pytest

from phi4_edge.report import prune
from phi4_edge.report.text import cells

WHY = "no plan of the last 10 rollouts names it"


def thing(name: str, outcome: str, why: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name, "kind": "wheelhouse", "size": 54_000_000, "age_seconds": 90_000, "outcome": outcome, "why": why
    } | more  # fmt: skip


DOCUMENT = {
    "things": [
        thing("b" * 70, "kept", "another process uses it", kind="image"),
        thing("old-1", "would be removed", WHY),
        thing("needed", "kept", "rollout R names it", age_seconds=3),
        thing("old-2", "would be removed", WHY, age_seconds=None),
    ],
    "removed_bytes": 0, "would_be_removed_bytes": 108_000_000, "kept_bytes": 108_000_000,
}  # fmt: skip


def test_what_goes_comes_first_under_its_reason() -> None:
    lines = prune.lines(DOCUMENT, 100)
    assert [line.split()[0] for line in lines] == [
        "NAME", "remove:", "old-1", "old-2", "kept:", "b" * 70, "kept:", "needed",
    ]  # fmt: skip
    assert lines[1] == f"remove: {WHY}"
    assert lines[2].split() == ["old-1", "wheelhouse", "54.0", "MB", "1d"]
    assert (lines[3].split()[-1], lines[-1].split()[-1]) == ("-", "3.0s")
    assert prune.summed(DOCUMENT) == "2 things would be removed, 108.0 MB"


@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_line_is_wider_than_the_terminal_and_no_reason_is_cut(width: int) -> None:
    long = thing("x", "kept", "a reason that says very much, " * 8)
    lines = prune.lines({**DOCUMENT, "things": [*DOCUMENT["things"], long]}, width)
    assert max(map(cells, lines)) <= width
    assert " ".join(" ".join(lines).split()).count("a reason that says very much,") == 8


def test_names_do_nothing_to_a_terminal() -> None:
    evil = thing("\x1b[2J\u202eevil", "kept", "\x1b]0;x\x07why")
    assert not {"\x1b", "\x07", "\u202e"} & set("".join(prune.lines({"things": [evil]}, 80)))


def test_nothing_is_no_table() -> None:
    assert prune.lines({"things": []}, 80) == []
