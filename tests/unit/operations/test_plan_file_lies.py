"""What a reviewer has read is what is applied: no field of a plan file can say one thing and have another done."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.core.facts.digest import facts_digest
from phi4_edge.core.inventory import Host
from phi4_edge.core.plan import review
from phi4_edge.core.plan.naming import fingerprint_of, release_of, substance
from phi4_edge.errors import PreflightError
from phi4_edge.operations import plan_file
from phi4_edge.operations.plan import Planner, PlanSet, Seen, Source

HOSTS = Path(__file__).parents[2] / "fixtures" / "hosts"
FIXTURES = [path for path in sorted(HOSTS.glob("*.json")) if path.stem != "hostile"]
Json = dict[str, Any]


@pytest.fixture(scope="module")
def planner() -> Planner:
    return Planner({"phi-4-mini-instruct/onnx-int4": "c" * 64})


def planned(planner: Planner, document: Json, **variables: Any) -> PlanSet:
    made, _ = planner.decide_all([Seen("gw1", document, variables)])
    return PlanSet.of(made, (), Source.of(("hosts.ini",), None, [(Host("gw1"), variables)]))


@pytest.fixture(scope="module")
def facts() -> Json:
    found: Json = json.loads(next(path for path in FIXTURES if path.stem == "n150-8gb").read_text())
    return found


@pytest.fixture(scope="module")
def now(planner: Planner, facts: Json) -> PlanSet:
    return planned(planner, facts)


def sealed(document: Json) -> Json:
    """All digests made anew, as somebody who lies on purpose does."""
    for plan in document["plans"]:
        plan["digest"] = review.digest(plan)
    document["digest"] = review.digest(document)
    return document


def refused(tmp_path: Path, document: Json, now: PlanSet) -> str:
    """What is said of the document; "" when it would be applied."""
    path = tmp_path / "reviewed.json"
    path.write_text(json.dumps(document))
    try:
        return "\n".join(plan_file.differences(plan_file.read(path), now))
    except PreflightError as error:
        return str(error)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document that holds a value, and every list that could be emptied or added to."""
    if isinstance(value, dict) and value:
        for key, inside in value.items():
            yield from leaves(inside, (*path, key))
    else:
        yield path
        for index, inside in enumerate(value if isinstance(value, list) else ()):
            yield from leaves(inside, (*path, index))


def lie(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return "a" * 64 if re.fullmatch("[0-9a-f]{64}", value) else value + "x"
    if isinstance(value, list):
        return value[1:] if value else ["reviewed and fine"]
    return "x" if value is None else {**value, "x": 1}


def told(document: Json, path: tuple[Any, ...]) -> Json:
    """The document with a lie in one place."""
    changed = copy.deepcopy(document)
    inside: Any = changed
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = lie(inside[path[-1]])
    return changed


def test_the_file_as_it_was_printed_is_applied(tmp_path: Path, now: PlanSet) -> None:
    assert refused(tmp_path, now.to_dict(), now) == ""
    assert refused(tmp_path, sealed(now.to_dict()), now) == ""


def test_a_lie_in_any_field_is_refused(tmp_path: Path, now: PlanSet) -> None:
    document = now.to_dict()
    places = list(leaves(document))
    assert len(places) > 100
    for path in places:
        said = refused(tmp_path, told(document, path), now)
        assert said, f"a lie in {path} was taken"
        assert "Traceback" not in said
        if len(path) > 2 and path[0] == "plans" and path[2] not in ("host", "format"):
            assert "gw1" in said, (path, said)


# How a lie in a field is told that is not told by its name.
SAID = {
    "fingerprint": "not what its fingerprint says",
    "action": "would install",
    "steps": "would install",
    "facts_digest": "facts changed",
    "inventory_digest": "another address",
}


def test_a_lie_with_new_digests_is_refused_where_it_is_of_what_is_applied(tmp_path: Path, now: PlanSet) -> None:
    """What moves by itself cannot be held against the present, and nothing that is done follows from it."""
    document, taken = now.to_dict(), set()
    for path in leaves(document):
        if path[-1] == "digest" and path[-2:-1] not in (("model",), ("runtime",)):
            continue
        said = refused(tmp_path, sealed(told(document, path)), now)
        if not said:
            taken.add(".".join(str(key) for key in path[2:] if not isinstance(key, int)) or str(path[0]))
        elif len(path) > 2 and path[0] == "plans" and path[2] not in ("host", "format", "unit"):
            assert SAID.get(path[2], path[2]) in said, (path, said)
            assert "gw1" in said
    moving = {
        # The same hosts may come from another file in another order: each has an inventory digest of its own.
        *("inventory", "inventory_digest", "limit"),
        *("blockers", "candidates", "rejected", "missing", "nearest_profile"),
        # A sampled bandwidth never comes out the same, and nothing that is applied is made of it.
        *(
            f"forecast.{name}"
            for name in ("bandwidth", "decode_tokens_per_second", "measured", "source", "uncertainty")
        ),
        *("memory.available", "memory.held_by_others", "disk.available", "disk.free", "disk.to_write"),
        *("switch.port", "switch.down_seconds", "switch.reason", "switch.mode", "changes.before"),
    }
    assert {name for name in taken if not name.startswith(("candidates.", "rejected."))} <= moving


def smart(plan: Json) -> None:
    plan["fingerprint"] = fingerprint_of(plan)
    plan["release"] = release_of(plan["fingerprint"])


LIES: dict[str, Callable[[Json], object]] = {
    "the case": lambda plan: plan.update(
        knobs={"memory_max": 1, "threads": 1},
        model={**plan["model"], "digest": "a" * 64, "size": 1},
        content="0",
        runtime=None,
        release="r-000000000000",
        reasons=["reviewed and fine"],
        warnings=[],
    ),
    "no warnings": lambda plan: plan.update(warnings=[]),
    "a comforting reason": lambda plan: plan.update(reasons=["reviewed and fine"]),
    "another model with its fingerprint": lambda plan: (plan["model"].update(digest="a" * 64), smart(plan)),
    "another bind with its fingerprint": lambda plan: (plan.update(bind="0.0.0.0"), smart(plan)),
    "fewer steps": lambda plan: plan.update(steps=plan["steps"][1:]),
    "nothing to be done": lambda plan: plan.update(action="none", steps=[], changes=[]),
    "no fit": lambda plan: plan.update(fits=False, fingerprint=None, release=None),
    "not forced": lambda plan: plan.update(forced=True),
    "no driver": lambda plan: plan["install"].update(nvidia_driver=True),
    "a sentence as text": lambda plan: plan.update(warnings="none"),
    "an image that is a number": lambda plan: plan.update(image=7),
    "knobs that are a list": lambda plan: plan.update(knobs=[]),
    "escape codes": lambda plan: plan.update(engine="\x1b[2J\x1b]0;x\x07onnx"),
    "a text without end": lambda plan: plan.update(profile="x" * 100_000),
}


@pytest.mark.parametrize("resealed", [False, True], ids=["as it is", "with new digests"])
@pytest.mark.parametrize("name", LIES)
def test_lies_are_told_with_host_and_field(tmp_path: Path, now: PlanSet, name: str, resealed: bool) -> None:
    document = now.to_dict()
    LIES[name](document["plans"][0])
    said = refused(tmp_path, sealed(document) if resealed else document, now)
    assert "gw1" in said
    assert len(said) < 4000
    assert said.isprintable() or all(line.isprintable() for line in said.splitlines())


def test_the_case_names_every_field_that_lies(tmp_path: Path, now: PlanSet) -> None:
    document = now.to_dict()
    LIES["the case"](document["plans"][0])
    said = refused(tmp_path, document, now)
    assert "gw1: found a plan that was changed after it was made (its content is not what its digest says)" in said
    for field in ("knobs.memory_max 7314866176, was 1", "model.digest", "model.size", "content", "reasons", "warnings"):
        assert field in said
    assert "release r-" in said


def moved(document: Json, share: float, disk: float, used: int) -> Json:
    """The same machine at another moment."""
    sources = copy.deepcopy(document["sources"])
    total = int(re.search(r"MemTotal:\s+(\d+)", sources["meminfo"]["text"])[1])  # type: ignore[index]
    memory = re.sub(r"(MemAvailable:\s+)\d+", rf"\g<1>{int(total * share)}", sources["meminfo"]["text"])
    sources["meminfo"]["text"] = memory.replace(str(total), str(total - 12))
    lines = [line.split() for line in sources["disk"]["text"].splitlines()]
    sources["disk"]["text"] = "\n".join(
        " ".join([*line[:2], str(int(int(line[2]) * disk)), *line[3:]]) for line in lines
    )
    sources["listening"] = {"text": "127.0.0.1 22\n0.0.0.0 9090\n"}
    sources["reboot_required"] = {"text": "yes"}
    if "text" in sources.get("nvidia_smi", {}):
        rows = [line.split(", ") for line in sources["nvidia_smi"]["text"].splitlines()]
        rows = [[*row[:3], str(used), *row[4:]] if len(row) > 5 and row[3].isdigit() else row for row in rows]
        sources["nvidia_smi"]["text"] = "\n".join(", ".join(row) for row in rows)
    return {**document, "sources": sources}


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_what_moves_by_itself_makes_no_plan_stale(tmp_path: Path, planner: Planner, path: Path) -> None:
    document = json.loads(path.read_text())
    before = planned(planner, document)
    if not before.plans[0].fits:
        return
    compared = 0
    for share, disk, used in ((0.97, 1.0, 4), (0.5, 0.9, 300), (0.1, 0.7, 900)):
        after = planned(planner, moved(document, share, disk, used))
        same = substance(before.plans[0].to_dict()) == substance(after.plans[0].to_dict())
        if same and facts_digest(before.facts["gw1"]) == facts_digest(after.facts["gw1"]):
            compared += 1
            assert refused(tmp_path, before.to_dict(), after) == ""
    assert compared or path.stem in {"gateway-6gb", "container-6gb-of-24gb", "disk-5gb"}


def test_a_service_that_would_go_down_was_not_reviewed(tmp_path: Path, now: PlanSet) -> None:
    """That the old release goes on meanwhile is why a reviewer agrees; that memory is free by now is no harm."""
    document, after = now.to_dict(), now.to_dict()["plans"][0]
    after["switch"] = {"mode": "down", "port": 18080, "down_seconds": 90, "reason": "no memory"}
    reviewed = document["plans"][0]
    assert list(review.differences(reviewed, after)) == ["switch that goes down, was that goes on meanwhile"]
    assert list(review.differences(after, reviewed)) == []
