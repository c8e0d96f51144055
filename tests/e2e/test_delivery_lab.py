"""Large files reach a gateway over a tunnel of SSH: once, resumable after a kill; without it where sshd forbids it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from phi4_edge import inventory as inventories
from phi4_edge import lab as lab_room
from phi4_edge.core import manifest
from phi4_edge.core.inventory import Host, Login
from phi4_edge.operations import depot
from phi4_edge.operations.depot import Depot
from tests.ansible.plays import environment, role, write_playbook
from tests.e2e.gateway import Gateway

pytestmark = pytest.mark.e2e

SIZE = 64 * 1024**2
REQUEST = 16 * 1024**2
BASE = "/var/lib/phi4-delivery"
# sshd listens again a moment after it was told to.
RELOAD = "systemctl reload ssh; sleep 0.5; until ss -Hltn sport = :22 | grep -q .; do sleep 0.1; done"
FORBID = "/etc/ssh/sshd_config.d/00-no-forwarding.conf"


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    name = f"delivery-{os.getpid()}"
    lab = lab_room.up(name, [lab_room.load_profiles().get("gateway-6gb")])
    try:
        yield Gateway(lab, lab.hosts[0].name)
    finally:
        lab_room.down(name)


class Site:
    """A store with one large artifact, and the playbook that has it on the gateway."""

    def __init__(self, folder: Path, gateway: Gateway) -> None:
        self.gateway, self.root = gateway, folder / "store"
        data = os.urandom(SIZE)
        self.file = manifest.File("weights", SIZE, hashlib.sha256(data).hexdigest())
        digest = manifest.digest([self.file])
        self.source = self.root / "artifacts" / digest
        self.source.mkdir(parents=True)
        (self.source / "weights").write_bytes(data)
        (self.source / "manifest.json").write_text(
            json.dumps({"format": manifest.FORMAT, "files": [self.file.to_dict()], "digest": digest})
        )
        self.destination = f"{BASE}/{digest}"
        self.task = role(
            "artifact", __artifact_name="weights", __artifact_source=str(self.source), __artifact_digest=digest,
            __artifact_destination=self.destination, artifact_staging=f"{BASE}/staging",
        )  # fmt: skip
        self.task["ansible.builtin.include_role"]["tasks_from"] = "install"
        self.playbook = write_playbook(folder, self.task)

    @property
    def hosts(self) -> Sequence[Host]:
        return inventories.load((str(self.gateway.lab.inventory),), None, (), print, (), Login())

    def start(self, asked: str, **variables: str) -> subprocess.Popen[str]:
        ansible = Path(sys.executable).parent / "ansible-playbook"
        words = ["-v", "-e", json.dumps({"artifact_depot": asked, **variables})]
        return subprocess.Popen(
            [ansible, "-i", self.gateway.lab.inventory, self.playbook, *words],
            env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def push(self, asked: str, **variables: str) -> int:
        """Bytes that the run says it has sent; the gateway then has the artifact, as its own tools say."""
        out, _ = (run := self.start(asked, **variables)).communicate(timeout=300)
        assert run.returncode == 0, out
        found = self.gateway.sh(f"sha256sum {self.destination}/weights; stat -c %a {self.destination}/weights")
        assert found.split() == [self.file.sha256, f"{self.destination}/weights", "644"]
        assert self.gateway.sh(f"ls {BASE}/staging") == ""
        return int(out.rpartition('"sent": ')[2].split("}")[0].split(",")[0])


@pytest.fixture
def site(tmp_path: Path, gateway: Gateway) -> Iterator[Site]:
    gateway.sh(f"rm -rf {BASE}")
    yield Site(tmp_path, gateway)
    gateway.sh(f"rm -rf {BASE} {FORBID}; {RELOAD}")


@pytest.fixture
def opened(site: Site) -> Iterator[tuple[Depot, str]]:
    with depot.opened(site.root, site.hosts, frozenset({site.source})) as made:
        yield made


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def listening(gateway: Gateway) -> str:
    return gateway.sh("ss -Hltn | awk '{print $4}' | sort")


def test_it_comes_once_over_the_tunnel_and_leaves_nothing(site: Site, opened: tuple[Depot, str]) -> None:
    before, (place, asked) = listening(site.gateway), opened
    assert site.push(asked) == SIZE
    assert place.sent == {site.gateway.name: SIZE}
    assert list(place.told) == []
    assert site.push(asked) == 0
    assert place.sent == {site.gateway.name: SIZE}
    assert listening(site.gateway) == before


def family(pid: int) -> set[int]:
    """The process and all that it has started."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return set(found)


@pytest.mark.parametrize("side", ["host", "controller"])
def test_a_kill_in_the_middle_costs_no_more_than_one_request(site: Site, opened: tuple[Depot, str], side: str) -> None:
    place, asked = opened
    run = site.start(asked, phi4_artifact_bandwidth="100Mbit")
    wait_until(lambda: place.server.sent() >= SIZE // 2)
    if side == "host":  # the run itself goes on after that
        site.gateway.sh("kill -9 $(pgrep -f '[i]mport base64,json,sys,zlib')")
    else:
        for pid in family(run.pid):
            os.kill(pid, signal.SIGKILL)
    out, _ = run.communicate(timeout=120)
    assert (run.returncode == 0) is (side == "host"), out
    wait_until(lambda: site.gateway.name in place.sent)
    assert SIZE // 2 <= place.sent[site.gateway.name] <= SIZE + REQUEST
    site.push(asked)
    assert SIZE <= place.sent[site.gateway.name] <= SIZE + REQUEST
    assert list(place.told) == []


def test_where_sshd_forbids_the_way_back_the_pieces_are_sent(site: Site, opened: tuple[Depot, str]) -> None:
    place, asked = opened
    site.gateway.sh(f"echo 'AllowTcpForwarding no' > {FORBID}; {RELOAD}")
    assert site.push(asked) == SIZE
    assert place.sent == {site.gateway.name: 0}
    [line] = place.told
    assert "does not come over an SSH tunnel" in line
    assert "it is sent over Ansible's connection" in line
