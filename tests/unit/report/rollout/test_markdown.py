"""A rollout as Markdown: the same story, and no host can write markup into it."""

from __future__ import annotations

import re

import pytest

from phi4_edge.report.rollout import markdown
from tests.unit.report.rollout.samples import WRITTEN, documents


@pytest.mark.parametrize("name", list(documents.ALL))
def test_every_line_is_inert(name: str) -> None:
    lines = markdown.lines(documents.ALL[name](), WRITTEN)
    for line in lines:
        assert "\n" not in line
        assert not [char for char in line if char < " " or "\x7f" <= char <= "\x9f"]
        if not line.startswith("    "):  # code; everything else has its signs escaped
            assert not re.search(r"(?<!\\)[<`\[]", line), line
    assert [line for line in lines if line.startswith("# ")] == lines[:1]


def test_the_story_is_that_of_the_page() -> None:
    text = "\n".join(markdown.lines(documents.contained(), WRITTEN))
    assert text.startswith("# Stopped: 1 bad of 8 hosts, 0 allowed\n\nBad in canary: gw2.")
    assert "**rolled back**: gw2: generate: found no answer to a real question" in text
    assert "\n    worker 71412: read of model.onnx.data stopped" in text
    assert "\n    phi4-edge status inventory/gateways.ini --limit gw2\n" in text
    assert "| canary | 2 | 1 rolled back, 1 taken back | 15:30:00 |" in text
    assert "| gw3 | wave 1 | not begun | - | 0 | - |" in text
    assert "- why: onnx int4: needs 6.6 GB with context 4096" in text


def test_tables_have_as_many_cells_as_their_heads() -> None:
    lines = markdown.lines(documents.hostile(), WRITTEN)
    width = 0
    for line in lines:
        cells = len(re.findall(r"(?<!\\)\|", line))
        if not line.startswith("| "):
            width = cells if line.startswith("|-") else 0
        elif width:
            assert cells == width, line


def test_a_good_rollout_has_nothing_that_went_wrong() -> None:
    text = "\n".join(markdown.lines(documents.good(), WRITTEN))
    assert "went wrong" not in text
    assert "phi4-edge verify inventory/gateways.ini" in text
