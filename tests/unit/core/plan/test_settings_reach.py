"""Under systemd, too, no knob is a wish: what a plan says is in the environment file and the unit of its release."""

from __future__ import annotations

from typing import Any

import pytest

from tests.standins import knobs_reach
from tests.unit.core.engines.test_ollama_store import asked
from tests.unit.core.release.test_release_files import NATIVE, ONNX, files, planned


def unreached(plan: dict[str, Any], text: dict[str, str], made: list[dict[str, Any]]) -> list[str]:
    return knobs_reach.unreached(plan, knobs_reach.of_unit(text["environment"], text["phi4-edge.service"], made))


@pytest.mark.parametrize("name", ONNX)
def test_every_knob_reaches_our_engine(name: str) -> None:
    plan = planned(name)
    assert unreached(plan.to_dict(), files(plan), []) == []


@pytest.mark.parametrize("name", NATIVE)
def test_every_knob_reaches_ollama(name: str) -> None:
    plan = planned(name, True)
    made = asked(plan={"knobs": plan.knobs})["requests"]
    assert unreached(plan.to_dict(), files(plan), made) == []


def test_where_there_are_two_gpus_ollama_has_the_planned_one_alone() -> None:
    plan = planned("two-gpus", True)
    assert plan.accelerator == "cuda" and plan.knobs
    assert f'CUDA_VISIBLE_DEVICES="{plan.knobs["gpu"]}"\n' in files(plan)["environment"]
