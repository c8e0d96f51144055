"""A host whose programs and state lie elsewhere: nothing that it gets names the standard directories."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from phi4_edge import data
from phi4_edge.core import layout
from phi4_edge.core.engines import units
from phi4_edge.core.facts import parse
from phi4_edge.core.layout import STANDARD, Layout
from phi4_edge.core.plan.decide import decide
from phi4_edge.core.plan.model import Plan
from phi4_edge.core.plan.overrides import Overrides
from phi4_edge.errors import FactsError, PreflightError
from phi4_edge.remote import release, shapes
from tests.unit.core.fixture_hosts import read
from tests.unit.core.held import whole

SCHEMA = Path(data.__file__).parent / "plan.schema.json"
THERE = Layout("/data/phi4", "/data/phi4-state")
NESTED = (Layout("/data/phi4", "/data/phi4/state"), Layout("/srv/phi4/programs", "/srv/phi4"))
DEPLOYED = [(engine, manager) for engine in ("onnx", "ollama") for manager in ("systemd", "compose")]
DEPLOYED.append(("vllm", "compose"))


def moved(there: Layout, name: str = "n150-8gb") -> dict[str, Any]:
    """The facts of a host that was looked at there."""
    text = json.dumps(read(name)).replace(STANDARD.state, there.state).replace(STANDARD.root, there.root)
    return {**json.loads(text), "layout": there.to_dict()}


def planned(there: Layout, engine: str = "onnx", manager: str = "systemd") -> dict[str, Any]:
    wishes = {"phi4_engine": engine, "phi4_service_manager": manager, "phi4_force": True, "webui_enabled": True}
    seen = parse.parse(moved(there) if there != STANDARD else read("n150-8gb"))
    overrides = Overrides.from_vars("gw1", {**wishes, **there.variables})
    made = decide(seen, data.load_table(), data.load_catalog(), overrides, whole({}, {"phi4-edge/onnx": "a" * 64}))
    assert made.engine == engine
    return made.to_dict()


def rendered(plan: dict[str, Any], there: Layout) -> dict[str, str]:
    """Every text that the host gets of a release and its rehearsal."""
    images = {"engine": "sha256:" + "1" * 64}
    waiting = {**plan, "switch": {**plan["switch"], "port": 18080}}
    found = {**release.staged(plan, images, there.root), **release.page(plan, images["engine"], 1 << 30, there.root)}
    return {**found, **{f"rehearsal {name}": text for name, text in
                        release.rehearsed(waiting, images, there.root).items()}}  # fmt: skip


@pytest.mark.parametrize(("engine", "manager"), DEPLOYED)
@pytest.mark.parametrize("there", [THERE, *NESTED])
def test_every_text_follows(there: Layout, engine: str, manager: str) -> None:
    plan = planned(there, engine, manager)
    texts = rendered(plan, there)
    # Inside our own image nothing moves: there the engine has its environment.
    texts = {name: text.replace("/opt/phi4-edge/engine/bin/python", "") for name, text in texts.items()}
    programs = {name: text for name, text in texts.items() if name.endswith((".py", ".jinja", ".sed"))}
    for name in texts.keys() - programs.keys():
        assert STANDARD.root not in texts[name] and STANDARD.state not in texts[name], (name, texts[name])
    assert f"{there.root}/releases/{plan['release']}" in texts["phi4-edge.service"]
    assert f"{there.state}/webui" in texts["webui.yml"]
    if manager == "compose":
        assert there.state in texts["compose.yml"]


@pytest.mark.parametrize(("engine", "manager"), DEPLOYED)
def test_a_release_elsewhere_is_another_one(engine: str, manager: str) -> None:
    names = {planned(there, engine, manager)["release"] for there in (STANDARD, THERE, *NESTED)}
    assert len(names) == 4
    assert len({planned(Layout(STANDARD.root, state))["release"] for state in (STANDARD.state, "/data/state")}) == 2


@pytest.mark.parametrize("engine", ["onnx", "ollama"])
def test_a_unit_sees_its_own_and_nothing_else_of_the_state(engine: str) -> None:
    def lines(there: Layout, name: str = "phi4-edge.service") -> list[str]:
        return rendered(planned(there, engine), there)[name].splitlines()

    tops = "/opt:ro /var/lib:ro /srv:ro /mnt:ro /media:ro"
    optional = "-" if engine == "ollama" else ""
    beside = {"ollama": "/stores", "onnx": "/repacked"}[engine]
    stores = " " + ("-" if engine == "onnx" else "")
    for there, more in ((STANDARD, ""), (THERE, f" {THERE.state}:ro"), (NESTED[0], f" {NESTED[0].state}:ro"),
                        (NESTED[1], "")):  # fmt: skip
        found = lines(there)
        assert f"TemporaryFileSystem={tops}{more}" in found
        assert f"BindReadOnlyPaths={there.root} {optional}{there.state}/models{stores}{there.state}{beside}" in found
    if engine == "ollama":  # what keeps its model loaded is a program below the root
        for there, bound in ((STANDARD, False), (THERE, False), (NESTED[0], False), (NESTED[1], True)):
            assert (f"BindReadOnlyPaths={there.root}" in lines(there, "phi4-edge-load.service")) is bound


def test_the_plan_says_where_and_only_where_that_is_not_standard() -> None:
    assert "layout" not in planned(STANDARD)
    plan = planned(THERE)
    assert plan["layout"] == THERE.to_dict()
    assert layout.of(plan) == THERE and layout.of(planned(STANDARD)) == STANDARD
    for document in (plan, planned(STANDARD)):
        Draft202012Validator(json.loads(SCHEMA.read_text())).validate(document)
        assert Plan.from_dict(document).to_dict() == document
    kept = json.loads(rendered(plan, THERE)["plan.json"])
    assert kept["layout"] == THERE.to_dict()
    assert shapes.KEPT_PLAN(kept)["layout"] == THERE.to_dict()
    for bad in ({"root": "/data/phi4"}, {"root": "/data/a b", "state": "/data/x"}, {"root": "/", "state": "/data/x"}):
        with pytest.raises(shapes.MismatchError):
            shapes.KEPT_PLAN({**kept, "layout": bad})


def test_a_plan_for_another_place_is_not_staged() -> None:
    with pytest.raises(PreflightError, match="found a plan for /data/phi4, needed one for phi4_root=/opt/phi4-edge"):
        release.staged(planned(THERE), {}, STANDARD.root)


def test_the_disk_that_counts_is_the_one_below_both() -> None:
    document = moved(THERE)
    lines = document["sources"]["disk"]["text"].replace(f"{THERE.state} ", "/data/other ").splitlines()
    total, device = 1 << 40, "77"
    document["sources"]["disk"] = {"text": "\n".join([*lines, f"{THERE.state} {total} 1000000 {device}"])}
    document["sources"].pop("disk_pool", None)
    facts = parse.parse(document)
    assert [disk.path for disk in facts.disks][:2] == [THERE.root, THERE.state]
    assert facts.disk(THERE.state).free == 1_000_000
    wishes = Overrides.from_vars("gw1", THERE.variables)
    made = decide(facts, data.load_table(), data.load_catalog(), wishes, whole({}, {}))
    said = json.dumps(made.to_dict())
    assert THERE.state in said and STANDARD.state not in said


@pytest.mark.parametrize("said", ["", [], {"root": "/data/x"}, {"root": "/etc/x", "state": "/data/x"},
                                  {"root": "/data/x", "state": "/data/x"}])  # fmt: skip
def test_facts_that_name_nonsense_are_none(said: Any) -> None:
    with pytest.raises(FactsError, match=r"Found the layout .*, needed root and state: "):
        parse.parse({**read("n150-8gb"), "layout": said})


def test_facts_of_another_place_are_in_the_way() -> None:
    wishes = Overrides.from_vars("gw1", THERE.variables)
    made = decide(parse.parse(read("n150-8gb")), data.load_table(), data.load_catalog(), wishes, whole({}, {}))
    assert made.blockers[0] == (
        "facts of another place, needed some with phi4_root=/data/phi4 and phi4_state=/data/phi4-state: "
        "look at the host again (phi4-edge detect)"
    )


def test_the_directory_of_a_release_is_the_plans() -> None:
    assert units.release_directory({"release": "r-1", "layout": THERE.to_dict()}) == "/data/phi4/releases/r-1"
    assert units.release_directory({"release": "r-1"}) == "/opt/phi4-edge/releases/r-1"
