"""A generated password of a chat page's administrator is shown once, where the page has taken it."""

from __future__ import annotations

from typing import Any

import pytest

from phi4_edge.operations.rollout import Shown
from phi4_edge.runner.run import HostEvent
from phi4_edge.view.view import View

PASSWORDS = {"gw1": "one-secret", "gw2": "two-secret"}


class Notes(View):
    """Keeps what is worth a line."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def said(host: str, fact: Any) -> list[str]:
    notes = Notes()
    Shown(notes, passwords=PASSWORDS).event(HostEvent(host, "changed", result={"ansible_facts": {"phi4_webui": fact}}))
    return notes.lines


def test_it_is_shown_with_whose_it_is() -> None:
    [line] = said("gw1", {"administrator": "admin@localhost", "generated": True})
    assert line.startswith(
        "gw1: the chat page's administrator is admin@localhost, password one-secret (shown this once only"
    )


@pytest.mark.parametrize(
    ("host", "fact"),
    [
        ("gw1", {"administrator": "admin@localhost", "generated": False}),
        ("gw1", {"administrator": "admin@localhost", "generated": "yes"}),
        ("gw1", "generated"),
        ("gw1", None),
        ("gw3", {"administrator": "admin@localhost", "generated": True}),
    ],
)
def test_nothing_is_shown_otherwise(host: str, fact: Any) -> None:
    assert said(host, fact) == []
