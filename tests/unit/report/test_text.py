"""Text for terminals: nothing in it is obeyed, nothing in it is wider than asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi4_edge.core.text import printable
from phi4_edge.report import text


@pytest.mark.parametrize(
    ("given_text", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[2J\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b2Jc1", "c1"),
        ("a\x00b\x7fc", "a?b?c"),
        ("left\u202eright", "left?right"),
        ("[bold red]markup[/]", "[bold red]markup[/]"),
        ("tab\tend", "tab    end"),
        ("carriage\rreturn", "carriage?return"),
        ("\ud800", "?"),
    ],
)
def test_clean(given_text: str, shown: str) -> None:
    assert printable(given_text) == shown


@given(st.text())
def test_clean_text_holds_nothing_that_a_terminal_obeys(given_text: str) -> None:
    shown = printable(given_text)
    assert all(char == "\n" or char >= " " for char in shown)
    assert not any("\x7f" <= char <= "\x9f" for char in shown)
    assert printable(shown) == shown


@given(st.text(), st.integers(min_value=4, max_value=60))
def test_cut_is_one_line_of_the_width(given_text: str, width: int) -> None:
    shown = text.cut(given_text, width)
    assert "\n" not in shown
    assert text.cells(shown) <= width


NUMBERS = st.integers(min_value=-1, max_value=1 << 60)


@given(st.lists(st.tuples(st.text(), st.text(), NUMBERS), max_size=5), st.integers(min_value=40, max_value=200))
def test_tables_keep_their_width(rows: list[tuple[str, str, int]], width: int) -> None:
    lines = text.table(("HOST", "WHAT", "NUMBER"), rows, width, right=(2,))
    assert len(lines) == len(rows) + 1
    assert all(text.cells(line) <= width for line in lines)


def test_wrapping_keeps_paths_whole() -> None:
    path = f"/var/lib/phi4-edge/models/{'0' * 64}/model.onnx.data"
    assert text.wrap(f"changed: {path}", 60, first="    ", rest="        ") == ["    changed:", f"        {path}"]
    command = f"if it is new: ssh-keygen -f {path} -R 192.0.2.1"
    assert path in text.wrap(command, 40)[1]


def test_wide_characters_take_two_columns() -> None:
    lines = text.table(("A", "B"), [("網關", "x"), ("gw", "y")], 80)
    assert lines == ["A     B", "網關  x", "gw    y"]


@pytest.mark.parametrize(
    ("size", "shown"), [(None, "-"), (4_700_000_000, "4.70 GB"), (16_400_000_000, "16.4 GB"), (0, "0.00 GB")]
)
def test_gb(size: int | None, shown: str) -> None:
    assert text.gb(size) == shown


@pytest.mark.parametrize(
    ("size", "shown"), [(812, "812 B"), (3400, "3.4 kB"), (3_400_000, "3.4 MB"), (2_400_000_000, "2.40 GB")]
)
def test_size_of(size: int, shown: str) -> None:
    assert text.size_of(size) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.04, "0.0s"), (9.94, "9.9s"), (59.4, "59s"), (59.6, "1m00s"), (65, "1m05s"), (7380, "2h03m")],
)
def test_duration(seconds: float, shown: str) -> None:
    assert text.duration(seconds) == shown
