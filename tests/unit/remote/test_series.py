"""What a host may answer to a series: one closed answer for each step, and no step behind one that ends it."""

from __future__ import annotations

from typing import Any

import pytest

from phi4_edge.errors import FactsError
from phi4_edge.remote import answers, series
from phi4_edge.remote.series import Step

RELEASED, INHERIT = ("lock", "lock", "release"), ("service", "release", "inherit")
STEPS = (Step(INHERIT, {}, needs={"complete": True}), Step(RELEASED, {"id": "x"}, {"release": (0, "changed")}))
WHOLE: dict[str, Any] = {"complete": True, "changed": False, "images": {}}


def test_answers_come_as_their_schemas_let_them_through() -> None:
    assert series.read(STEPS, "gw1", {"answers": [WHOLE, {"released": True}]}) == [WHOLE, {"released": True}]


def test_a_failure_and_an_unmet_need_end_it() -> None:
    assert series.read(STEPS, "gw1", {"answers": [{"error": "full"}]}) == [{"error": "full"}]
    short = {"complete": False, "changed": False, "images": {}}
    assert series.read(STEPS, "gw1", {"answers": [short]}) == [short]


@pytest.mark.parametrize(
    "document",
    [
        {}, {"answers": []}, {"answers": {}}, {"answers": [WHOLE, {"released": True}, {"released": True}]},
        {"answers": ["x"]}, {"answers": [WHOLE, None]}, {"answers": [WHOLE, {"released": 1}]},
        {"answers": [WHOLE, {"released": True}], "add_host": {}}, {"answers": [WHOLE]},
        {"answers": [{"error": "full"}, {"released": True}]},
        {"answers": [{"complete": False, "changed": False, "images": {}}, {"released": True}]}, {"error": "full"},
    ],
)  # fmt: skip
def test_anything_else_is_no_answer_of_ours(document: dict[str, Any]) -> None:
    with pytest.raises(FactsError, match="found an invalid answer from gw1"):
        series.read(STEPS, "gw1", document)


def test_what_the_host_is_told_and_what_it_may_take() -> None:
    assert STEPS[1].to_dict() == {
        "script": "lock/lock", "args": {"id": "x", "do": "release"}, "takes": {"release": [0, "changed"]}, "needs": {},
        "seconds": answers.OPERATIONS[RELEASED].seconds,
    }  # fmt: skip
    assert series.seconds(STEPS) == sum(answers.OPERATIONS[step.operation].seconds for step in STEPS)
    assert series.seconds([Step(RELEASED, {}, seconds=3.0)]) == 3.0
    assert series.size(STEPS * 100) == answers.LARGE
