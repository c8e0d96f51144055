"""A rollout executed by other machines: three gateways, two workers, one of which is killed in the middle."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from phi4_edge import lab as lab_room
from phi4_edge.lab import faults
from phi4_edge.lab.model import Lab
from tests.e2e import warm_engine, workers_site
from tests.e2e.gateway import Cli, Done, Gateway

pytestmark = [pytest.mark.e2e, pytest.mark.heavy]

GATEWAYS, WORKERS = ("gw1", "gw2", "gw3"), ("gw4", "gw5")
AT_ONCE = ("--canary", "0", "--wave", "100%", "--bake", "0", "--yes", "--output", "json")


@dataclass(frozen=True)
class Site:
    """Gateways that serve the tiny model, and machines near them that do the work."""

    lab: Lab
    cli: Cli
    inventory: Path

    def words(self, *more: str) -> list[str]:
        near = [word for name in WORKERS for word in ("--worker", workers_site.target(self.lab, name))]
        return ["provision", str(self.inventory), *near, *AT_ONCE, *more]

    def want(self, context: int, **near: str) -> None:
        """Every gateway's plan is a release that serves so many tokens; `near` says which worker it wants."""
        source = self.lab.inventory.read_text().splitlines()
        kept = [line for line in source if not line.startswith(WORKERS)]
        lines = [f"{name} phi4_worker={workers_site.target(self.lab, worker)}" for name, worker in near.items()]
        self.inventory.write_text("\n".join([*kept, f"phi4_context_length={context}", "[gateways]", *lines]) + "\n")

    def events(self, *more: str) -> Iterator[dict[str, Any]]:
        """What the command prints, as it prints it; it ends well."""
        with subprocess.Popen(
            self.cli.argv(*self.words(*more)), cwd=self.cli.home, env=self.cli.env, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                yield json.loads(line)
        assert process.returncode == 0

    def serving(self) -> dict[str, str]:
        """The committed release of each gateway, which answers."""
        found = {}
        for name in GATEWAYS:
            host = Gateway(self.lab, name)
            assert host.chat("Hello")["usage"]["completion_tokens"] > 0
            found[name] = str(host.receipt()["release"])
        return found

    def all_new(self, before: dict[str, str]) -> bool:
        """Whether every gateway serves another release than before."""
        return not set(self.serving().items()) & set(before.items())


@pytest.fixture(scope="module")
def site(ready: Cli, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    lab = lab_room.up(f"workers-{os.getpid()}", [lab_room.load_profiles().get("gateway-6gb")] * 5)
    try:
        warm_engine.bring(ready, lab)
        python = Gateway(lab, WORKERS[0]).sh("python3 -c 'import sys; print(\"%d.%d\" % sys.version_info[:2])'").strip()
        wheels = workers_site.wheels(tmp_path_factory.mktemp("wheels"), python)
        for name in WORKERS:
            workers_site.install(lab, name, wheels)
        home = tmp_path_factory.mktemp("workers")
        state = {"XDG_STATE_HOME": os.environ.get("XDG_STATE_HOME", str(Path.home() / ".local" / "state"))}
        cli = Cli(ready.store, home, {**workers_site.ssh_args(lab), **state, "PHI4_EDGE_STATE": str(home / "state")})
        yield Site(lab, cli, home / "inventory.ini")
    finally:
        lab_room.down(lab.name)


def left_on(worker: Gateway, key: Path) -> str:
    """What a run left on a worker: processes, private files, and the key that opens the gateways, anywhere."""
    secret = key.read_text().splitlines()[2]
    found = worker.sh("pgrep -af '[a]nsible|[p]hi4-edge' || true") + worker.sh("ls /dev/shm")
    # Not as an argument: sudo writes those into the journal, where the search would find them.
    return found + worker.sh("grep -rlF -f - / --exclude-dir=proc --exclude-dir=sys || true", stdin=secret)


def test_gateways_are_provisioned_by_workers_that_keep_nothing(site: Site) -> None:
    site.want(1024, gw1="gw4", gw2="gw5", gw3="gw5")
    done: Done = site.cli.run(*site.words(), timeout=900).expect(0)
    assert done.outcomes() == dict.fromkeys(GATEWAYS, "done")
    assert set(site.serving()) == set(GATEWAYS)
    for name in WORKERS:
        worker = Gateway(site.lab, name)
        assert left_on(worker, site.lab.key) == ""
        assert "tiny/onnx-int4" in worker.sh("cat ~gateway/.local/share/phi4-edge/store/index.json")
    again = site.cli.run(*site.words(), timeout=300).expect(0)
    assert set(again.outcomes().values()) == {"unchanged"}


@pytest.mark.full
def test_a_worker_that_is_killed_loses_no_gateway(site: Site) -> None:
    before = site.serving()
    site.want(1088, gw1="gw4", gw2="gw5", gw3="gw5")
    killed, notes, last = 0.0, list[str](), dict[str, Any]()
    for event in site.events():
        if not killed and event["event"] == "step" and event["host"] == "gw2" and event["role"] == "service":
            faults.power_off(site.lab, "gw5")
            killed = time.monotonic()
        notes += [event["text"]] if event["event"] == "note" else []
        last = event
    assert killed
    assert any("is given up" in text for text in notes)
    assert last["exit_code"] == 0
    assert {host["host"]: host["outcome"] for host in last["hosts"]} == dict.fromkeys(GATEWAYS, "done")
    assert site.all_new(before)
    for name in GATEWAYS:
        assert Gateway(site.lab, name).sh("ls /var/lib/phi4-edge/lock 2>/dev/null || true") == ""
    faults.power_on(site.lab, "gw5")


@pytest.mark.full
def test_without_any_worker_left_the_controller_goes_on(site: Site) -> None:
    before = site.serving()
    site.want(1152)
    killed = False
    last: dict[str, Any] = {}
    for event in site.events():
        if not killed and event["event"] == "step" and event["role"] == "onnx":
            for name in WORKERS:
                faults.power_off(site.lab, name)
            killed = True
        last = event
    assert {host["host"]: host["outcome"] for host in last["hosts"]} == dict.fromkeys(GATEWAYS, "done")
    assert site.all_new(before)
    for name in WORKERS:
        faults.power_on(site.lab, name)


def test_a_worker_that_is_something_else_is_refused_before_any_host_is_touched(site: Site) -> None:
    before = site.serving()
    site.want(1216)
    worker = Gateway(site.lab, "gw4")
    playbook = worker.sh(
        "ls /opt/worker/lib/python3*/site-packages/ansible_collections/phi4_edge/edge/playbooks/provision.yml"
    ).strip()
    worker.sh(f"cp {playbook} /var/tmp/kept && echo '# changed' >> {playbook}")
    refused = site.cli.run(*site.words(), timeout=120).expect(3)
    assert "found other files of phi4-edge" in refused.err
    worker.sh(f"cp /var/tmp/kept {playbook}")
    worker.sh("mv /usr/local/bin/phi4-edge /usr/local/bin/elsewhere")
    missing = site.cli.run(*site.words(), timeout=120).expect(3)
    assert "on which phi4-edge is installed" in missing.err
    assert site.serving() == before
