"""What people see at 80 and at 200 columns, checked in as text. To accept a change, look at the difference after
`PHI4_EDGE_GOLDEN=write pytest tests/unit/report`."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.core.facts.parse import parse
from phi4_edge.core.plan.decide import Inputs, decide
from phi4_edge.core.plan.overrides import Overrides
from phi4_edge.core.rollout.words import VERBS
from phi4_edge.data import load_catalog, load_table
from phi4_edge.report import facts, plans, status, summary
from phi4_edge.report.text import cells

FIXTURES = Path(__file__).parents[2] / "fixtures" / "hosts"
GOLDEN = Path(__file__).parent / "golden"
HOSTS = ("n150-8gb", "pi4-4gb", "gateway-2gb", "xeon-rtx3060-driver570", "hostile")


def good(host: str, outcome: str, changed: int = 0, seconds: float = 0.0) -> dict[str, Any]:
    entry = {"host": host, "outcome": outcome, "reason": None, "next_step": None, "release": "r-1"}
    return {**entry, "changed": changed, "seconds": seconds}


RESULT: dict[str, Any] = {
    "exit_code": 4,
    "interrupted": False,
    "changed": 9,
    "counts": {"done": 1, "unchanged": 2, "failed": 1, "unreachable": 1},
    "hosts": [
        good("gw1", "done", changed=7, seconds=61.0),
        good("gw2", "unchanged"),
        good("gw3", "unchanged"),
        {
            "host": "gw4",
            "outcome": "failed",
            "reason": "found 1 GB free below /var/lib/phi4-edge, needed 2.4 GB for the model: \x1b[31mfree some space",
            "next_step": "fix the cause, then run again",
            "release": None,
            "changed": 2,
            "seconds": 3.2,
        },
        {
            "host": "gw5",
            "outcome": "unreachable",
            "reason": "found no way to 192.0.2.5:22 (No route to host)",
            "next_step": "check that it is on",
            "release": None,
            "changed": 0,
            "seconds": 0.0,
        },
    ],
}
STATUS: list[dict[str, Any]] = [
    {
        "host": name,
        "state": state,
        "release": "r-0123456789ab",
        "engine": "onnx",
        "quantization": "int4",
        "model": "phi-4-mini-instruct",
        "address": "127.0.0.1:8080",
        "committed_at": "2026-11-22T09:39:52Z",
        "detail": detail,
        "next_step": step,
        "drift": drift,
        "endings": endings,
        "notes": [],
    }
    for name, state, detail, step, drift, endings in (
        ("gw1", "serving", "", "", [], []),
        (
            "gw3",
            "serving",
            "",
            "",
            [],
            [
                "the service was restarted once, last at 2026-11-29T00:00:00Z",
                "the model's process was killed 3 times, once for lack of memory, last at 2026-11-29T00:00:01Z",
            ],
        ),
        (
            "gw4",
            "loading",
            "its model is not loaded: HTTP 500: model requires more system memory",
            "wait: it loads by itself; if it stays so, see journalctl -u phi4-edge -u phi4-edge-load on it",
            [],
            [],
        ),
        (
            "gw2",
            "drifted",
            "2 of 2464 managed files are not as committed",
            "repair it: phi4-edge provision INVENTORY --limit gw2",
            [
                {"path": "/opt/phi4-edge/releases/r-0123456789ab/environment", "problem": "changed"},
                {"path": "/etc/systemd/system/phi4-edge.service", "problem": "missing"},
            ],
            [],
        ),
    )
]  # fmt: skip


def documents() -> list[dict[str, Any]]:
    return [json.loads((FIXTURES / f"{name}.json").read_text()) for name in HOSTS]


def made_plans() -> list[dict[str, Any]]:
    table, catalog = load_table(), load_catalog()
    inputs = Inputs(
        artifacts={"phi-4-mini-instruct/onnx-int4": "ab" * 32},
        runtimes={"onnx": "cd" * 32, "phi4-edge/onnx": "cd" * 32},
    )
    return [decide(parse(doc), table, catalog, Overrides(), inputs).to_dict() for doc in documents()]


def plan_text(width: int) -> list[str]:
    made = made_plans()
    lines = plans.overview(made, width)
    for plan in made:
        lines += ["", *plans.explain(plan, width)]
    return [*lines, "", plans.totals(made, 1)]


def facts_text(width: int) -> list[str]:
    hosts = [parse(document).to_dict() for document in documents()]
    return [*facts.overview(hosts, width), "", *facts.gaps(hosts, width)]


TEXTS = {
    "plan": plan_text,
    "facts": facts_text,
    "summary": lambda width: summary.summary(RESULT, VERBS["provision"], width),
    "status": lambda width: [*status.overview(STATUS, width), *status.troubles(STATUS, width)],
}


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("name", list(TEXTS))
def test_what_people_see(name: str, width: int) -> None:
    lines = TEXTS[name](width)
    assert all(cells(line) <= width for line in lines)
    text = "\n".join(line.rstrip() for line in lines) + "\n"
    assert not [char for char in text if (char < " " and char != "\n") or "\x7f" <= char <= "\x9f"]
    text = re.sub(r"\br-[0-9a-f]{12}\b", "r-0123456789ab", text)  # the name changes with whatever a release is made of
    golden = GOLDEN / f"{name}-{width}.txt"
    if os.environ.get("PHI4_EDGE_GOLDEN") == "write":
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert golden.read_text() == text


def test_nothing_to_do_says_so_with_its_numbers() -> None:
    result = {**RESULT, "changed": 0, "counts": {"unchanged": 3}}
    assert summary.headline(result, VERBS["provision"]) == "nothing to do: 3 hosts up to date, changed=0"


def test_an_interruption_says_whether_anything_is_left() -> None:
    done = {**RESULT, "interrupted": True, "hosts": RESULT["hosts"][:1]}
    left = {**done, "hosts": [*done["hosts"], {**RESULT["hosts"][4], "outcome": "untouched"}]}
    assert summary.summary(done, VERBS["provision"], 200)[-1] == "interrupted: nothing was left to do"
    assert "run the same command again" in summary.summary(left, VERBS["provision"], 200)[-1]
