"""How fast a host was found to be: the bandwidth that a look sampled, and what `bench` measured and left there. Pure.

The record on the host is data like everything from there: bounded, and an entry that is not as ours are does not count.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from phi4_edge.core.text import LARGEST

FORMAT = "phi4-edge/bench-record/1"
# Beside the receipt.
FILE = "bench.json"
# A host is measured with few engines, and the newest measurements stay.
MOST_ENTRIES, MOST_BYTES = 8, 16 * 1024
# Tokens per second, seconds and shares of a core that no host reaches.
_MOST = 1e9
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,79}", re.ASCII)
_KEY = ("model", "engine", "quantization", "accelerator", "threads")


@dataclass(frozen=True, slots=True)
class Measured:
    """One engine with one model on one host, measured through its API; None: not measured, for the engine cannot do it.

    Rates are tokens per second, of one sequence and of `streams` together; times are seconds. `first_cold` and
    `first_warm`: until the first token, of a new prompt and of the same one again. `memory`: bytes at full context.
    `idle`: share of one core. `at`: seconds since 1970.
    """

    model: str
    engine: str
    quantization: str
    accelerator: str
    threads: int
    context_length: int
    streams: int
    release: str
    at: int
    decode: float
    prefill: float | None = None
    streams_decode: float | None = None
    streams_prefill: float | None = None
    first_cold: float | None = None
    first_warm: float | None = None
    memory: int | None = None
    idle: float | None = None

    @property
    def key(self) -> tuple[Any, ...]:
        """What it is a measurement of: another one of the same takes its place."""
        return tuple(getattr(self, name) for name in _KEY)


@dataclass(frozen=True, slots=True)
class Speed:
    """`bandwidth`: bytes per second that the cores of an engine read of the memory together, None: not sampled."""

    bandwidth: int | None = None
    measured: tuple[Measured, ...] = ()

    def of(self, model: str, engine: str, quantization: str, accelerator: str, threads: int) -> Measured | None:
        """Return what was measured of this; None where nothing was."""
        wanted = (model, engine, quantization, accelerator, threads)
        return next((found for found in self.measured if found.key == wanted), None)


def bandwidth(text: str, cores: int) -> int | None:
    """Return the bytes per second that `cores` read together, of a sample "ONE ALL THREADS"; None where it is none.

    More cores than were tried read no more than all that were: memory is what they share.
    """
    words = text.split()
    if len(words) != 3 or not all(word.isascii() and word.isdigit() and len(word) <= 18 for word in words):
        return None
    one, together, threads = map(int, words)
    found = together if cores >= threads else min(one * cores, together)
    return found if 0 < one <= together <= LARGEST and threads else None


def read(text: str) -> tuple[Measured, ...] | None:
    """Return the measurements of a record as the host keeps it, without those that cannot be; None: it is no record."""
    try:
        document = json.loads(text) if len(text) <= MOST_BYTES else None
    except (ValueError, RecursionError):
        return None
    entries = document.get("measured") if isinstance(document, Mapping) and document.get("format") == FORMAT else None
    if not isinstance(entries, list):
        return None
    found = [made for entry in entries[:MOST_ENTRIES] if (made := _measured(entry)) is not None]
    return tuple({one.key: one for one in reversed(found)}.values())[::-1]


def document(measured: Iterable[Measured]) -> dict[str, Any]:
    """Return the record with these measurements, the newest first: one of each kind, and no more than are read."""
    newest = {one.key: one for one in sorted(measured, key=lambda one: one.at)}.values()
    kept = sorted(newest, key=lambda one: -one.at)[:MOST_ENTRIES]
    return {"format": FORMAT, "measured": [asdict(one) for one in kept]}


def _measured(entry: object) -> Measured | None:
    """Return one entry; None for what is not as ours are."""
    if not isinstance(entry, Mapping) or set(entry) != {field.name for field in fields(Measured)}:
        return None
    for field in fields(Measured):
        value = entry[field.name]
        if not (value is None and "None" in str(field.type)) and not _CHECKS[str(field.type).partition(" ")[0]](value):
            return None
    return Measured(**entry)


def _is_word(value: object) -> bool:
    return isinstance(value, str) and _WORD.fullmatch(value) is not None


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST


def _is_rate(value: object) -> bool:
    # Compared and never converted: a whole number of a host may be too large for a float. NaN is within no bounds.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= _MOST


_CHECKS = {"str": _is_word, "int": _is_count, "float": _is_rate}
