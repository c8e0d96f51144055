"""A plan that was reviewed before its files were there: applied with the files, and with nothing else that is other."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.core.inventory import Host
from phi4_edge.core.plan import review
from phi4_edge.errors import PreflightError
from phi4_edge.operations import plan_file
from phi4_edge.operations.plan import Planner, PlanSet, Seen, Source

HOSTS = Path(__file__).parents[2] / "fixtures" / "hosts"
# Ollama on this board: its model, and the archive of its release.
HOST = "pi4-4gb"
MODEL, ENGINE = "phi-4-mini-instruct/gguf-q4_0", "ollama/0.35.0-aarch64-cpu"
FILES = {MODEL: "1" * 64, ENGINE: "2" * 64}
UP = "LoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled"
Json = dict[str, Any]


def planned(held: Mapping[str, str], sources: Mapping[str, str] | None = None, **variables: Any) -> PlanSet:
    """The plan of one host by a controller that holds these artifacts."""
    document: Json = json.loads((HOSTS / f"{HOST}.json").read_text())
    document["sources"] |= {name: {"text": text} for name, text in (sources or {}).items()}
    made, _ = Planner(held).decide_all([Seen("gw1", document, variables)])
    return PlanSet.of(made, (), Source.of(("hosts.ini",), None, [(Host("gw1"), variables)]))


def told(tmp_path: Path, reviewed: Json, now: PlanSet) -> str:
    """What is said of the reviewed plans; "" when they would be applied."""
    path = tmp_path / "reviewed.json"
    path.write_text(json.dumps(reviewed))
    try:
        return "\n".join(plan_file.differences(plan_file.read(path), now))
    except PreflightError as error:
        return str(error)


def test_it_is_applied_whichever_of_its_files_are_there_by_now(tmp_path: Path) -> None:
    reviewed = planned({})
    assert (reviewed.plans[0].release, reviewed.plans[0].awaits) == (None, (MODEL, ENGINE))
    for held in ({}, {MODEL: "1" * 64}, {ENGINE: "2" * 64}, FILES):
        assert told(tmp_path, reviewed.to_dict(), planned(held)) == ""


def test_what_was_known_then_is_compared(tmp_path: Path) -> None:
    reviewed = planned({MODEL: "1" * 64}).to_dict()
    assert told(tmp_path, reviewed, planned(FILES)) == ""
    found = told(tmp_path, reviewed, planned({**FILES, MODEL: "9" * 64}))
    assert found == (
        f"gw1: found a plan for a release without a name yet ({ENGINE} not here), needed a release without a name yet "
        f"({ENGINE} not here) as reviewed: knobs (store); model (digest)"
    )


def test_files_that_are_gone_since_may_come_back_as_others(tmp_path: Path) -> None:
    reviewed = planned(FILES)
    found = told(tmp_path, reviewed.to_dict(), planned({ENGINE: "2" * 64}))
    assert found.startswith(
        f"gw1: found a plan for a release without a name yet ({MODEL} not here), needed release "
        f"{reviewed.plans[0].release} as reviewed: "
    )


@pytest.mark.parametrize("held", [{}, FILES], ids=["without files", "with files"])
def test_another_setting_is_another_plan(tmp_path: Path, held: Mapping[str, str]) -> None:
    found = told(tmp_path, planned({}).to_dict(), planned(held, phi4_port=9000))
    assert "port 9000, was 8080" in found


def test_a_host_that_has_the_release_by_now_is_as_it_was_meant_to_be(tmp_path: Path) -> None:
    """As after a run with the same file that was cut short at another host."""
    before = planned(FILES).plans[0]
    body = {"format": "phi4-edge/receipt/1", "release": before.release, "plan_fingerprint": before.fingerprint}
    receipt = json.dumps({"present": True, "receipt": body, "drift": []})
    now = planned(FILES, {"receipt": receipt, "service": UP})
    assert now.plans[0].action == "none"
    assert told(tmp_path, planned({}).to_dict(), now) == ""


def renamed(plan: Json) -> None:
    plan.update(release="r-0123456789ab")


def known(plan: Json) -> None:
    plan["awaits"] = []


def fewer(plan: Json) -> None:
    plan["awaits"] = [MODEL]


def of_a_digest(plan: Json) -> None:
    plan["model"]["digest"] = "9" * 64


def in_words(plan: Json) -> None:
    next(each for each in plan["changes"] if each["what"] == "model digest")["after"] = "9" * 64


@pytest.mark.parametrize("lie", [renamed, known, fewer, of_a_digest, in_words])
@pytest.mark.parametrize("held", [{}, FILES], ids=["without files", "with files"])
def test_a_lie_about_what_is_not_known_is_refused(
    tmp_path: Path, held: Mapping[str, str], lie: Callable[[Json], None]
) -> None:
    document = planned({}).to_dict()
    document["plans"][0]["changes"].append({"what": "model digest", "before": None, "after": None})
    lie(document["plans"][0])
    for plan in document["plans"]:
        plan["digest"] = review.digest(plan)
    document["digest"] = review.digest(document)
    assert "gw1" in told(tmp_path, document, planned(held))
