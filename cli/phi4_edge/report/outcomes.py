"""The words for how a host ended: one table for summaries, the live view, Markdown and the page. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Word:
    """How an outcome is shown: `tone` is its colour, `sign` and `text` say the same without one."""

    text: str
    sign: str
    tone: str


# In the order in which somebody on call wants to see them.
WORDS: Mapping[str, Word] = {
    "failed": Word("failed", "✕", "bad"),
    "rolled_back": Word("rolled back", "↶", "bad"),
    "unhealthy": Word("unhealthy", "!", "bad"),
    "timed_out": Word("timed out", "✕", "bad"),
    "unreachable": Word("unreachable", "?", "bad"),
    "interrupted": Word("interrupted", "‖", "warn"),
    "locked": Word("locked", "#", "warn"),
    "preflight": Word("not started", "#", "warn"),
    "no_fit": Word("no fit", "#", "warn"),
    "reverted": Word("taken back", "↶", "warn"),
    "running": Word("under way", "…", "idle"),
    "untouched": Word("not begun", "○", "idle"),
    "unchanged": Word("up to date", "=", "good"),
    "done": Word("done", "✓", "good"),
}


def word(name: str) -> Word:
    """How to show an outcome; one that this version does not know shows as what it is."""
    return WORDS.get(name) or Word(name.replace("_", " "), "?", "warn")
