"""What was tried on each host side by side, and which is fastest at which class of quality. Pure.

Takes the bench document.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from phi4_edge.report import outcomes
from phi4_edge.report.bench import speed
from phi4_edge.report.text import count, duration, gb, table, wrap

HEAD = (
    *("HOST", "ENGINE", "ON", "BITS", "DECODE", "DECODE x N", "PREFILL", "FIRST", "MEMORY", "SET-UP", "TOOL CALLS"),
    "OUTCOME",
)
# What gives way on a narrow terminal; the JSON has it.
_WIDE = ("DECODE x N", "PREFILL", "FIRST", "OUTCOME")
NARROW = 110
_PLACES = {"cpu": "CPU", "cuda": "GPU"}
_UNITS = (
    "bits of a weight are its class of quality; tokens/s; seconds until the first token of a new prompt; set-up: from "
    "the first task to the proof that it answers; tool calls: well formed of those asked for"
)

Document = Mapping[str, Any]


def overview(document: Document, width: int) -> list[str]:
    """The table, each host's fastest, what was not tried or went wrong and why, and one sentence that counts it all."""
    head = [name for name in HEAD if width >= NARROW or name not in _WIDE]
    rows = [[row[name] for name in head] for row in _rows(document["hosts"])]
    numbers = [head.index(name) for name in head[3:] if name not in ("TOOL CALLS", "OUTCOME")]
    lines = table(head, rows, width, right=numbers) if rows else []
    for entry in document["tried"]:
        lines += ["", *wrap(fastest(entry), width, rest="    "), *wrap(_serves(entry), width, rest="    ")]
        for one in entry["left_out"]:
            why = f"{entry['host']}: {_label(one)} was not tried: {one['reason']}"
            lines += wrap(why, width, rest="    ")
    for host in document["hosts"]:
        for text in (host["reason"], *host["notes"]):
            lines += ["", *wrap(f"{host['host']}: {_label(host)}: {text}", width, rest="    ")] if text else []
    return [*lines, *([""] if lines else []), *wrap(_headline(document), width, rest="")]


def fastest(entry: Document) -> str:
    """One sentence: which is fastest on this host, and which in each class of quality, where there are several."""
    best, classes = entry["fastest"], entry["fastest_by_bits"]
    if best is None:
        return f"{entry['host']}: nothing was measured"
    said = f"{entry['host']}: fastest is {_label(best)} with {speed(best['decode'])} tokens/s"
    if len(classes) > 1:
        each = (f"{row['bits']} bits: {_label(row)} with {speed(row['decode'])}" for row in classes)
        said += f"; at {', '.join(each)}"
    return said


def proposal(hosts: Sequence[Document], width: int) -> list[str]:
    """Before the operator is asked: what serves on each host, what is tried in its place, and for how long it is down.

    Each of `hosts`: `host`, `serves`, `tries`, `down_seconds` of all switches there and back.
    """
    rows = [
        (one["host"], one["serves"], ", ".join(one["tries"]) or "-", duration(one["down_seconds"])) for one in hosts
    ]
    return table(("HOST", "SERVES", "TRIES", "DOWN, ABOUT"), rows, width, right=(3,))


def _serves(entry: Document) -> str:
    """What the host serves now."""
    before, back = entry["served"], entry["back"]
    label = f"{_label(before)}, release {before['release']}"
    if back is None:
        return f"{entry['host']}: serves {label}, as before"
    if back["outcome"] in ("done", "unchanged"):
        return f"{entry['host']}: serves {label} again"
    why = f"{outcomes.word(back['outcome']).text}: {back['reason'] or 'no reason given'}"
    return f"{entry['host']}: NOT known to serve {label} again ({why}). Next: {back['next_step']}"


def _headline(document: Document) -> str:
    hosts = document["hosts"]
    measured = sum(1 for host in hosts if host["measured"])
    said = f"{count(len(document['tried']), 'host')}: {measured} of {count(len(hosts), 'trial')} measured"
    if document["exit_code"] == 130:
        said += "; interrupted"
    return f"{said}; {_UNITS}" if measured else said


def _label(row: Document) -> str:
    return f"{row['engine']} {row['quantization']}".strip()


def _rows(hosts: Sequence[Document]) -> Iterator[dict[str, str]]:
    for host in hosts:
        found, trial = host["measured"] or {}, host["trial"]
        calls, seconds = trial["tool_calls"], trial["setup_seconds"]
        yield {
            "HOST": host["host"],
            "ENGINE": _label(host),
            "ON": _PLACES.get(found.get("accelerator", trial["accelerator"]), "-"),
            "BITS": str(trial["bits"] or "-"),
            "DECODE": speed(found.get("decode")),
            "DECODE x N": speed(found.get("streams_decode")),
            "PREFILL": speed(found.get("prefill")),
            "FIRST": speed(found.get("first_cold")),
            "MEMORY": gb(found.get("memory")),
            "SET-UP": "serves" if trial["served"] else "-" if seconds is None else duration(seconds),
            "TOOL CALLS": f"{calls['well_formed']} of {calls['asked']}" if calls else "-",
            "OUTCOME": "measured" if host["outcome"] == "done" else outcomes.word(host["outcome"]).text,
        }
