"""A reviewed plan: what is read, what makes it stale, and what does not."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from referencing import Registry, Resource

from phi4_edge.core.inventory import Host
from phi4_edge.core.plan.decide import Plan
from phi4_edge.data import SCHEMAS, schema
from phi4_edge.errors import PreflightError
from phi4_edge.operations import plan_file
from phi4_edge.operations.plan import Planner, PlanSet, Seen, Source
from phi4_edge.rollout.result import HostResult, Outcome

HOSTS = Path(__file__).parents[2] / "fixtures" / "hosts"
KINDS = {"gw1": "n150-8gb", "gw2": "pi4-4gb", "gw3": "rtx3060-no-driver"}
Facts = dict[str, Any]
Plans = Callable[..., PlanSet]
RESOURCES = [(f"{each}.schema.json", Resource.from_contents(schema(each))) for each in SCHEMAS]


@pytest.fixture(scope="module")
def planner() -> Planner:
    return Planner({"phi-4-mini-instruct/onnx-int4": "c" * 64})


@pytest.fixture(scope="module")
def documents() -> dict[str, Facts]:
    return {host: json.loads((HOSTS / f"{kind}.json").read_text()) for host, kind in KINDS.items()}


@pytest.fixture
def plans(planner: Planner, documents: dict[str, Facts]) -> Plans:
    """The plans of three hosts; `changed` replaces sources of some, `variables` go to gw1, `without` cannot be seen."""

    def make(
        changed: dict[str, dict[str, str]] | None = None,
        without: tuple[str, ...] = (),
        limit: str | None = None,
        names: tuple[str, ...] = tuple(KINDS),
        address: str = "192.0.2.1",
        **variables: Any,
    ) -> PlanSet:
        ours = {host: variables if host == "gw1" else {} for host in names}
        seen = []
        for host in names:
            document = copy.deepcopy(documents.get(host, documents["gw1"]))
            document["sources"] |= {name: {"text": text} for name, text in (changed or {}).get(host, {}).items()}
            seen.append(Seen(host, document, ours[host]))
        planned, troubles = planner.decide_all(each for each in seen if each.host not in without)
        problems = [*troubles, *(HostResult(host, Outcome.UNREACHABLE, "gone") for host in without)]
        entries = [(Host(host, address=address if host == "gw1" else host), ours[host]) for host in names]
        return PlanSet.of(planned, problems, Source.of(("hosts.ini",), limit, entries))

    return make


def reviewed(tmp_path: Path, made: PlanSet) -> plan_file.PlanFile:
    path = tmp_path / "reviewed.json"
    document = made.to_dict()
    registry: Registry[Any] = Registry().with_resources(RESOURCES)
    jsonschema.Draft202012Validator(schema("plans"), registry=registry).validate(document)
    path.write_text(json.dumps(document))
    return plan_file.read(path)


def test_what_was_decided_anew_since_is_held_against_the_review(tmp_path: Path, plans: Plans) -> None:
    """A driver that was installed may make another engine fit; digests of what was made since are no other plan."""
    file = reviewed(tmp_path, plans())
    now = plans().to_dict()["plans"]
    now[0]["model"]["digest"] = "d" * 64
    now[0]["fingerprint"] = "e" * 64
    assert plan_file.strayed(file, now) == {}
    now[1]["engine"] = "vllm"
    found = plan_file.strayed(file, now)
    assert list(found) == ["gw2"]
    assert "engine vllm, was " in found["gw2"]


def test_nothing_changed(tmp_path: Path, plans: Plans) -> None:
    file = reviewed(tmp_path, plans())
    assert plan_file.differences(file, plans()) == []
    assert (list(file.plans), file.inventory, file.limit) == (list(KINDS), ("hosts.ini",), None)


MOVES = {
    "meminfo": "MemTotal:        7930000 kB\nMemAvailable:    7200000 kB\n",
    "boot_id": "11111111-2222-3333-4444-555555555555",
    "listening": "127.0.0.1 22\n0.0.0.0 9090\n",
    "service": "LoadState=not-found\nActiveState=inactive\nUnitFileState=\nNRestarts=0\nMainPID=7\n",
    "reboot_required": "yes",
    "our_disk": "/opt/phi4-edge 12345\n/var/lib/phi4-edge 678\n",
}


@given(st.sets(st.sampled_from(sorted(MOVES)), min_size=1))
def test_what_moves_by_itself_makes_no_plan_stale(names: set[str]) -> None:
    from phi4_edge.core.facts.digest import facts_digest
    from phi4_edge.core.facts.parse import parse

    document = json.loads((HOSTS / "n150-8gb.json").read_text())
    document["sources"]["meminfo"] = {"text": "MemTotal: 7930004 kB\nMemAvailable: 1000000 kB\n"}
    before = facts_digest(parse(document))
    document["sources"] |= {name: {"text": MOVES[name]} for name in names}
    lines = document["sources"]["disk"]["text"].splitlines()  # path, total, free, device
    document["sources"]["disk"] = {
        "text": "\n".join(" ".join([*line.split()[:2], "7", *line.split()[3:]]) for line in lines)
    }
    assert facts_digest(parse(document)) == before


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("meminfo", "MemTotal: 3900000 kB\nMemAvailable: 3000000 kB\n"),
        ("cpu_affinity", "0"),
        ("hostname", "another"),
        ("uname", "Linux 6.12.0 aarch64"),
        ("os_release", "ID=debian\nVERSION_ID=11\n"),
        ("python", "3.9.2 /usr/bin/python3"),
        ("receipt", '{"present": true, "receipt": {"format": "phi4-edge/receipt/1", "release": "r-other"}}'),
        (
            "receipt",
            '{"present": true, "receipt": {"format": "phi4-edge/receipt/1"}, '
            '"drift": [{"path": "/etc/systemd/system/phi4-edge.service", "problem": "changed"}]}',
        ),
    ],
)
def test_another_machine_is_noticed(tmp_path: Path, plans: Plans, source: str, text: str) -> None:
    file = reviewed(tmp_path, plans())
    found = plan_file.differences(file, plans({"gw1": {source: text}}))
    assert found[0] == "gw1: found another machine or another release on it (facts changed) than was reviewed"
    assert all(line.startswith("gw1: ") for line in found)


def test_another_plan_is_told_in_its_parts(tmp_path: Path, plans: Plans) -> None:
    file = reviewed(tmp_path, plans())
    found = plan_file.differences(file, plans(phi4_context_length=512, phi4_port=9000))
    assert found[0] == "gw1: found another address or other phi4_ variables in the inventory than were reviewed"
    assert "needed release" in found[1]
    assert "context_length 512, was " in found[1] and "port 9000, was 8080" in found[1]


def test_another_address_is_another_host(tmp_path: Path, plans: Plans) -> None:
    found = plan_file.differences(reviewed(tmp_path, plans()), plans(address="192.0.2.9"))
    assert found == ["gw1: found another address or other phi4_ variables in the inventory than were reviewed"]


def test_hosts_that_came_or_went(tmp_path: Path, plans: Plans) -> None:
    file = reviewed(tmp_path, plans())
    assert plan_file.differences(file, plans(names=("gw1", "gw3"))) == [
        "found no gw2 in the inventory, needed every host that was reviewed"
    ]
    assert plan_file.differences(file, plans(names=(*KINDS, "gw4"))) == [
        "found gw4 in the inventory, needed only hosts that were reviewed"
    ]
    assert plan_file.differences(file, plans(names=("gw1",), limit="gw1")) == [
        "found --limit gw1, needed no --limit, with which the plan was reviewed"
    ]
    limited = reviewed(tmp_path, plans(names=("gw1",), limit="gw1"))
    assert plan_file.differences(limited, plans(names=("gw1",), limit="~gw1$")) == []
    assert plan_file.differences(limited, plans()) == [
        "found no --limit, needed --limit gw1, with which the plan was reviewed"
    ]


def test_hosts_that_nobody_could_look_at(tmp_path: Path, plans: Plans) -> None:
    file = reviewed(tmp_path, plans(without=("gw2",)))
    assert plan_file.differences(file, plans(without=("gw2",))) == []
    assert plan_file.differences(file, plans()) == [
        "gw2: found a plan, needed one that was reviewed: it could not be probed then"
    ]
    # Lost since: nothing is done to it, and the rollout counts it.
    assert plan_file.differences(reviewed(tmp_path, plans()), plans(without=("gw2",))) == []


def test_a_host_that_has_it_already_is_as_it_was_meant_to_be(tmp_path: Path, plans: Plans) -> None:
    before = plans()
    file = reviewed(tmp_path, before)
    release = {"format": "phi4-edge/receipt/1", "release": before.plans[0].release}
    changed = {"gw1": {"receipt": json.dumps({"present": True, "receipt": release})}}
    after = plans(changed)

    def doing(action: str, steps: tuple[str, ...]) -> PlanSet:
        first: Plan = replace(after.plans[0], fingerprint=before.plans[0].fingerprint, action=action, steps=steps)
        return replace(after, plans=(first, *after.plans[1:]))

    assert plan_file.differences(file, doing("none", ())) == []
    assert any("facts changed" in line for line in plan_file.differences(file, doing("repair", ("onnx",))))
    same = replace(doing("repair", ("onnx",)), facts=before.facts)
    assert plan_file.differences(file, same) == [
        f"gw1: found that it would repair (onnx), needed install ({', '.join(before.plans[0].steps)}) as reviewed"
    ]


def test_a_model_that_was_made_since_is_named(tmp_path: Path, plans: Plans) -> None:
    before, after = plans(), plans()
    first = after.plans[0]
    assert first.model is not None
    other = replace(first, fingerprint="0" * 64, release="r-000000000000", model=replace(first.model, digest="d" * 64))
    found = plan_file.differences(reviewed(tmp_path, before), replace(after, plans=(other, *after.plans[1:])))
    assert found == [
        f"gw1: found a plan for release r-000000000000, needed release {before.plans[0].release} as reviewed: "
        "model (digest)"
    ]


def test_the_error_names_the_file_and_the_way_out(tmp_path: Path, plans: Plans) -> None:
    file = reviewed(tmp_path, plans())
    error = plan_file.refuse(file, [f"gw{number}: found x, needed y" for number in range(30)])
    assert error.exit_code == 3
    first, second, *_, more, last = str(error).split("\n")
    assert first.endswith("reviewed.json cannot be applied as it was reviewed, and nothing was changed:")
    assert (second, more, last) == ("  gw0: found x, needed y", "  and 10 more", plan_file.AGAIN)


def test_plans_without_an_inventory_are_not_applied(tmp_path: Path, plans: Plans) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(replace(plans(), source=None).to_dict()))
    with pytest.raises(PreflightError, match="made without an inventory"):
        plan_file.read(path)
    file = reviewed(tmp_path, plans())
    assert plan_file.differences(file, replace(plans(), source=None)) != []


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", '{"format": "phi4-edge/plan/1"}', "\ufeff{}", '{"format": "phi4-edge/plans/1"}']
)
def test_what_is_no_plan_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(PreflightError, match=r"x\.json: .*found .*needed a plan of format phi4-edge/plans/1"):
        plan_file.read(path)
    with pytest.raises(PreflightError, match="cannot be read"):
        plan_file.read(tmp_path)


@given(st.data())
def test_a_document_that_lacks_something_is_refused_and_no_traceback(data: st.DataObject) -> None:
    import tempfile

    whole = json.loads(_whole_document())
    target: dict[str, Any] = data.draw(st.sampled_from([whole, whole["plans"][0], whole["problems"][0]]))
    key = data.draw(st.sampled_from(sorted(target)))
    junk = data.draw(st.sampled_from([None, 7, [], {}, [None], [7], "x"]))
    target[key] = junk
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.json"
        path.write_text(json.dumps(whole))
        try:
            assert isinstance(plan_file.read(path).plans, dict)
        except PreflightError as error:
            assert "needed a plan of format" in str(error)


_WHOLE: list[str] = []


def _whole_document() -> str:
    if not _WHOLE:
        document = json.loads((HOSTS / "n150-8gb.json").read_text())
        planned, _ = Planner({}).decide_all([Seen("gw1", document, {})])
        source = Source.of(("hosts.ini",), None, [(Host("gw1"), {}), (Host("gw2"), {})])
        made = PlanSet.of(planned, [HostResult("gw2", Outcome.UNREACHABLE, "gone")], source)
        _WHOLE.append(json.dumps(made.to_dict()))
    return _WHOLE[0]
