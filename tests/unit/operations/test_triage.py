"""Which hosts are changed, and what is said of the others."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.core.facts.parse import HostFacts, parse
from phi4_edge.core.facts.receipt import Receipt
from phi4_edge.core.facts.units import Service
from phi4_edge.errors import InventoryError
from phi4_edge.operations.plan import Planned, Planner, PlanSet, Seen, check_variables
from phi4_edge.operations.triage import triage
from phi4_edge.rollout.result import Outcome

FIXTURES = Path(__file__).parents[2] / "fixtures" / "hosts"
UP = Service("loaded", "active", "running", "enabled", 0, 7)


def document(name: str = "n150-8gb") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FIXTURES / f"{name}.json").read_text())
    return found


@pytest.fixture
def planner() -> Planner:
    return Planner({"phi-4-mini-instruct/onnx-int4": "ab" * 32})


def again(planner: Planner, facts: HostFacts) -> Planned:
    """The plan for facts that were changed by hand."""
    from phi4_edge.core.plan.decide import decide
    from phi4_edge.core.plan.overrides import Overrides

    return Planned(facts, decide(facts, planner.table, planner.catalog, Overrides(host="gw1"), planner.inputs))


def test_a_new_host_is_to_be_done(planner: Planner) -> None:
    found = triage({"gw1": planner.decide(Seen("gw1", document(), {}))})
    assert list(found.todo) == ["gw1"]
    assert found.settled == ()


def test_a_host_as_committed_is_left_alone(planner: Planner) -> None:
    first = planner.decide(Seen("gw1", document(), {}))
    receipt = Receipt(present=True, fingerprint=first.plan.fingerprint or "", release=first.plan.release or "")
    found = triage({"gw1": again(planner, dataclasses.replace(first.facts, receipt=receipt, service=UP))})
    assert [(result.outcome, result.release) for result in found.settled] == [(Outcome.UNCHANGED, first.plan.release)]


def test_what_stands_in_the_way_of_a_host_as_committed_is_told(planner: Planner) -> None:
    first = planner.decide(Seen("gw1", document(), {}))
    receipt = Receipt(present=True, fingerprint=first.plan.fingerprint or "", release=first.plan.release or "")
    found = again(planner, dataclasses.replace(first.facts, receipt=receipt, service=UP))
    found = dataclasses.replace(found, plan=dataclasses.replace(found.plan, blockers=("found no keys, needed some",)))
    (result,) = triage({"gw1": found}).settled
    assert (result.outcome, result.reason) == (Outcome.PREFLIGHT, "found no keys, needed some")


@pytest.mark.parametrize(
    ("name", "outcome", "reason"),
    [
        ("gateway-2gb", Outcome.NO_FIT, "RAM 1.9 GiB, needs 4 GB"),
        ("n150-8gb", Outcome.PREFLIGHT, "cannot be delivered"),
    ],
)
def test_a_host_that_cannot_be_changed_says_why(planner: Planner, name: str, outcome: Outcome, reason: str) -> None:
    wishes = {} if outcome is Outcome.NO_FIT else {"phi4_quantization": "int4_untied"}
    found = triage({"gw1": planner.decide(Seen("gw1", document(name), wishes))})
    assert found.todo == {}
    assert found.settled[0].outcome is outcome
    assert reason in found.settled[0].reason
    assert found.settled[0].next_step


def test_a_port_that_others_use_stands_in_the_way_before_anything_is_changed(planner: Planner) -> None:
    facts = dataclasses.replace(parse(document()), listening=(("127.0.0.1", 8080),))
    found = triage({"gw1": again(planner, facts)})
    assert found.settled[0].outcome is Outcome.PREFLIGHT
    assert "port 8080 is in use" in found.settled[0].reason


def test_a_run_that_was_killed_after_the_switch_and_before_its_receipt_is_gone_on_with(planner: Planner) -> None:
    facts = dataclasses.replace(parse(document()), listening=(("127.0.0.1", 8080),), mem_available=10**9, service=UP)
    assert list(triage({"gw1": again(planner, facts)}).todo) == ["gw1"]


def test_facts_that_cannot_be_used_are_a_result_and_no_plan(planner: Planner) -> None:
    plans, troubles = planner.decide_all([Seen("gw1", {"sources": {}}, {}), Seen("gw2", document(), {})])
    assert list(plans) == ["gw2"]
    assert [(result.host, result.outcome) for result in troubles] == [("gw1", Outcome.PREFLIGHT)]
    found = PlanSet(tuple(each.plan for each in plans.values()), tuple(troubles))
    assert found.exit_code == 3


def test_the_inventory_s_name_of_a_host_goes_over_what_it_says_of_itself(planner: Planner) -> None:
    assert planner.decide(Seen("gw1", {**document(), "host": "liar"}, {})).plan.host == "gw1"


def test_variables_are_checked_before_any_host_is_contacted() -> None:
    with pytest.raises(InventoryError, match="phi4_port"):
        check_variables([("gw1", {}), ("gw2", {"phi4_prt": 1})])


@pytest.mark.parametrize(
    ("started", "found", "step"),
    [
        ("init offline", "found that PID 1 is init (SysV init, OpenRC or BusyBox), needed systemd", "install a system"),
        ("runit missing", "found that PID 1 is runit, needed systemd", "install a system with systemd there"),
        ("tini missing", "found that PID 1 is tini, which is no init system, needed systemd", "/sbin/init"),
    ],
)
def test_a_host_without_systemd_is_not_told_to_choose_another_engine(
    planner: Planner, started: str, found: str, step: str
) -> None:
    facts = document()
    facts["sources"] |= {"init": {"text": started}, "docker": {"text": "28.5.2"}, "compose": {"text": "2.40.3"}}
    (result,) = triage({"gw1": planner.decide(Seen("gw1", facts, {}))}).settled
    assert result.outcome is Outcome.PREFLIGHT
    assert result.reason.startswith(found)
    assert step in result.next_step
    assert "phi4_engine" not in result.next_step
