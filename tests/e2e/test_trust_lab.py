"""A gateway that trusts a key takes what that key signed, and nothing else from whoever reaches it over ssh.

The tests build on each other.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from phi4_edge import lab as lab_room
from phi4_edge.artifacts.store import files, manifest
from phi4_edge.artifacts.store.manifest import Manifest
from phi4_edge.artifacts.store.store import Store
from tests.e2e.gateway import Cli, Gateway

pytestmark = pytest.mark.e2e

MODEL = "tiny/onnx-int4"
TRUST = "/var/lib/phi4-edge/trust/trust.json"


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    name = f"trust-{os.getpid()}"
    made = lab_room.up(name, [lab_room.load_profiles().get("gateway-6gb")])
    try:
        yield Gateway(made, "gw1")
    finally:
        lab_room.down(name)


@pytest.fixture(scope="module")
def gateways(gateway: Gateway) -> list[Gateway]:
    return [gateway]


@pytest.fixture(scope="module")
def clean(gateway: Gateway) -> dict[str, str]:
    return gateway.tree()


@pytest.fixture(scope="module")
def site(ready: Cli, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A controller with a store and settings of its own, which trusts one key."""
    folder = tmp_path_factory.mktemp("site")
    for name in ("old", "new"):
        made = ["minisign", "-G", "-W", "-p", folder / f"{name}.pub", "-s", folder / f"{name}.key"]
        subprocess.run(made, check=True, capture_output=True)
    shutil.copytree(ready.store, folder / "store", symlinks=True)
    cli = Cli(folder / "store", folder, ready.extra)
    cli.run("trust", "add", folder / "old.pub", "--name", "release").expect(0)
    return cli


def inventory(site: Cli, gateway: Gateway, port: int = 8080) -> Path:
    """The inventory with another port, so that there is something to do."""
    path = site.home / f"gateways-{port}.ini"
    path.write_text(f"{gateway.lab.inventory.read_text()}\n[all:vars]\nphi4_engine=onnx\nphi4_port={port}\n")
    return path


def untrusting(site: Cli) -> Cli:
    """The same controller in the hands of somebody who does not care for keys."""
    (site.home / "hostile").mkdir(exist_ok=True)
    return Cli(site.store, site.home / "hostile", site.extra)


def state(gateway: Gateway) -> str:
    """All that is on the host."""
    return json.dumps(gateway.tree(), sort_keys=True)


def test_a_key_is_told_once(site: Cli, gateway: Gateway, clean: dict[str, str]) -> None:
    done = site.run("trust", "push", gateway.lab.inventory, "--yes").expect(0)
    assert "changed=1" in done.out
    assert "changed=0" in site.run("trust", "push", gateway.lab.inventory, "--yes").expect(0).out
    assert gateway.sh(f"stat -c '%a %U' {TRUST}").strip() == "600 root"


def test_another_key_is_refused_without_a_rotation(site: Cli, gateway: Gateway) -> None:
    other = untrusting(site)
    other.run("trust", "add", site.home / "new.pub").expect(0)
    before = state(gateway)
    done = other.run("trust", "push", gateway.lab.inventory, "--yes").expect(4)
    assert "another key is taken only with a rotation" in " ".join(done.out.split())
    assert state(gateway) == before
    shutil.rmtree(site.home / "hostile" / "config")


def test_what_nobody_signed_is_refused_and_nothing_changed(site: Cli, gateway: Gateway) -> None:
    before = state(gateway)
    done = site.run("provision", inventory(site, gateway), "--yes", "--output", "json").expect(4)
    assert done.outcomes() == {"gw1": "failed"}
    assert "takes only what one of them signed" in done.out
    assert state(gateway) == before


def test_what_was_signed_is_taken_and_a_second_run_changes_nothing(site: Cli, gateway: Gateway) -> None:
    listed = inventory(site, gateway)
    site.run("bundle", "create", listed, "--sign", site.home / "old.key", "-o", "fleet.tar", timeout=1800).expect(0)
    assert "signed by" in site.run("bundle", "verify", "fleet.tar").expect(0).err
    done = site.run("provision", listed, "--bundle", "fleet.tar", "--yes", "--output", "json").expect(0)
    assert done.outcomes() == {"gw1": "done"}
    again = site.run("provision", listed, "--bundle", "fleet.tar", "--yes", "--output", "json").expect(0)
    assert [host["changed"] for host in again.result["hosts"]] == [0]


def test_an_older_bundle_is_refused_here_and_there(site: Cli, gateway: Gateway) -> None:
    listed = inventory(site, gateway, 8081)
    signed = ("--sign", site.home / "old.key", "--counter", "1", "-o", "old.tar")
    site.run("bundle", "create", listed, *signed).expect(0)
    assert "is older than" in site.run("bundle", "verify", "old.tar").expect(3).err
    before, other = state(gateway), untrusting(site)
    own = dataclasses.replace(other, store=site.home / "hostile" / "store")
    done = own.run("provision", listed, "--bundle", site.home / "old.tar", "--yes", "--output", "json").expect(4)
    assert "is older than what this host accepted before" in done.out
    assert state(gateway) == before


def test_other_content_does_not_pass_for_what_was_signed(site: Cli, gateway: Gateway) -> None:
    # A mirror or store that was taken over: the newest statement is there, and the model is another one.
    own = Store(site.home / "hostile" / "swapped")
    shutil.copytree(site.store, own.root, symlinks=True)
    with own.workspace("swap") as work:
        shutil.copytree(own.path(own.digest(MODEL)), work / "model")
        (work / "model" / "notes.txt").write_text("other content")
        (work / "model" / manifest.NAME).unlink()
        held = own.manifest(MODEL)
        own.adopt(work / "model", Manifest(MODEL, manifest.describe(work / "model"), held.licence, held.source))
    files.sync_folder(own.root)
    hostile = dataclasses.replace(untrusting(site), store=own.root)
    before = state(gateway)
    done = hostile.run("provision", inventory(site, gateway), "--yes", "--output", "json").expect(4)
    assert "is not named in what was signed for this host" in done.out
    assert state(gateway) == before


def test_keys_change_with_a_bundle_and_the_old_one_is_worth_nothing(site: Cli, gateway: Gateway) -> None:
    listed = inventory(site, gateway, 8082)
    rotation = site.home / "rotation.json"
    site.run(
        "trust", "rotate", site.home / "new.pub", "--sign", site.home / "old.key", "--retire", "-o", rotation
    ).expect(0)
    signed = ("--sign", site.home / "new.key", "--rotation", rotation, "-o", "new.tar")
    site.run("bundle", "create", listed, *signed).expect(0)
    done = site.run("provision", listed, "--bundle", "new.tar", "--yes", "--output", "json").expect(0)
    assert done.outcomes() == {"gw1": "done"}
    site.run("bundle", "create", listed, "--sign", site.home / "old.key", "-o", "late.tar").expect(0)
    assert "needed one that is trusted here" in site.run("bundle", "verify", "late.tar").expect(3).err
    trusted = json.loads(gateway.sh(f"cat {TRUST}"))["keys"]
    public = (site.home / "new.pub").read_text().splitlines()[1]
    assert [one["key"] for one in trusted] == [public]


@pytest.mark.full
def test_going_back_needs_no_new_signature(site: Cli, gateway: Gateway) -> None:
    site.run("rollback", inventory(site, gateway, 8082), "--yes").expect(0)
    assert "8080" in gateway.sh("cat /opt/phi4-edge/current/environment")


def test_remove_takes_the_trust_away_too(site: Cli, gateway: Gateway, clean: dict[str, str]) -> None:
    site.run("remove", gateway.lab.inventory, "--yes").expect(0)
    assert gateway.tree() == clean
