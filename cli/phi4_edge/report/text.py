"""Text for terminals: made harmless, cut to width, laid out in columns. Pure; ASCII unless the given text is not."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterable, Sequence

from phi4_edge.core.text import MARKS, printable

GB = 1_000_000_000  # the memory model and the artifacts are in GB; only RAM classes are in GiB
GIB = 1 << 30


def cells(text: str) -> int:
    """Columns that the text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.category(c) in MARKS else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def cut(text: object, width: int) -> str:
    """One clean line of at most `width` columns; what was cut shows as two dots."""
    line = printable(text, lines=False).strip()
    if cells(line) <= width:
        return line
    kept, used = "", 0
    for char in line:
        used += cells(char)
        if used > width - 2:
            break
        kept += char
    return kept + ".."


def pad(text: str, width: int, right: bool = False) -> str:
    """The text filled with spaces to `width` columns."""
    fill = " " * max(0, width - cells(text))
    return fill + text if right else text + fill


def wrap(text: object, width: int, first: str = "", rest: str | None = None) -> list[str]:
    """Clean lines of at most `width` columns; the first begins with `first`, others with `rest` (default: as deep).

    A word that is longer than that, such as a path, stays whole on a line of its own: it can be copied from there.
    """
    rest = " " * cells(first) if rest is None else rest
    lines = textwrap.wrap(
        printable(text, lines=False).strip(),
        max(width, 20),
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return lines or [first.rstrip()]


def table(head: Sequence[str], rows: Iterable[Sequence[object]], width: int, right: Iterable[int] = ()) -> list[str]:
    """Columns with a head, at most `width` wide. `right` names the columns of numbers.

    The widest give way first. Numbers never do; the first column, which says what the line is about, last.
    """
    body = [[printable(cell, lines=False).strip() for cell in row] for row in rows]
    numbers = set(right)
    widths = [max(cells(line[i]) for line in [list(head), *body]) for i in range(len(head))]
    spare = width - 2 * (len(head) - 1)
    texts = [i for i in range(1, len(head)) if i not in numbers]
    for columns, least in ((texts, 10), ([0], 16), ([0, *texts], 6)):
        while sum(widths) > spare and max((widths[i] for i in columns), default=0) > least:
            widths[max(columns, key=lambda i: widths[i])] -= 1
    lines = []
    for row in [list(head), *body]:
        parts = [pad(cut(cell, widths[i]), widths[i], i in numbers) for i, cell in enumerate(row)]
        lines.append("  ".join(parts).rstrip())
    return lines


def gb(size: float | None) -> str:
    """Bytes as GB with one or two digits that matter: 4.70 GB, 12.3 GB; a dash for nothing known."""
    if size is None:
        return "-"
    value = size / GB
    return f"{value:.2f} GB" if value < 10 else f"{value:.1f} GB"


def gib(size: float | None) -> str:
    """Bytes as GiB, the unit of boards and of /proc/meminfo."""
    return "-" if size is None else f"{size / GIB:.1f} GiB"


def size_of(size: float) -> str:
    """Bytes in the decimal unit that fits: 812 B, 3.4 MB, 2.40 GB."""
    for unit, factor in (("GB", GB), ("MB", 1_000_000), ("kB", 1000)):
        if size >= factor:
            return f"{size / factor:.2f} {unit}" if unit == "GB" else f"{size / factor:.1f} {unit}"
    return f"{int(size)} B"


def duration(seconds: float) -> str:
    """Seconds as 4.2s, 1m05s or 2h03m."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def count(number: int, noun: str) -> str:
    """1 host, 3 hosts."""
    return f"{number} {noun}" + ("" if number == 1 else "s")
