"""Forecast of decode speed: what `bench` measured on the host, else efficiency x bandwidth / bytes of weights.

Each token reads all weights once. The bandwidth is the one that the look sampled on the host, else what its board is
known for, else what its class of CPU may have; the forecast names which of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from phi4_edge.core.catalog.model import Candidate, Catalog
from phi4_edge.core.catalog.speed import SpeedRow
from phi4_edge.core.facts.model import Gpu, HostFacts
from phi4_edge.core.plan.overrides import Overrides

BENCH, SAMPLE, BOARD, CLASS = "bench", "sample", "board", "class"
_NOT_WORD = re.compile(r"[^a-z0-9.]+")


@dataclass(frozen=True, slots=True)
class Forecast:
    """Tokens per second of one sequence with a short context; None where nothing is known of the hardware.

    `source`: one of the words above, "" without any. `uncertainty`: share by which it may be off, None for a
    measurement. `bandwidth`: bytes per second of the host's memory that a look sampled.
    """

    decode_tokens_per_second: float | None
    measured: bool
    source: str
    uncertainty: float | None
    bandwidth: int | None


def forecast(
    facts: HostFacts, catalog: Catalog, candidate: Candidate, gpu: Gpu | None, overrides: Overrides
) -> Forecast:
    """Return the forecast for one candidate on this host."""
    threads, sampled = overrides.threads or facts.cpu.usable_cores, facts.speed.bandwidth
    known = (overrides.model, candidate.engine, candidate.quantization, candidate.accelerator, threads)
    if measured := facts.speed.of(*known):
        return Forecast(round(measured.decode, 1), True, BENCH, None, sampled)
    source, rate = _read_rate(facts, catalog, candidate, gpu)
    if not rate:
        return Forecast(None, False, "", None, sampled)
    weights = catalog.engines[candidate.engine].variants[candidate.quantization].weights
    return Forecast(round(rate / weights, 1), False, source, catalog.speed.uncertainty[source], sampled)


def _read_rate(facts: HostFacts, catalog: Catalog, candidate: Candidate, gpu: Gpu | None) -> tuple[str, float]:
    """Return what it is known from, and the bytes of weights per second that decoding reads; 0 for unknown."""
    speed, on_cpu = catalog.speed, candidate.accelerator == "cpu"
    if on_cpu and facts.speed.bandwidth:
        return SAMPLE, speed.sample_efficiency * facts.speed.bandwidth
    # The memory of a card is not the board's.
    on_card = gpu is not None and not on_cpu and not gpu.unified
    name = f"{'' if on_card else facts.board} {gpu.name if gpu and not on_cpu else facts.cpu.model}"
    row = _row(speed.rows[candidate.accelerator], name, facts)
    if row is None:
        return "", 0.0
    share = min(1.0, speed.one_core * facts.cpu.usable_cores) if on_cpu else 1.0
    return BOARD if row.match else CLASS, row.efficiency * row.bandwidth * share


def _row(rows: tuple[SpeedRow, ...], name: str, facts: HostFacts) -> SpeedRow | None:
    words = _words(name)
    return next(
        (
            row
            for row in rows
            if _words(row.match) in words
            and row.architecture in ("", facts.architecture)
            and row.features <= facts.cpu.features
        ),
        None,
    )


def _words(text: str) -> str:
    """Return `text` as lower-case words between single spaces, so that "t4" is not found in "t400"."""
    return f" {' '.join(_NOT_WORD.sub(' ', text.lower()).split())} " if text else " "
