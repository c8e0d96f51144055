"""The plot of docs/performance.md: how many times as much as ours a peer needed, on a logarithmic scale, as SVG.

Written by hand, for it is a few lines and dots; it follows the reader's light or dark mode.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

WIDTH, LEFT, RIGHT, TOP, ROW = 800, 316, 24, 64, 26
LEAST = 0.25
TIMES = "&#215;"
TICKS = (0.25, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
NAMES = {
    "detect": "B4 detect", "noop": "B1 nothing to do", "far": "B5 nothing to do, 80 ms",
    "far-loss": "B5 the same, 5 % loss", "change": "B2 one variable", "first": "B3 first provision",
    "push": "B7 256 MiB",
}  # fmt: skip
STYLE = """\
text{font:13px system-ui,sans-serif;fill:#1f2328}
.axis,.goal-name{font-size:11px;fill:#59636e}
.grid{stroke:#d1d9e0}.equal{stroke:#59636e}.goal{stroke:#59636e;stroke-width:2}
.met{fill:#1a7f37;stroke:#1a7f37}.missed{fill:#bc4c00;stroke:#bc4c00}.open{fill:#0969da;stroke:#0969da}
.span{stroke-width:3;stroke-linecap:round;opacity:.45}
@media(prefers-color-scheme:dark){text{fill:#f0f6fc}.axis,.goal-name{fill:#9198a1}.grid{stroke:#3d444d}
.equal,.goal{stroke:#9198a1}.met{fill:#3fb950;stroke:#3fb950}.missed{fill:#f0883e;stroke:#f0883e}
.open{fill:#4493f8;stroke:#4493f8}}"""


@dataclass(frozen=True)
class Row:
    """One peer in one benchmark: median, least and greatest ratio, the goal, whether it was met (None: no verdict)."""

    label: str
    median: float
    least: float
    most: float
    goal: float
    met: bool | None


def rows(documents: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """A row for each goal that is a ratio, in the order of the benchmarks."""
    found = []
    for name, title in NAMES.items():
        document = documents.get(name, {})
        size = document.get("sizes", {}).get("mebibytes")
        shown = title if size is None else f"B7 {size} MiB"
        for goal in document.get("goals", ()):
            if goal["theirs"] and goal["least"]:
                ratio = goal["ratios"][goal["what"]]
                label = "B6 bytes, nothing to do" if goal["what"] == "bytes" else shown
                peer = goal["theirs"].removesuffix(" operations").removesuffix(" tasks")
                found.append(
                    Row(f"{label}: {peer}", ratio["median"], ratio["min"], ratio["max"], goal["least"], goal["met"])
                )
    return found


def svg(found: Sequence[Row]) -> str:
    """The whole picture."""
    largest = max((max(row.most, row.goal) for row in found), default=10)
    end = next((tick for tick in TICKS if tick >= largest), TICKS[-1])
    height = TOP + ROW * len(found) + 34
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'role="img" aria-label="How many times as much as phi4-edge others needed">',
        f"<style>{STYLE}</style>",
        '<text x="8" y="22">How many times as much as phi4-edge others needed (more is better for us)</text>',
        '<text x="8" y="41" class="axis">Dot: median of the turns; bar: least to greatest; upright line: our goal; '
        "green: met; orange: missed; blue: no verdict</text>",
        *_axis(end, height),
    ]
    for number, row in enumerate(found):
        lines += _row(row, TOP + ROW * number + ROW // 2, end)
    return "\n".join([*lines, "</svg>", ""])


def _x(value: float, end: float) -> float:
    """Where a ratio is, within the axis."""
    share = math.log(min(max(value, LEAST), end) / LEAST) / math.log(end / LEAST)
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)


def _axis(end: float, height: int) -> Iterator[str]:
    bottom = height - 30
    for tick in (tick for tick in TICKS if tick <= end):
        x, kind = _x(tick, end), "equal" if tick == 1 else "grid"
        yield f'<line class="{kind}" x1="{x}" y1="{TOP - 6}" x2="{x}" y2="{bottom}"/>'
        yield f'<text class="axis" x="{x}" y="{bottom + 16}" text-anchor="middle">{tick:g}{TIMES}</text>'


def _row(row: Row, y: int, end: float) -> Iterator[str]:
    kind = {True: "met", False: "missed", None: "open"}[row.met]
    least, most, median, goal = (_x(value, end) for value in (row.least, row.most, row.median, row.goal))
    yield f'<text x="8" y="{y + 4}">{escape(row.label)}</text>'
    yield f'<text x="{LEFT - 12}" y="{y + 4}" text-anchor="end">{row.median:.3g}{TIMES}</text>'
    yield f'<line class="span {kind}" x1="{least}" y1="{y}" x2="{most}" y2="{y}"/>'
    yield f'<line class="goal" x1="{goal}" y1="{y - 8}" x2="{goal}" y2="{y + 8}"/>'
    yield f'<circle class="{kind}" cx="{median}" cy="{y}" r="5"/>'
