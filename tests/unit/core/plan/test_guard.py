"""What guards the port of an engine behind a gateway: what of it is drift, what a note, and what a repair says."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from phi4_edge.core.facts import parse
from phi4_edge.core.facts.status import classify
from phi4_edge.core.layout import GUARD_UNIT
from tests.unit.core.plan.test_gateway import ASKED, FRONT, INPUTS, UP, committed, held

Make = Callable[..., Any]


def guarded(plan: Make, document: Make, state: str, tried: str | None) -> Any:
    """A host that serves what is planned for it; its guard is in this state, and a user tried to get past it."""
    found = committed(plan, document, gateway=held())
    unit = FRONT.replace("gateway", "guard").replace("=active", f"={state}")
    found["sources"]["service"]["text"] = UP + FRONT + unit
    found["sources"]["guard"] = {"text": tried} if tried else {"gap": "missing", "detail": "no engine runs"}
    return found


@pytest.mark.parametrize(
    ("state", "tried", "problem"),
    [
        ("active", "closed", ""),
        ("active", None, ""),
        ("active", "nonsense\n", ""),
        ("active", "open", "without effect"),
        ("inactive", "open", "stopped"),
        ("inactive", None, "stopped"),
        ("failed", "open", ""),
        ("failed", None, ""),
    ],
)
def test_one_that_does_not_do_its_work_is_a_repair(
    document: Make, plan: Make, state: str, tried: str | None, problem: str
) -> None:
    made = plan(guarded(plan, document, state, tried), INPUTS, **ASKED)
    listed = [(one["before"], one["after"]) for one in made.changes if one["what"] == GUARD_UNIT]
    assert listed == ([(problem, "active, enabled")] if problem else [])
    assert made.action == ("repair" if problem else "none")
    assert made.switch.mode == "none", "no process of the release is started anew"


@pytest.mark.parametrize("state", ["active", "inactive", "failed"])
def test_where_it_fails_that_is_said_and_the_host_serves(document: Make, plan: Make, state: str) -> None:
    told = classify(parse.parse(guarded(plan, document, state, "open")), None)
    said = [note for note in told.notes if "reaches the engine without a key" in note]
    assert len(said) == (state == "failed")
    assert str(told.state) == ("serving" if state == "failed" else "drifted")
    if state != "failed":
        how = "stopped" if state == "inactive" else "without effect"
        assert f"{GUARD_UNIT} is {how}" in told.detail


def test_a_host_without_one_has_nothing_to_say_of_it(document: Make, plan: Make) -> None:
    found = committed(plan, document, gateway=held())
    found["sources"]["guard"] = {"text": "open"}
    facts = parse.parse(found)
    assert facts.service is not None and (facts.service.guard, facts.service.unguardable) == ("", False)
    assert plan(found, INPUTS, **ASKED).action == "none"
    assert json.dumps(classify(facts, None).notes) == "[]"
