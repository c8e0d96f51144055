"""Forecast of decode speed: measured figures where there are any, else efficiency x bandwidth / weights."""

from __future__ import annotations

import re
from dataclasses import dataclass

from phi4_edge.core.catalog.model import Candidate, Catalog, SpeedRow
from phi4_edge.core.facts.model import Gpu, HostFacts

_NOT_WORD = re.compile(r"[^a-z0-9.]+")


@dataclass(frozen=True, slots=True)
class Forecast:
    """Tokens per second of one sequence with a short context; None where nothing is known of the hardware."""

    decode_tokens_per_second: float | None
    measured: bool


def forecast(facts: HostFacts, catalog: Catalog, candidate: Candidate, gpu: Gpu | None) -> Forecast:
    """Return the forecast for one candidate on this host."""
    on_card = gpu is not None and candidate.accelerator == "cuda" and not gpu.unified
    # The memory of a card is not the board's.
    name = (
        f"{'' if on_card else facts.board} {gpu.name if gpu and candidate.accelerator == 'cuda' else facts.cpu.model}"
    )
    row = _row(catalog.speed.rows[candidate.accelerator], name, facts.architecture)
    measured = _measured(facts, catalog, candidate)
    if measured is not None and (row is None or not row.match):
        return Forecast(measured, True)
    if row is None:
        return Forecast(None, False)
    weights = catalog.engines[candidate.engine].variants[candidate.quantization].weights
    return Forecast(round(row.efficiency * row.bandwidth / weights, 1), False)


def _measured(facts: HostFacts, catalog: Catalog, candidate: Candidate) -> float | None:
    speed = catalog.speed
    alike = facts.architecture == speed.measured_architecture and speed.measured_features <= facts.cpu.features
    # One core reaches less of the memory bandwidth than the two that were measured.
    if candidate.accelerator != "cpu" or not alike or facts.cpu.usable_cores < 2:
        return None
    return speed.measured_decode.get(f"{candidate.engine}/{candidate.quantization}")


def _row(rows: tuple[SpeedRow, ...], name: str, architecture: str) -> SpeedRow | None:
    words = _words(name)
    return next(
        (row for row in rows if _words(row.match) in words and row.architecture in ("", architecture)),
        None,
    )


def _words(text: str) -> str:
    """Return `text` as lower-case words between single spaces, so that "t4" is not found in "t400"."""
    return f" {' '.join(_NOT_WORD.sub(' ', text.lower()).split())} " if text else " "
