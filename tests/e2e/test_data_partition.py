"""A host whose programs and state lie on a data partition: nothing is ever written to the standard places."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from phi4_edge import lab as lab_room
from tests.e2e.gateway import Cli, Gateway

pytestmark = [pytest.mark.e2e, pytest.mark.full]

ROOT, STATE = "/data/phi4/programs", "/data/phi4/state"
FACT = "/etc/ansible/facts.d/phi4_edge.fact"
NOTHING = "test ! -e /opt/phi4-edge && test ! -e /var/lib/phi4-edge"
LEFT = "find /data -mindepth 1; ls -d /etc/systemd/system/phi4-edge* 2>/dev/null || true"


@pytest.fixture(scope="module")
def host(ready: Cli) -> Iterator[Gateway]:
    name = f"data-{os.getpid()}"
    profile = dataclasses.replace(lab_room.load_profiles().get("gateway-6gb"), disks={"/data": "12g"})
    lab = lab_room.up(name, [profile])
    try:
        yield Gateway(lab, lab.hosts[0].name)
    finally:
        lab_room.down(name)


def inventory(host: Gateway, folder: Path, **variables: str) -> Path:
    """The lab's inventory, with both directories and these variables for all hosts."""
    wanted = {"phi4_root": ROOT, "phi4_state": STATE, **variables}
    path = folder / "hosts.ini"
    lines = [f"{name}={value}" for name, value in wanted.items() if value]
    path.write_text(host.lab.inventory.read_text() + "\n".join(["", "[all:vars]", *lines, ""]))
    return path


def test_a_whole_life_below_a_mount(ready: Cli, host: Gateway, tmp_path: Path) -> None:
    clean, hosts = host.tree(), inventory(host, tmp_path)
    ready.run("provision", hosts, "--check", "--yes").expect(0)
    assert host.tree() == clean
    done = ready.run("provision", hosts, "--yes", "--output", "json").expect(0)
    assert done.outcomes() == {host.name: "done"}
    host.sh(NOTHING)
    assert host.chat("Hello")["choices"][0]["message"]["content"].strip()
    first = json.loads(host.sh(f"cat {STATE}/receipt.json"))
    managed = {entry["path"] for entry in first["files"]}
    assert all(path.startswith((f"{ROOT}/", f"{STATE}/", "/etc/systemd/system/phi4-edge", FACT)) for path in managed)
    # The unit sees its programs and its model, and neither the receipt nor what else lies on the partition.
    seen = f"nsenter -t $(systemctl show -P MainPID phi4-edge) -m ls {STATE} /data/phi4"
    assert "receipt.json" not in host.sh(seen) and "models" in host.sh(seen)

    again = ready.run("provision", hosts, "--yes").expect(0)
    assert "changed=0" in again.out + again.err
    ready.run("status", hosts).expect(0)

    # Somebody takes the variables out of the inventory: the host is left alone, and it is said why.
    before = host.sh(f"find {ROOT} {STATE} -printf '%p %T@ %i\\n' | sort")
    forgotten = inventory(host, tmp_path, phi4_root="", phi4_state="")
    for command in ("provision", "rollback", "remove"):
        refused = ready.run(command, forgotten, "--yes")
        assert refused.code in (3, 4), refused
        assert f"phi4_state={STATE}" in refused.out + refused.err
    assert f"phi4_root={ROOT}" in ready.run("status", forgotten).expect(2).out
    host.sh(NOTHING)
    assert host.sh(f"find {ROOT} {STATE} -printf '%p %T@ %i\\n' | sort") == before
    assert host.chat("Hello")["choices"]

    ready.run("provision", inventory(host, tmp_path, phi4_port="8090"), "--yes").expect(0)
    assert host.chat("Hello", port=8090)["choices"]
    ready.run("rollback", inventory(host, tmp_path), "--yes").expect(0)
    assert json.loads(host.sh(f"cat {STATE}/receipt.json"))["release"] == first["release"]
    assert host.chat("Hello")["choices"]

    ready.run("remove", inventory(host, tmp_path), "--yes").expect(0)
    assert host.sh(LEFT).strip() == ""
    assert host.tree() == clean
