"""What was measured on each host, beside what its plan had said: a table and a plot. Takes the bench document. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from phi4_edge.core.text import printable
from phi4_edge.report.text import count, gb, table, wrap

HEAD = (
    *("HOST", "ENGINE", "DECODE", "FORECAST", "ERROR", "PREFILL", "STREAMS", "DECODE x N", "PREFILL x N"),
    *("FIRST", "WARM", "MEMORY", "PLANNED", "IDLE"),
)
# What gives way on a narrow terminal; the JSON has it.
_WIDE = ("FORECAST", "STREAMS", "DECODE x N", "PREFILL x N", "PLANNED", "IDLE")
NARROW = 110
_UNITS = "tokens/s, seconds until the first token with a new and a known prompt, share of a core when idle"

Document = Mapping[str, Any]


def overview(document: Document, width: int) -> list[str]:
    """The table, what could not be measured and why, and one sentence that counts it all."""
    head = [name for name in HEAD if width >= NARROW or name not in _WIDE]
    rows = [[row[name] for name in head] for row in _rows(document["hosts"])]
    lines = table(head, rows, width, right=range(2, len(head))) if rows else []
    for host in document["hosts"]:
        for text in (host["reason"], *host["notes"]):
            lines += ["", *wrap(f"{host['host']}: {text}", width, rest="    ")] if text else []
    return [*lines, *([""] if lines else []), *wrap(headline(document), width, rest="")]


def headline(document: Document) -> str:
    """One sentence: how many were measured, how far off the forecasts were, and what the figures are."""
    hosts = document["hosts"]
    measured = [host for host in hosts if host["measured"]]
    said = f"{count(len(hosts) + len(document['problems']), 'host')}: {len(measured)} measured"
    off = [abs(host["decode_error"]) for host in measured if host["decode_error"] is not None]
    if off:
        said += f", forecasts off by {max(off):.0%} at most"
    return f"{said}; {_UNITS}" if measured else said


def _rows(hosts: Sequence[Document]) -> Iterator[dict[str, str]]:
    for host in hosts:
        found, forecast = host["measured"] or {}, host["forecast"]
        yield {
            "HOST": host["host"],
            "ENGINE": f"{host['engine']} {host['quantization']}".strip(),
            "DECODE": speed(found.get("decode")),
            "FORECAST": speed(forecast["decode"]),
            "ERROR": "-" if host["decode_error"] is None else f"{host['decode_error']:+.0%}",
            "PREFILL": speed(found.get("prefill")),
            "STREAMS": str(found.get("streams", "-")),
            "DECODE x N": speed(found.get("streams_decode")),
            "PREFILL x N": speed(found.get("streams_prefill")),
            "FIRST": speed(found.get("first_cold")),
            "WARM": speed(found.get("first_warm")),
            "MEMORY": gb(found.get("memory")),
            "PLANNED": gb(forecast["memory"]),
            "IDLE": "-" if found.get("idle") is None else f"{found['idle']:.1%}",
        }


def speed(value: float | None) -> str:
    """A rate or a time with as many digits as matter; a dash for none."""
    return "-" if value is None else f"{value:.2f}" if value < 100 else f"{value:.0f}"


WIDTH, LEFT, RIGHT, TOP, ROW = 800, 260, 90, 56, 30
STYLE = """\
text{font:13px system-ui,sans-serif;fill:#1f2328}.axis{font-size:11px;fill:#59636e}
.measured{fill:#0969da}.forecast{stroke:#bc4c00;stroke-width:3}.off{stroke:#bc4c00;stroke-width:1}
@media(prefers-color-scheme:dark){text{fill:#f0f6fc}.axis{fill:#9198a1}.measured{fill:#4493f8}
.forecast,.off{stroke:#f0883e}}"""


def plot(document: Document) -> str:
    """An SVG: a bar for the measured decode speed of each host, and an upright line where its forecast was."""
    hosts = [host for host in document["hosts"] if host["measured"]]
    values = [value for host in hosts for value in (host["measured"]["decode"], host["forecast"]["decode"]) if value]
    most, height = max(values, default=1.0), TOP + ROW * len(hosts) + 16
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'role="img" aria-label="Tokens per second, measured and forecast">',
        f"<style>{STYLE}</style>",
        '<text x="8" y="20">Tokens per second of one sequence, decoding</text>',
        '<text x="8" y="38" class="axis">Bar: measured; upright line: forecast before, with the share by which it '
        "may be off</text>",
    ]
    for number, host in enumerate(hosts):
        lines += _bar(host, TOP + ROW * number, most)
    return "\n".join([*lines, "</svg>", ""])


def _bar(host: Document, top: int, most: float) -> Iterator[str]:
    def x(value: float) -> float:
        return round(LEFT + min(value / most, 1.0) * (WIDTH - LEFT - RIGHT), 1)

    decode, forecast = host["measured"]["decode"], host["forecast"]
    label = printable(f"{host['host']}: {host['engine']} {host['quantization']}", 36, lines=False)
    yield f'<text x="8" y="{top + 16}">{escape(label)}</text>'
    yield f'<rect class="measured" x="{LEFT}" y="{top + 4}" width="{x(decode) - LEFT:.1f}" height="16"/>'
    yield f'<text x="{x(decode) + 6}" y="{top + 16}">{decode:.3g}</text>'
    if said := forecast["decode"]:
        off = said * (forecast["uncertainty"] or 0.0)
        yield f'<line class="off" x1="{x(said - off)}" y1="{top + 12}" x2="{x(said + off)}" y2="{top + 12}"/>'
        yield f'<line class="forecast" x1="{x(said)}" y1="{top + 1}" x2="{x(said)}" y2="{top + 23}"/>'
