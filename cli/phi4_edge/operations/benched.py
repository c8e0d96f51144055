"""What bench is asked to measure, and what came of it: on each host, and as a document that this machine keeps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from phi4_edge.core.facts.receipt import Receipt
from phi4_edge.core.speed import Measured
from phi4_edge.inference.load import Load
from phi4_edge.inference.prompts import Prompt
from phi4_edge.rollout import journal
from phi4_edge.rollout.result import HostResult, exit_code

FORMAT = "phi4-edge/bench-fleet/1"


@dataclass(frozen=True)
class Wish:
    """What is measured. `streams`: None takes what each host was planned for. `full`: also with a full context.

    `questions`: what is asked besides, for the tool calls in the answers.
    """

    load: Load
    streams: int | None = None
    full: bool = True
    questions: tuple[Prompt, ...] = ()


@dataclass(frozen=True)
class Forecast:
    """What the plan says without a measurement of this host; None where it says nothing, or of another model."""

    decode: float | None = None
    source: str = ""
    uncertainty: float | None = None
    memory: int | None = None


@dataclass(frozen=True)
class Trial:
    """How an engine that was tried came to be measured.

    `bits` of a weight are its class of quality. `served`: it served before. `setup_seconds`: from the first task of
    its provision to the proof of its gate, delivery included; None where nothing was set up.
    """

    bits: int
    accelerator: str
    served: bool
    setup_seconds: float | None = None


@dataclass(frozen=True)
class Benched:
    """What came of one host. `notes`: what could not be measured, and why. `trial`: only of an engine that was tried.

    `tool_calls`: how many were well formed, and how many were asked for; None: none were.
    """

    host: str
    engine: str
    quantization: str
    release: str
    result: HostResult
    measured: Measured | None = None
    forecast: Forecast = Forecast()
    notes: tuple[str, ...] = ()
    tool_calls: tuple[int, int] | None = None
    trial: Trial | None = None

    def to_dict(self) -> dict[str, Any]:
        """The host's entry of the document; errors are shares of the measurement, above 0 for too much forecast."""
        found = self.measured
        memory = found.memory if found else None
        return {
            **{name: getattr(self, name) for name in ("host", "engine", "quantization", "release")},
            **{name: self.result.to_dict()[name] for name in ("outcome", "reason", "next_step")},
            "measured": asdict(found) if found else None,
            "forecast": asdict(self.forecast),
            "decode_error": _error(self.forecast.decode, found.decode if found else None),
            "memory_error": _error(self.forecast.memory, memory),
            "notes": list(self.notes),
            **({"trial": {**asdict(self.trial), "tool_calls": self._called()}} if self.trial else {}),
        }

    def _called(self) -> dict[str, int] | None:
        return dict(zip(("well_formed", "asked"), self.tool_calls, strict=True)) if self.tool_calls else None


def _error(forecast: float | None, measured: float | None) -> float | None:
    return round(forecast / measured - 1, 3) if forecast and measured else None


def entry(
    host: str,
    served: Receipt,
    benched: Sequence[Benched],
    back: HostResult | None,
    left_out: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """What was tried on a host: of all that was `benched` its fastest, overall and in each class of quality.

    `served` before; `back`: how the host came back to that, None where it never left it.
    """
    mine: list[dict[str, Any]] = [
        {"engine": one.engine, "quantization": one.quantization, "bits": one.trial.bits, "decode": one.measured.decode}
        for one in benched
        if one.host == host and one.measured and one.trial
    ]
    classes: dict[int, dict[str, Any]] = {}
    for row in sorted(mine, key=_decode, reverse=True):
        classes.setdefault(row["bits"], row)
    return {
        "host": host,
        "served": {name: getattr(served, name) for name in ("engine", "quantization", "release")},
        "back": back.to_dict() if back else None,
        "fastest": max(mine, key=_decode, default=None),
        "fastest_by_bits": [classes[bits] for bits in sorted(classes, reverse=True)],
        "left_out": list(left_out),
    }


def _decode(row: Mapping[str, Any]) -> float:
    return float(row["decode"])


def document(
    benched: Sequence[Benched],
    problems: Sequence[HostResult],
    wish: Wish,
    tried: Sequence[Mapping[str, Any]] = (),
    back: Iterable[HostResult] = (),
    interrupted: bool = False,
) -> dict[str, Any]:
    """The document `phi4-edge/bench-fleet/1` (schema: data/bench.schema.json).

    `tried`: entries of the hosts on which engines were tried, `back` how each of them came back to what served.
    """
    return {
        "format": FORMAT,
        "exit_code": exit_code([*(one.result for one in benched), *problems, *back], interrupted),
        "made_at": journal.now(),
        "asked": {"words": wish.load.words, "tokens": wish.load.tokens, "rounds": wish.load.rounds},
        "hosts": [one.to_dict() for one in benched],
        "problems": [result.to_dict() for result in problems],
        **({"tried": list(tried)} if tried else {}),
    }


def keep(found: Mapping[str, Any]) -> Path:
    """The document stays on this controller; returns where. Raises RecordError where there is no home."""
    folder = journal.state_root() / "bench"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{str(found['made_at']).replace(':', '')}.json"
    journal.write(path, found)
    return path
