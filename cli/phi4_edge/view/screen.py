"""Rows that are redrawn in place on a terminal, below lines that stay. Nothing else may write there meanwhile."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TextIO

from phi4_edge.report.text import cells
from phi4_edge.view.frame import Row

_COLOURS = {"title": "1", "bad": "31", "warn": "33", "good": "32", "bake": "36", "faint": "2"}
# Everything of one update shows at once where the terminal knows that; others ignore it.
_TOGETHER, _SHOW = "\x1b[?2026h", "\x1b[?2026l"
# A row that is wider than the terminal thinks is cut, and does not push the others down.
_CUT, _WRAP = "\x1b[?7l", "\x1b[?7h"
_REPAINT_EVERY = 40  # updates; what keys or other programs left on the board goes then


class Screen:
    """The terminal behind a stream. `colour` false: text alone."""

    def __init__(self, stream: TextIO, colour: bool) -> None:
        self._stream = stream
        self._colour = colour
        self._rows: tuple[Row, ...] = ()
        self._columns = 0
        self._updates = 0

    def size(self) -> tuple[int, int]:
        """Columns and rows now; 80 by 24 when the terminal does not say."""
        size = os.get_terminal_size(self._stream.fileno())
        return (size.columns or 80, size.lines or 24)

    def show(self, rows: Sequence[Row], lines: Sequence[str] = ()) -> None:
        """The board shows `rows`; `lines`, which are clean, are above it and stay. Raises OSError without terminal."""
        columns, wanted = self.size()[0], tuple(rows)
        same_size = columns == self._columns or not self._rows
        if wanted == self._rows and same_size and not lines:
            return
        self._updates += 1
        whole = bool(lines) or not same_size or self._updates % _REPAINT_EVERY == 0
        text = _TOGETHER + "\r" + self._up(columns)
        if whole:
            text += "\x1b[J" + "".join(f"{line}\n" for line in lines)
        self._write(text + _CUT + self._painted(wanted, whole) + _WRAP + _SHOW)
        self._rows, self._columns = wanted, columns

    def clear(self) -> None:
        """The board is gone; what stood above it stays."""
        if self._rows:
            self._write("\r" + self._up(self.size()[0]) + "\x1b[J")
            self._rows = ()

    def leave(self) -> None:
        """The board stays as it is, and what comes is written below it."""
        self._rows = ()

    def _up(self, columns: int) -> str:
        """To the first row of the board. A terminal that became narrower has wrapped the rows that no longer fit."""
        widths = [sum(cells(text) for text, _ in row) for row in self._rows]
        up = sum(max(-(-width // columns), 1) for width in widths)
        return f"\x1b[{up}A" if up else ""

    def _painted(self, rows: Sequence[Row], whole: bool) -> str:
        before = () if whole else self._rows
        lines = [
            "\n" if number < len(before) and before[number] == row else f"\x1b[2K{self._styled(row)}\n"
            for number, row in enumerate(rows)
        ]
        return "".join(lines) + ("\x1b[J" if len(before) > len(rows) else "")

    def _styled(self, row: Row) -> str:
        if not self._colour:
            return "".join(text for text, _ in row).rstrip()
        return "".join(
            f"\x1b[{_COLOURS[style]}m{text}\x1b[0m" if style in _COLOURS and text else text for text, style in row
        )

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
