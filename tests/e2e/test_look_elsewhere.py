"""The look on every kind of machine of the lab, and over what only Ansible's collections reach."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from phi4_edge import lab as lab_room
from tests.e2e.gateway import Cli, Gateway
from tests.e2e.raw_facts import BY_ANSIBLE, raw_facts

pytestmark = [pytest.mark.e2e, pytest.mark.full]

# What the package of all collections has of this version of Ansible.
COLLECTIONS = "ansible==12.3.0"
TAKEN = ("ansible_collections/community/docker/", "ansible_collections/community/general/",
         "ansible_collections/community/library_inventory_filtering_v1/")  # fmt: skip
DOAS = "permit nopass gateway as root\n"


@pytest.fixture(scope="module")
def lab() -> Iterator[lab_room.Lab]:
    """A host of every profile."""
    name = f"look-{os.getpid()}"
    profiles = lab_room.load_profiles()
    chosen = [profiles.get(one) for one in profiles.rows]
    kinds = ["docker" if one.fake_gpu else "bare" for one in chosen]
    yield lab_room.up(name, chosen, kind=kinds)
    lab_room.down(name)


@pytest.fixture(scope="module")
def collections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Collections as people install them, of which the tests have no other use."""
    folder = tmp_path_factory.mktemp("collections")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    subprocess.run([*pip, "--dest", folder, COLLECTIONS], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder, [name for name in archive.namelist() if name.startswith(TAKEN)])
    return folder


def test_the_facts_of_every_profile_are_those_that_ansible_gets(cli: Cli, lab: lab_room.Lab) -> None:
    names = [host.name for host in lab.hosts]
    assert len(names) >= 7
    own, theirs = (raw_facts(cli, lab.inventory, names, *more) for more in ((), BY_ANSIBLE))
    assert set(own) == set(theirs) == set(names)
    for name in names:
        assert own[name] == theirs[name], name


def test_containers_and_doas_are_looked_at_through_ansible(
    cli: Cli, lab: lab_room.Lab, collections: Path, tmp_path: Path
) -> None:
    """In the same run as a host over SSH, with the same facts."""
    gateway = Gateway(lab, lab.hosts[0].name)
    _install_doas(gateway, tmp_path)
    common = lab.inventory.read_text().partition("[gateways:vars]")[2]
    (tmp_path / "hosts.ini").write_text(
        f"[gateways]\nplain ansible_host={lab.hosts[0].address}\n"
        f"doas ansible_host={lab.hosts[0].address} ansible_become_method=community.general.doas\n"
        f"container ansible_connection=community.docker.docker ansible_host={lab.hosts[0].container}"
        f" ansible_user=root ansible_become=false\n\n[gateways:vars]{common}\n"
    )
    cli = replace(cli, extra={**cli.extra, "ANSIBLE_COLLECTIONS_PATH": str(collections)})
    found = raw_facts(cli, tmp_path / "hosts.ini", ["plain", "doas", "container"])
    assert found["doas"]["sources"] == found["plain"]["sources"]
    for name in ("cpuinfo", "os_release"):
        assert found["container"]["sources"][name] == found["plain"]["sources"][name]
    gateway.sh("rm -f /etc/doas.conf")
    document = json.loads(cli.run("detect", tmp_path / "hosts.ini", "-o", "json").out)
    assert {entry["host"] for entry in document["problems"]} == {"doas"}


def _install_doas(gateway: Gateway, folder: Path) -> None:
    subprocess.run(["apt-get", "-qq", "download", "opendoas"], cwd=folder, check=True)
    (package,) = folder.glob("opendoas_*.deb")
    container = next(host.container for host in gateway.lab.hosts if host.name == gateway.name)
    subprocess.run(["docker", "cp", "--quiet", str(package), f"{container}:/opt/doas.deb"], check=True)
    gateway.sh(f"dpkg -i /opt/doas.deb && umask 077 && printf '%s' '{DOAS}' >/etc/doas.conf")
