"""A gateway's life, in order: clean, provisioned, nothing to do, changed, drifted, repaired, broken release, removed.

The tests of this file build on each other: a session lab is booted once, and each test leaves it serving.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from phi4_edge import lab as lab_room
from phi4_edge.artifacts.store.manifest import NAME, describe
from phi4_edge.artifacts.store.store import Store
from tests.e2e import warm_engine
from tests.e2e.fleet import rows
from tests.e2e.gateway import ROOT, Cli, Gateway, local_facts

pytestmark = pytest.mark.e2e

ENVIRONMENT = "/opt/phi4-edge/current/environment"


@pytest.fixture(scope="module")
def clean(gateways: list[Gateway]) -> dict[str, dict[str, str]]:
    """The hosts before phi4-edge has ever seen them."""
    return {gateway.name: gateway.tree() for gateway in gateways}


@pytest.fixture(scope="module")
def inventory(lab: lab_room.Lab, clean: dict[str, dict[str, str]]) -> Path:
    return lab.inventory


@pytest.fixture(scope="module")
def served(ready: Cli, inventory: Path, gateways: list[Gateway]) -> Cli:
    """All hosts provisioned from clean; the first one builds the engine as any new host does."""
    warm_engine.bring(ready, gateways[0].lab, *(gateway.name for gateway in gateways[1:]))
    done = ready.run("provision", inventory, "--yes", "--output", "json").expect(0)
    assert set(done.outcomes().values()) == {"done"}
    warm_engine.keep(ready, gateways[0].lab, gateways[0].name)
    return ready


def test_plan_of_a_clean_lab_says_what_will_change(ready: Cli, inventory: Path, gateways: list[Gateway]) -> None:
    done = ready.run("plan", inventory, "--output", "json", "--detailed-exitcode").expect(2)
    plans = {plan["host"]: plan for plan in json.loads(done.out)["plans"]}
    assert [plans[gateway.name]["profile"] for gateway in gateways] == [
        "edge_optimized",
        "production_cpu",
        "production_cpu",
    ]
    assert {plan["action"] for plan in plans.values()} == {"install"}


def test_check_mode_changes_nothing(ready: Cli, inventory: Path, gateways: list[Gateway]) -> None:
    before = [gateway.tree() for gateway in gateways]
    ready.run("provision", inventory, "--check", "--yes").expect(0)
    assert [gateway.tree() for gateway in gateways] == before


def test_service_runs_hardened_on_loopback_only(served: Cli, gateways: list[Gateway]) -> None:
    for gateway in gateways:
        assert gateway.sh("systemctl is-active phi4-edge").strip() == "active"
        assert gateway.sh("systemctl is-enabled phi4-edge").strip() == "enabled"
        listeners = {line.split()[3] for line in gateway.sh("ss -Hltn").splitlines()}
        assert {address for address in listeners if address.endswith(":8080")} == {"127.0.0.1:8080"}
        assert gateway.properties()["DynamicUser"] == "yes"
        assert gateway.sh("ps -o user= -p $(systemctl show -P MainPID phi4-edge)").strip() != "root"
        score = gateway.sh("systemd-analyze security --no-pager phi4-edge | tail -1")
        assert float(score.split("phi4-edge.service:")[1].split()[0]) <= 2.1, score


def test_every_managed_file_equals_the_receipt(served: Cli, gateways: list[Gateway]) -> None:
    for gateway in gateways:
        receipt = gateway.receipt()
        recorded = {entry["path"]: entry["sha256"] for entry in receipt["files"]}
        assert any(path.endswith("model.onnx.data") or path.endswith("model.onnx") for path in recorded)
        assert "/etc/systemd/system/phi4-edge.service" in recorded
        paths = "\0".join(recorded)
        lines = gateway.sh("xargs -0 sha256sum", stdin=paths).splitlines()
        assert dict(reversed(line.split(maxsplit=1)) for line in lines) == recorded


def test_other_peoples_plays_know_what_serves(
    served: Cli, inventory: Path, gateways: list[Gateway], tmp_path: Path
) -> None:
    found = local_facts(served, inventory, tmp_path)
    for gateway in gateways:
        receipt, fact = gateway.receipt(), found[gateway.name]["phi4_edge"]
        assert (fact.pop("format"), fact.pop("version")) == ("phi4-edge/fact/1", receipt["phi4_edge_version"])
        assert {"release", "engine", "model", "port"} <= set(fact)
        assert fact == {name: receipt[name] for name in fact}
        mode = gateway.sh("stat -c '%a %U:%G' /etc/ansible/facts.d/phi4_edge.fact").strip()
        assert mode == "644 root:root"


def test_ask_reaches_the_loopback_port_through_ssh(served: Cli, inventory: Path, gateways: list[Gateway]) -> None:
    done = served.run("ask", inventory, "What is a gateway?", "--max-tokens", "8").expect(0)
    for gateway in gateways:
        assert gateway.name in done.out + done.err
    assert len(done.out.strip()) > 20


def test_who_took_the_port_is_named_and_told_nothing(served: Cli, inventory: Path, gateways: list[Gateway]) -> None:
    """A user without rights, while the service is down: neither their socket nor their answer passes for the unit's."""
    bad, good = gateways[0], gateways[1]
    squat = "systemd-run --unit squat --uid nobody --collect python3 -m http.server 8080 --bind 127.0.0.1 --directory /"
    bad.sh(f"systemctl stop phi4-edge.socket phi4-edge.service; {squat}; sleep 2; systemctl is-active squat")
    try:
        done = served.run("ask", inventory, "Hello?", "--max-tokens", "4", "--limit", f"{bad.name},{good.name}").expect(
            4
        )
        told = bad.sh("journalctl -u squat -o cat | grep -c HTTP || true").strip()
    finally:
        bad.sh("systemctl stop squat; systemctl start phi4-edge.socket; systemctl start phi4-edge.service", code=None)
    assert f"{bad.name}: found that port 8080 of host {bad.name} is held by" in done.err
    assert "user nobody (uid 65534)" in done.err
    assert done.out.startswith(f"{good.name}: ")
    assert told == "0"
    served.run("status", inventory).expect(0)


def test_second_run_changes_nothing(served: Cli, inventory: Path, gateways: list[Gateway]) -> None:
    before = [(gateway.tree(), gateway.properties()["MainPID"]) for gateway in gateways]
    done = served.run("provision", inventory, "--yes").expect(0)
    assert "changed=0" in done.out + done.err
    assert [(gateway.tree(), gateway.properties()["MainPID"]) for gateway in gateways] == before
    served.run("plan", inventory, "--detailed-exitcode").expect(0)
    served.run("status", inventory).expect(0)


def test_plain_ansible_agrees_that_nothing_is_to_be_done(served: Cli, inventory: Path) -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "-i", inventory, ROOT / "playbooks" / "provision.yml"],
        cwd=ROOT,
        env=served.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("changed=0") == 3


@pytest.mark.full
def test_one_variable_changes_only_what_depends_on_it(
    served: Cli, inventory: Path, lab: lab_room.Lab, gateways: list[Gateway], tmp_path: Path
) -> None:
    host, others = gateways[0], gateways[1:]
    engine = host.sh(
        "readlink -f /opt/phi4-edge/current/engine; stat -c %Y.%i $(readlink -f /opt/phi4-edge/current/engine)"
    )
    model = host.sh("stat -Lc %Z.%i /opt/phi4-edge/current/model/*")
    pids = [gateway.properties()["MainPID"] for gateway in others]
    changed = tmp_path / "hosts.ini"
    address = f"ansible_host={lab.host(host.name).address}"
    changed.write_text(inventory.read_text().replace(address, f"{address} phi4_port=8090", 1))
    done = served.run("provision", changed, "--yes", "--output", "json").expect(0)
    assert {name for name, outcome in done.outcomes().items() if outcome == "done"} == {host.name}
    assert host.chat("Hello", port=8090)["choices"]
    assert ":8080 " not in host.sh("ss -Hltn")
    assert engine == host.sh(
        "readlink -f /opt/phi4-edge/current/engine; stat -c %Y.%i $(readlink -f /opt/phi4-edge/current/engine)"
    )
    assert model == host.sh("stat -Lc %Z.%i /opt/phi4-edge/current/model/*")
    assert pids == [gateway.properties()["MainPID"] for gateway in others]
    served.run("provision", inventory, "--yes", "--limit", host.name).expect(0)
    assert host.chat("Hello")["choices"]


# How the path of each managed file is found, and a service that was stopped by hand.
MANAGED = {
    "environment": f"readlink -f {ENVIRONMENT}",
    "model": "readlink -f /opt/phi4-edge/current/model/genai_config.json",
    "engine": "readlink -f $(find -L /opt/phi4-edge/current/engine/  -path '*phi4_engine/app.py' -print -quit)",
    "unit": "echo /etc/systemd/system/phi4-edge.service",
    "fact": "echo /etc/ansible/facts.d/phi4_edge.fact",
}
STOPPED = "stopped"
HARMS = (("model", "unit", STOPPED), ("environment", "engine", "fact"))


@pytest.mark.full
@pytest.mark.parametrize("harms", HARMS, ids=", ".join)
def test_drift_is_named_and_repaired(
    served: Cli, inventory: Path, gateways: list[Gateway], harms: tuple[str, ...]
) -> None:
    """Each on a host of its own."""
    before = [{entry["path"]: entry["sha256"] for entry in gateway.receipt()["files"]} for gateway in gateways]
    paths = []
    for host, harm in zip(gateways, harms, strict=True):
        paths.append("" if harm == STOPPED else host.sh(MANAGED[harm]).strip())
        host.sh(f"printf '\\n# by hand\\n' >> {paths[-1]}" if paths[-1] else "systemctl disable --now phi4-edge")
    status = served.run("status", inventory).expect(2)
    assert all(path in status.out for path in paths)
    document = json.loads(served.run("status", inventory, "--output", "json").expect(2).out)
    states = {entry["host"]: entry["state"] for entry in document["hosts"]}
    assert states == {
        host.name: STOPPED if harm == STOPPED else "drifted" for host, harm in zip(gateways, harms, strict=True)
    }
    done = served.run("provision", inventory, "--yes", "--output", "json").expect(0)
    assert set(done.outcomes().values()) == {"done"}
    for host, recorded, path in zip(gateways, before, paths, strict=True):
        assert {entry["path"]: entry["sha256"] for entry in host.receipt()["files"]} == recorded
        assert not path or host.sh(f"sha256sum {path}").split()[0] == recorded[path]
        assert host.sh("systemctl is-enabled phi4-edge").strip() == "enabled"
        assert host.chat("Hello")["choices"]
    served.run("status", inventory).expect(0)


def cut_weights(folder: Path) -> None:
    """Half of the weights are gone: the engine cannot load the model."""
    data = folder / "model.onnx.data"
    os.truncate(data, data.stat().st_size // 2)


def lose_an_input(folder: Path) -> None:
    """The graph wants an input that the engine does not know: its files are whole, and it cannot be run."""
    graph = folder / "model.onnx"
    named = graph.read_bytes()
    assert b"attention_mask" in named
    graph.write_bytes(named.replace(b"attention_mask", b"attention_musk"))


def broken_copy(store: Path, target: Path, damage: Callable[[Path], None]) -> Path:
    """A store whose tiny model has intact checksums and does not work: a conversion that went wrong unnoticed."""
    shutil.copytree(store, target, symlinks=True, ignore=shutil.ignore_patterns("environments", "tmp", "locks"))
    copy = Store(target)
    good = copy.manifest("tiny/onnx-int4")
    with copy.workspace("broken") as work:
        shutil.copytree(copy.path(good.digest), work / "model")
        (work / "model" / NAME).unlink()
        damage(work / "model")
        copy.adopt(work / "model", replace(good, files=describe(work / "model")))
    return target


@pytest.mark.parametrize("damage", rows((cut_weights, lose_an_input), (cut_weights,)))
def test_a_broken_model_is_rolled_back(
    served: Cli,
    store: Path,
    inventory: Path,
    gateways: list[Gateway],
    tmp_path: Path,
    damage: Callable[[Path], None],
) -> None:
    host = gateways[0]
    before = host.receipt()["release"]
    broken = Cli(broken_copy(store, tmp_path / "store", damage), served.home)
    done = broken.run("provision", inventory, "--yes", "--limit", host.name, "--output", "json").expect(4)
    assert done.outcomes() == {host.name: "rolled_back"}
    assert host.sh("basename $(readlink /opt/phi4-edge/current)").strip() == before
    assert host.chat("Hello")["choices"]
    served.run("status", inventory).expect(0)


def test_remove_leaves_the_host_as_it_was(
    served: Cli, inventory: Path, gateways: list[Gateway], clean: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    served.run("remove", inventory, "--yes").expect(0)
    assert local_facts(served, inventory, tmp_path) == {gateway.name: {} for gateway in gateways}
    for gateway in gateways:
        assert gateway.tree() == clean[gateway.name]
        assert gateway.properties()["ActiveState"] == "inactive"
        assert gateway.sh("systemctl --failed --no-legend").strip() == ""
    done = served.run("remove", inventory, "--yes").expect(0)
    assert "changed=0" in done.out + done.err
