"""`phi4-edge bench` as far as it goes without a host."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from phi4_edge.operations import bench
from phi4_edge.operations.detect import Survey
from phi4_edge.operations.fleet import Fleet
from phi4_edge.rollout.result import HostResult, Outcome
from tests.unit.operations.test_bench import ROWS

Invoke = Callable[..., Result]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--streams", "0"], "streams"),
        (["--tokens", "2"], "tokens"),
        (["--rounds", "x"], "rounds"),
        (["-o", "x"], "'x'"),
    ],
)
def test_a_wrong_wish_is_refused_before_any_host_is_contacted(
    words: list[str], message: str, inventory: Path, invoke: Invoke
) -> None:
    done = invoke("bench", inventory, *words)
    assert done.exit_code == 1
    assert message in done.output and "Traceback" not in done.output


def test_hosts_that_serve_nothing_are_told_how_to(
    inventory: Path, invoke: Invoke, facts: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = HostResult("gw2", Outcome.UNREACHABLE, "no route to host")
    monkeypatch.setattr(Fleet, "survey", lambda *_, **__: Survey({"gw1": facts("gw1")}, (lost,)))
    done = invoke("bench", inventory, "--output", "json")
    assert done.exit_code == 5
    found = json.loads(done.stdout)
    assert [(entry["host"], entry["outcome"]) for entry in found["problems"]] == [
        ("gw2", "unreachable"), ("gw1", "preflight"),
    ]  # fmt: skip


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PHI4_EDGE_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(bench, "bench", lambda *_: (list(ROWS[:2]), []))


@pytest.mark.usefixtures("measured")
def test_figures_are_shown_kept_and_drawn(inventory: Path, invoke: Invoke, tmp_path: Path) -> None:
    done = invoke("bench", inventory, "--plot", tmp_path / "speed.svg")
    assert done.exit_code == 0
    assert "gw-plant-2" in done.stdout and "9.52" in done.stdout
    assert "kept in" in done.stderr and len(list((tmp_path / "state" / "bench").iterdir())) == 1
    assert (tmp_path / "speed.svg").read_text().startswith("<svg")


@pytest.mark.usefixtures("measured")
def test_a_plot_that_cannot_be_written_is_an_error(inventory: Path, invoke: Invoke, tmp_path: Path) -> None:
    done = invoke("bench", inventory, "--plot", tmp_path / "no" / "speed.svg")
    assert done.exit_code == 1 and "cannot be written" in done.output and "Traceback" not in done.output
