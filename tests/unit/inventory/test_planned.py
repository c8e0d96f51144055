"""The inventory plugin phi4_edge.edge.planned, as Ansible itself and as our own commands read it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from phi4_edge import content, inventory
from phi4_edge.core.inventory import Host
from phi4_edge.core.plan import review
from phi4_edge.core.rollout import planned
from phi4_edge.errors import InventoryError
from phi4_edge.operations.plan import Planner, PlanSet, Seen, Source
from phi4_edge.rollout.result import HostResult, Outcome

pytestmark = pytest.mark.slow

HOSTS = Path(__file__).parents[2] / "fixtures" / "hosts"
KINDS = {"gw1": "n150-8gb", "gw2": "pi4-4gb", "gw3": "n150-8gb", "gw4": "gateway-2gb"}
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def reviewed() -> dict[str, Any]:
    """The document of a fleet: two kinds that fit, one that does not, one that was not reached."""
    seen = [Seen(host, json.loads((HOSTS / f"{kind}.json").read_text()), {}) for host, kind in KINDS.items()]
    made, _ = Planner({"phi-4-mini-instruct/onnx-int4": "c" * 64}).decide_all(seen)
    source = Source.of(["gw.ini"], None, [(Host(host), {}) for host in (*KINDS, "gw9")])
    return PlanSet.of(made, [HostResult("gw9", Outcome.UNREACHABLE, "no route", "look")], source).to_dict()


@pytest.fixture
def site(tmp_path: Path, reviewed: dict[str, Any]) -> Path:
    """A directory with the inventory, the reviewed plan, and a folder of inventories."""
    (tmp_path / "inventory").mkdir()
    names = "\n".join(f"{host} ansible_host=192.0.2.{number}" for number, host in enumerate([*KINDS, "gw9"], 1))
    (tmp_path / "inventory" / "1-gw.ini").write_text(f"[plant]\n{names}\n[plant:vars]\nsite=north\n")
    (tmp_path / "reviewed.json").write_text(json.dumps(reviewed))
    configure(tmp_path)
    return tmp_path


def configure(site: Path, **options: Any) -> None:
    document = {"plugin": "phi4_edge.edge.planned", "plan": "../reviewed.json", **options}
    (site / "inventory" / "2-planned.yml").write_text(yaml.safe_dump(document))


def ansible(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.defpath, "HOME": str(cwd), "LC_ALL": "C.UTF-8"}
    env |= {"ANSIBLE_COLLECTIONS_PATH": str(content.collections()), "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1"}
    argv = [str(BIN / words[0]), *map(str, words[1:])]
    return subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def listed(site: Path) -> dict[str, Any]:
    done = ansible("ansible-inventory", "-i", "inventory", "--list", cwd=site)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = plain(json.loads(done.stdout))
    return found


def plain(value: Any) -> Any:
    """Without the mark of ansible-core 2.19 for texts that are never templates."""
    if isinstance(value, dict):
        marked = set(value) == {"__ansible_unsafe"}
        return value["__ansible_unsafe"] if marked else {name: plain(each) for name, each in value.items()}
    return value


def groups(found: dict[str, Any]) -> dict[str, list[str]]:
    return {name: each["hosts"] for name, each in found.items() if isinstance(each, dict) and "hosts" in each}


def test_hosts_are_grouped_by_what_the_plan_says(site: Path) -> None:
    found = listed(site)
    assert groups(found) == {
        "plant": [*KINDS, "gw9"],
        "engine_onnx": ["gw1", "gw3"], "engine_ollama": ["gw2"],
        "profile_production_cpu": ["gw1", "gw3"], "profile_edge_optimized": ["gw2"],
        "action_install": ["gw1", "gw2", "gw3"],
        "wave_canary": ["gw1", "gw2"], "wave_1": ["gw3"],
        "problem_no_fit": ["gw4"], "problem_unreachable": ["gw9"],
    }  # fmt: skip
    variables = found["_meta"]["hostvars"]
    assert variables["gw3"]["phi4_plan_engine"] == "onnx"
    assert variables["gw3"]["phi4_plan_wave"] == "1"
    told = {name for each in variables.values() for name in each if name.startswith("phi4_")}
    assert told == set(planned.VARIABLES)


def test_what_ansible_constructs_is_constructed_too(site: Path) -> None:
    configure(
        site,
        prefix="phi4_", group_by=["engine", "wave"], canary="0", wave="2", strict=True,
        compose={"url": "site ~ ':' ~ phi4_plan_port | default(0)"},
        groups={"first": "phi4_plan_action | default('') == 'install'"},
        keyed_groups=[{"prefix": "port", "key": "phi4_plan_port | default(0) | string", "separator": "-"}],
    )  # fmt: skip
    found = listed(site)
    made = groups(found)
    assert made["phi4_engine_onnx"] == ["gw1", "gw3"]
    assert (made["phi4_wave_1"], made["phi4_wave_2"]) == (["gw1", "gw2"], ["gw3"])
    assert made["first"] == ["gw1", "gw2", "gw3"]
    # Ansible alone decides whether it makes a name of "-" one without.
    assert {name.replace("-", "_") for name in made} >= {"port_8080", "port_0"}
    assert not {name for name in made if name.startswith(("engine_", "profile_", "action_"))}
    assert found["_meta"]["hostvars"]["gw1"]["url"] == "north:8080"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"strict": True, "groups": {"x": "nobody.knows"}}, "nobody"),
        ({"group_by": ["colour"]}, "colour"),
        ({"plan": "../nowhere.json"}, "nowhere.json"),
        ({"wave": "0"}, "found a wave of 0, needed at least one host"),
        ({"wave": "some"}, "found some, needed a number of hosts"),
    ],
)
def test_a_mistake_in_the_file_is_explained(site: Path, options: dict[str, Any], said: str) -> None:
    configure(site, **options)
    done = ansible("ansible-inventory", "-i", "inventory", "--list", cwd=site)
    assert done.returncode != 0
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def sealed(document: dict[str, Any]) -> dict[str, Any]:
    """Digests made anew, as who lies on purpose does."""
    for plan in document["plans"]:
        plan[review.DIGEST] = review.digest(plan)
    return {**document, review.DIGEST: review.digest(document)}


LIES = {
    "another engine, its digests made anew": (
        lambda found: found["plans"][0].update(engine="vllm"), True, "not what its fingerprint says",
    ),
    "another engine": (lambda found: found["plans"][0].update(engine="vllm"), False, "changed after it was made"),
    "a field more": (lambda found: found["plans"][0].update(more=1), True, "differs from this release in: more"),
    "another format": (lambda found: found.update(format="x"), True, "found another document"),
    "a template": (
        lambda found: found["plans"][0].update(profile="{{ lookup('pipe', 'touch taken') }}"), True, "a plain word",
    ),
    "a host twice": (lambda found: found["plans"].append(found["plans"][0]), True, "needed each host once"),
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_a_plan_that_is_not_as_we_make_it_is_refused(site: Path, reviewed: dict[str, Any], name: str) -> None:
    change, again, said = LIES[name]
    document = json.loads(json.dumps(reviewed))
    change(document)
    (site / "reviewed.json").write_text(json.dumps(sealed(document) if again else document))
    with pytest.raises(InventoryError, match=said):
        inventory.load([str(site / "inventory")])
    assert not (site / "taken").exists()


@pytest.mark.parametrize("strict", [False, True])
def test_hosts_that_the_inventory_does_not_have(site: Path, strict: bool) -> None:
    (site / "inventory" / "1-gw.ini").write_text("gw1\n")
    configure(site, strict=strict)
    said: list[str] = []
    if strict:
        with pytest.raises(InventoryError, match=r"hosts in the plan that the inventory does not have \(gw2, gw3, gw4"):
            inventory.load([str(site / "inventory")])
        return
    (host,) = inventory.load([str(site / "inventory")], warn=said.append)
    assert host.name == "gw1"
    assert any("does not have (gw2, gw3, gw4, gw9)" in line for line in said)


def test_our_own_commands_take_it_and_plan_nothing_by_it(site: Path) -> None:
    said: list[str] = []
    hosts = inventory.load([str(site / "inventory")], limit="engine_onnx", warn=said.append)
    assert [host.name for host in hosts] == ["gw1", "gw3"]
    assert [dict(host.vars) for host in hosts] == [{}, {}]
    assert said == []


def test_it_is_documented(tmp_path: Path) -> None:
    done = ansible("ansible-doc", "-t", "inventory", "--json", "phi4_edge.edge.planned", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["phi4_edge.edge.planned"]
    options = found["doc"]["options"]
    assert {"plugin", "plan", "group_by", "prefix", "canary", "wave"} <= set(options)
    assert {"strict", "compose", "groups", "keyed_groups"} <= set(options)
    assert tuple(options["group_by"]["choices"]) == planned.GROUPED
    text = " ".join(found["doc"]["description"])
    assert [name for name in planned.VARIABLES if name not in text] == []
    for example in yaml.safe_load_all(found["examples"]):
        assert set(example) <= set(options)
