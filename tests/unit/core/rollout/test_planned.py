"""What an inventory may tell of reviewed plans."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from phi4_edge.core.plan.decide import Plan
from phi4_edge.core.plan.overrides import EXTRA, PASSED
from phi4_edge.core.plan.overrides import VARIABLES as WISHES
from phi4_edge.core.rollout import planned
from phi4_edge.core.rollout.waves import Size
from phi4_edge.errors import FactsError
from phi4_edge.operations.plan import Planned
from phi4_edge.operations.triage import triage

FIFTH = Size(20, percent=True)


@pytest.fixture
def plans(document: Callable[..., Any], plan: Callable[..., Plan]) -> dict[str, Plan]:
    kinds = {"gw1": "n150-8gb", "gw2": "pi4-4gb", "gw3": "n150-8gb", "gw4": "gateway-2gb", "gw5": "musl-alpine"}
    return {host: replace(plan(document(kind)), host=host) for host, kind in kinds.items()}


def told(plans: dict[str, Plan], canary: Size | None = None, wave: Size = FIFTH) -> dict[str, dict[str, planned.Value]]:
    return planned.variables(plans, {"gw9": "unreachable"}, canary, wave)


def test_the_variables_of_each_kind_of_host(plans: dict[str, Plan]) -> None:
    found = told(plans)
    assert found["gw1"] == {
        "phi4_plan_engine": "onnx", "phi4_plan_profile": "production_cpu", "phi4_plan_quantization": "int4",
        "phi4_plan_accelerator": "cpu", "phi4_plan_service_manager": "systemd",
        "phi4_plan_model": "phi-4-mini-instruct", "phi4_plan_action": "install",
        "phi4_plan_release": plans["gw1"].release, "phi4_plan_bind": "127.0.0.1",
        "phi4_plan_port": 8080, "phi4_plan_context_length": 4096, "phi4_plan_fits": True, "phi4_plan_ready": True,
        "phi4_plan_wave": "canary",
    }  # fmt: skip
    assert found["gw4"] == {"phi4_plan_fits": False, "phi4_plan_ready": False, "phi4_plan_problem": "no_fit"}
    assert found["gw5"]["phi4_plan_problem"] == "preflight"  # no systemd
    assert found["gw9"] == {"phi4_plan_ready": False, "phi4_plan_problem": "unreachable"}
    assert {name for each in found.values() for name in each} == set(planned.VARIABLES)


def test_the_list_of_variables_is_closed_and_none_of_it_is_a_wish(plans: dict[str, Plan]) -> None:
    assert len(set(planned.VARIABLES)) == len(planned.VARIABLES)
    assert not set(planned.VARIABLES) & {*WISHES, *PASSED, *EXTRA}
    assert {name.removeprefix(planned.PREFIX) for name in planned.VARIABLES} >= set(planned.GROUPED)


@pytest.mark.parametrize(
    ("canary", "wave", "waves"),
    [
        (None, FIFTH, {"gw1": "canary", "gw2": "canary", "gw3": "1"}),
        (Size(0), Size(1), {"gw1": "1", "gw2": "2", "gw3": "3"}),
        (Size(0), Size(2), {"gw1": "1", "gw2": "1", "gw3": "2"}),
        (Size(1), Size(100, percent=True), {"gw1": "canary", "gw2": "1", "gw3": "1"}),
    ],
)
def test_waves_are_those_of_a_rollout(
    plans: dict[str, Plan], canary: Size | None, wave: Size, waves: dict[str, str]
) -> None:
    found = told(plans, canary, wave)
    assert {host: each["phi4_plan_wave"] for host, each in found.items() if "phi4_plan_wave" in each} == waves


@pytest.mark.parametrize(
    "change",
    [
        {}, {"action": "none"}, {"blockers": ("port 8080 is in use",)}, {"applicable": False}, {"fits": False},
        {"action": "none", "blockers": ("disk",)}, {"action": "repair"}, {"applicable": False, "action": "none"},
    ],
)  # fmt: skip
def test_who_is_changed_is_who_provision_would_change(plans: dict[str, Plan], change: dict[str, Any]) -> None:
    made = replace(plans["gw1"], **change)
    sorting = triage({"gw1": Planned(None, made)})  # type: ignore[arg-type]
    assert planned.to_be_changed(made) == ("gw1" in sorting.todo)
    settled = [result.outcome for result in sorting.settled if result.outcome.value != "unchanged"]
    assert ([planned.problem(made)] if planned.problem(made) else []) == settled


@pytest.mark.parametrize(
    ("by", "prefix", "names"),
    [
        (("engine", "profile", "action", "wave", "problem"), "",
         ["engine_onnx", "profile_production_cpu", "action_install", "wave_canary"]),
        (("wave", "engine"), "phi4_", ["phi4_wave_canary", "phi4_engine_onnx"]),
        (("model", "quantization"), "", ["model_phi_4_mini_instruct", "quantization_int4"]),
        (("problem",), "", []),
        (("engine",), "a-b.", ["a_b_engine_onnx"]),
        ((), "", []),
    ],
)  # fmt: skip
def test_groups_have_names_that_need_no_quotes(
    plans: dict[str, Plan], by: tuple[str, ...], prefix: str, names: list[str]
) -> None:
    assert planned.groups(told(plans)["gw1"], by, prefix) == names


@pytest.mark.parametrize(
    "change",
    [
        {"engine": "{{ lookup('pipe', 'id') }}"}, {"bind": "{% if x %}"}, {"release": "r-1\nansible_host: x"},
        {"profile": ["a"]}, {"port": "8080; id"}, {"quantization": "x" * 500}, {"accelerator": "\x1b[31m"},
    ],
)  # fmt: skip
def test_what_is_no_word_of_ours_is_refused(plans: dict[str, Plan], change: dict[str, Any]) -> None:
    made = replace(plans["gw1"], **change)
    with pytest.raises(FactsError, match=r"found \w+ .* in the plan of host gw1, needed a plain word or a number"):
        planned.variables({"gw1": made}, {}, None, FIFTH)


def test_an_outcome_that_is_no_word_is_refused(plans: dict[str, Plan]) -> None:
    with pytest.raises(FactsError, match="problem"):
        planned.variables({}, {"gw1": "{{ x }}"}, None, FIFTH)
