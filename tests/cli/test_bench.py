"""`phi4-edge bench` as far as it goes without a host."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from phi4_edge.core.facts.receipt import Receipt
from phi4_edge.operations import bench
from phi4_edge.operations.benched import Trial
from phi4_edge.operations.candidates import Candidate
from phi4_edge.operations.detect import Survey
from phi4_edge.operations.fleet import Fleet
from phi4_edge.operations.tryout import Trying, Tryout
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
        (["--engines", "olama"], "did you mean ollama?"),
        (["--engines", "ollama:q3"], "needed one of int4"),
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


@pytest.fixture
def proposed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """A host that serves onnx and may try ollama; what was run on it."""
    ran: list[str] = []
    candidates = (
        Candidate("onnx", "int4", "cpu", 4, served=True),
        Candidate("ollama", "q8_0", "cpu", 8, down_seconds=30),
    )
    serves = Receipt(True, engine="onnx", quantization="int4", release="r-0123456789ab")

    def run(one: Tryout) -> None:
        ran.append(",".join(one.hosts))
        trial = Trial(8, "cpu", served=False, setup_seconds=61.0)
        one.benched.append(dataclasses.replace(ROWS[0], tool_calls=(2, 2), trial=trial))
        one.back["gw1"] = HostResult("gw1", Outcome.DONE, release=serves.release)

    monkeypatch.setenv("PHI4_EDGE_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(Tryout, "look", lambda one, _: one.hosts.update(gw1=Trying(serves, candidates, ())))
    monkeypatch.setattr(Tryout, "run", run)
    return ran


def test_nothing_is_interrupted_without_consent(inventory: Path, invoke: Invoke, proposed: list[str]) -> None:
    done = invoke("bench", inventory, "--engines", "onnx,ollama")
    assert done.exit_code == 1 and proposed == []
    assert "needed one or --yes; nothing was changed" in done.output
    assert "ollama q8_0" in done.stderr and "1m00s" in done.stderr
    assert f"phi4-edge rollback {inventory} --limit gw1 --to r-0123456789ab" in done.stderr


def test_engines_are_tried_and_shown(inventory: Path, invoke: Invoke, proposed: list[str]) -> None:
    done = invoke("bench", inventory, "--engines", "onnx,ollama", "--yes")
    assert done.exit_code == 0 and proposed == ["gw1"]
    assert "gw1: fastest is onnx int4 with 9.52 tokens/s" in done.stdout
    assert "gw1: serves onnx int4, release r-0123456789ab again" in done.stdout
    assert "kept in" in done.stderr
    found = json.loads(invoke("bench", inventory, "--engines", "onnx,ollama", "--yes", "-o", "json").stdout)
    assert found["hosts"][0]["trial"]["tool_calls"] == {"well_formed": 2, "asked": 2}
