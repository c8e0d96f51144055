"""`phi4-edge doctor` against real faults: each is made on a lab host, named with its fix, undone, and gone again."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from e2e_support import Cli, Done, Gateway

from phi4_edge import lab as lab_room
from phi4_edge.data import schema
from phi4_edge.lab import faults

pytestmark = pytest.mark.e2e
SMALL, DOCKER = "gw1", "gw2"
HOLD = "import fcntl,time; f=open('/var/lib/dpkg/lock-frontend','w'); fcntl.lockf(f,fcntl.LOCK_EX); time.sleep(600)"
UNIT = "[Unit]\\nDescription=A bot of the workshop\\n[Service]\\nExecStart=/bin/sleep 600\\n"
FIRST = "sed -i '1i {line}' /home/gateway/.bashrc"
LOCK = "/var/lib/phi4-edge"


@dataclass(frozen=True)
class Fault:
    """How a fault is made and undone by root on a host, and the finding that must name it."""

    make: str
    undo: str
    check: str
    level: str
    found: str
    fix: str
    host: str = SMALL
    variables: str = ""


IN_DOCKER = "phi4_engine=ollama phi4_service_manager=compose"
FAULTS = {
    "dpkg lock": Fault(
        f"systemd-run --unit=g-lock python3 -c \"{HOLD}\"; sleep 1", "systemctl stop g-lock",
        "dpkg", "warning", "/var/lib/dpkg/lock-frontend is held by process", "ps -fp",
    ),
    "dpkg lock, packages wanted": Fault(
        f"systemd-run --unit=g-lock python3 -c \"{HOLD}\"; sleep 1", "systemctl stop g-lock",
        "dpkg", "problem", "(/usr/bin/python3 -c import fcntl", "unattended-upgrades", variables=IN_DOCKER,
    ),
    "dpkg interrupted": Fault(
        "touch /var/lib/dpkg/updates/0001", "rm /var/lib/dpkg/updates/0001",
        "dpkg", "warning", "dpkg was interrupted", "sudo dpkg --configure -a",
    ),
    "port taken": Fault(
        "systemd-run --unit=g-port python3 -m http.server 8080 --bind 127.0.0.1; sleep 1", "systemctl stop g-port",
        "port", "problem", "(/usr/bin/python3 -m http.server 8080", "phi4_port=8081",
    ),
    "slow login shell": Fault(
        FIRST.format(line="sleep 0.17"), "sed -i 1d /home/gateway/.bashrc",
        "login shell", "warning", "/bin/bash adds ", "first line of /home/gateway/.bashrc: case $- in *i*)",
    ),
    "loud login shell": Fault(
        FIRST.format(line="echo Welcome to the plant"), "sed -i 1d /home/gateway/.bashrc",
        "login shell", "warning", "Welcome to the plant", "case $- in *i*)",
    ),
    "slow sudo": Fault(
        "sed -i '1i session optional pam_exec.so /bin/sleep 1' /etc/pam.d/sudo", "sed -i 1d /etc/pam.d/sudo",
        "sudo", "warning", "sudo adds ", "time sudo -n true",
    ),
    "no name server": Fault(
        "cp /etc/resolv.conf /run/g-resolv; echo nameserver 192.0.2.1 > /etc/resolv.conf",
        "cat /run/g-resolv > /etc/resolv.conf; rm /run/g-resolv",
        "dns", "problem", "cannot be resolved", "/etc/resolv.conf", variables=IN_DOCKER,
    ),
    "foreign unit": Fault(
        f"printf '{UNIT}' > /etc/systemd/system/phi4-edge.service; systemctl daemon-reload",
        "rm /etc/systemd/system/phi4-edge.service; systemctl daemon-reload",
        "unit", "problem", "A bot of the workshop", "systemctl disable --now phi4-edge.service",
    ),
    "masked unit": Fault(
        "systemctl mask phi4-edge.service", "systemctl unmask phi4-edge.service",
        "unit", "problem", "masked", "sudo systemctl unmask phi4-edge.service",
    ),
    "failed unit": Fault(
        "systemd-run --unit=g-bad false; sleep 1", "systemctl reset-failed",
        "systemd", "note", "g-bad.service", "journalctl -u g-bad.service",
    ),
    "read-only": Fault(
        f"mount -o remount,ro {LOCK}", f"mount -o remount,rw {LOCK}",
        "disk", "problem", "is mounted read-only", f"mount -o remount,rw {LOCK}",
    ),
    "no inodes": Fault(
        f"mount -o remount,nr_inodes=20 {LOCK}", f"mount -o remount,nr_inodes=900000 {LOCK}",
        "inodes", "problem", "files can still be made", f"du --inodes -x -d3 {LOCK}",
    ),
    "noexec": Fault(
        "mkdir /opt/phi4-edge; mount -t tmpfs -o noexec none /opt/phi4-edge",
        "umount /opt/phi4-edge; rmdir /opt/phi4-edge",
        "disk", "problem", "mounted noexec", "remount,exec /opt/phi4-edge",
    ),
    "a link in our place": Fault(
        "ln -s /srv /opt/phi4-edge", "rm /opt/phi4-edge",
        "paths", "problem", "/opt/phi4-edge is a symbolic link", "sudo mv /opt/phi4-edge",
    ),
    "reboot pending": Fault(
        "touch /run/reboot-required", "rm /run/reboot-required",
        "reboot", "warning", "waits for a reboot", "sudo systemctl reboot",
    ),
    "a rule for terminals": Fault(
        "echo 'Defaults:bob requiretty' > /etc/sudoers.d/g-bob", "rm /etc/sudoers.d/g-bob",
        "sudo", "note", "/etc/sudoers.d/g-bob", "visudo -f /etc/sudoers.d/g-bob",
    ),
    "docker stopped": Fault(
        "systemctl stop docker.socket docker.service", "systemctl start docker",
        "docker", "warning", "docker.service is inactive", "sudo systemctl enable --now docker", host=DOCKER,
    ),
    "docker masked": Fault(
        "systemctl stop docker.socket docker.service; systemctl mask docker.service",
        "systemctl unmask docker.service; systemctl start docker",
        "docker", "problem", "is masked", "unmask docker.service", host=DOCKER, variables=IN_DOCKER,
    ),
    "docker with known flaws": Fault(
        "true", "true", "known flaws", "problem", "CVE-2025-31133", "phi4_accept_below_floor=docker", host=DOCKER,
        variables=IN_DOCKER,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def site() -> Iterator[lab_room.Lab]:
    """A host with a small disk for models, and one with Debian's Docker."""
    name = f"g{os.getpid()}"
    profiles = lab_room.load_profiles()
    wanted = [profiles.get("gateway-8gb-small-disk"), profiles.get("gateway-8gb")]
    yield lab_room.up(name, wanted, kind=("bare", "docker"))
    lab_room.down(name)


@pytest.fixture
def gateways(site: lab_room.Lab) -> list[Gateway]:
    return [Gateway(site, host.name) for host in site.hosts]


def examine(cli: Cli, *inventories: Path | str, host: str = SMALL, code: int | None = None) -> Done:
    done = cli.run("doctor", *inventories, "--limit", host, "-o", "json")
    assert "Traceback" not in done.err, done.err
    assert code is None or done.code == code, done.out + done.err
    jsonschema.validate(json.loads(done.out), schema("doctor"))
    return done


def told(done: Done, host: str = SMALL) -> list[dict[str, str]]:
    entry: dict[str, Any] = next(entry for entry in json.loads(done.out)["hosts"] if entry["host"] == host)
    return [finding for finding in entry["findings"] if finding["level"] != "ok"]


def hit(found: list[dict[str, str]], fault: Fault) -> list[dict[str, str]]:
    return [
        each for each in found
        if (each["check"], each["level"]) == (fault.check, fault.level)
        and fault.found in each["found"] and fault.fix in each["fix"]
    ]  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_with_its_fix_and_gone_when_it_is(
    cli: Cli, site: lab_room.Lab, name: str, tmp_path: Path
) -> None:
    fault = FAULTS[name]
    more = tmp_path / "more.ini"
    more.write_text(f"[all:vars]\n{fault.variables.replace(' ', chr(10))}\n")
    always = fault.make == "true"
    try:
        assert faults.execute(site, fault.host, ["sh", "-c", fault.make]).returncode == 0
        done = examine(cli, site.inventory, more, host=fault.host)
    finally:
        undone = faults.execute(site, fault.host, ["sh", "-c", fault.undo])
    assert undone.returncode == 0, undone.text
    found = told(done, fault.host)
    assert len(hit(found, fault)) == 1, found
    assert done.code == (3 if any(each["level"] == "problem" for each in found) else 0)
    after = told(examine(cli, site.inventory, more, host=fault.host), fault.host)
    assert always or not hit(after, fault), after


def test_a_full_disk_is_named(cli: Cli, site: lab_room.Lab) -> None:
    try:
        faults.fill_disk(site, SMALL, LOCK)
        found = told(examine(cli, site.inventory, code=3))
    finally:
        faults.free_disk(site, SMALL, LOCK)
    assert any(each["check"] == "disk" and LOCK in each["found"] + each["fix"] for each in found), found
    assert any(each["level"] == "problem" for each in found)


# How a way in is closed, how it is opened again, and what names it: check, a word of the fix, exit code.
WAYS = {
    "sshd stopped": ("systemctl stop ssh", "systemctl start ssh", "ssh", "ansible_host", 5),
    "requiretty": (
        "echo 'Defaults:gateway requiretty' > /etc/sudoers.d/g-tty", "rm /etc/sudoers.d/g-tty",
        "sudo", "Defaults:gateway !requiretty", 3,
    ),
    "sudo with a password": (
        "cp -a /etc/sudoers.d/lab /run/g-lab; echo 'gateway ALL=(ALL) ALL' > /etc/sudoers.d/lab",
        "cat /run/g-lab > /etc/sudoers.d/lab", "sudo", "--ask-become-pass", 3,
    ),
    "no python": (
        "mv /usr/bin/python3 /usr/bin/g-python", "mv /usr/bin/g-python /usr/bin/python3",
        "python", "apt-get install -y python3", 3,
    ),
    "key not accepted": (
        "echo DenyUsers gateway > /etc/ssh/sshd_config.d/g.conf; systemctl reload ssh; sleep 1",
        "rm /etc/ssh/sshd_config.d/g.conf; systemctl reload ssh; sleep 1",
        "authentication", "ssh-copy-id gateway@", 5,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WAYS)
def test_a_way_in_that_is_closed_is_named(cli: Cli, site: lab_room.Lab, name: str) -> None:
    make, undo, check, fix, code = WAYS[name]
    try:
        assert faults.execute(site, SMALL, ["sh", "-c", make]).returncode == 0
        found = told(examine(cli, site.inventory, code=code))
    finally:
        assert faults.execute(site, SMALL, ["sh", "-c", undo]).returncode == 0
    assert [(each["check"], each["level"]) for each in found] == [(check, "problem")]
    assert fix in found[0]["fix"]
    assert [each for each in told(examine(cli, site.inventory, code=0)) if each["level"] == "problem"] == []


def changed(site: lab_room.Lab, tmp_path: Path, *pairs: tuple[str, str]) -> Path:
    """The lab's inventory with other words in it."""
    text = site.inventory.read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "changed.ini"
    path.write_text(text)
    return path


def test_host_keys_that_are_unknown_or_changed_are_named(cli: Cli, site: lab_room.Lab, tmp_path: Path) -> None:
    known = site.inventory.parent / "known_hosts"
    other = tmp_path / "known_hosts"
    inventory = changed(site, tmp_path, (str(known), str(other)))
    other.write_text("")
    found = told(examine(cli, inventory, code=5))[0]
    assert (found["check"], "unknown" in found["found"]) == ("host key", True)
    names = [line.split(" ", 1)[0] for line in known.read_text().splitlines()]
    other.write_text("".join(f"{name} ssh-ed25519 {'A' * 68}\n" for name in names))
    found = told(examine(cli, inventory, code=5))[0]
    assert "ssh-keygen" in found["fix"], found


def test_a_key_that_others_may_read_is_named_here_and_there(cli: Cli, site: lab_room.Lab, tmp_path: Path) -> None:
    key = tmp_path / "key"
    shutil.copy(site.inventory.parent / "key", key)
    key.chmod(0o644)
    done = examine(cli, changed(site, tmp_path, (str(site.inventory.parent / "key"), str(key))), code=5)
    assert told(done, "(controller)")[0]["fix"] == f"chmod 600 {key}"
    assert told(done)[0]["check"] == "authentication"


def test_a_python_that_the_user_may_change_and_a_machine_with_two_names(
    cli: Cli, site: lab_room.Lab, tmp_path: Path
) -> None:
    faults.execute(site, SMALL, ["ln", "-s", "/usr/bin/python3", "/home/gateway/python3"])
    address = site.host(SMALL).address
    twice = ("[gateways]", f"[gateways]\na ansible_host={address}")
    inventory = changed(site, tmp_path, ("/usr/bin/python3", "/home/gateway/python3"), twice)
    done = examine(cli, inventory, host=f"a,{SMALL}", code=3)
    found = {each["check"]: each for each in told(done)}
    assert found["python"]["fix"].startswith("set ansible_python_interpreter=/usr/bin/python3")
    assert found["inventory"]["found"] == f"a and {SMALL} are the same machine"
    faults.execute(site, SMALL, ["rm", "/home/gateway/python3"])


def test_it_changes_nothing_and_leaves_nothing(cli: Cli, site: lab_room.Lab) -> None:
    gateway = Gateway(site, DOCKER)
    whole = "find /home /root /tmp /var/tmp /run/phi4* /var/lib/dpkg /var/lib/apt -xdev -type f -exec sha256sum {} +"
    examine(cli, site.inventory, host=DOCKER)
    before = (gateway.tree(), gateway.sh(whole, code=None), gateway.sh("docker ps -aq; docker images -q; uname -a"))
    for _ in range(2):
        examine(cli, site.inventory, host=DOCKER)
    after = (gateway.tree(), gateway.sh(whole, code=None), gateway.sh("docker ps -aq; docker images -q; uname -a"))
    assert before == after
    assert "phi4-edge" not in gateway.sh("ps axww -o args | grep -v grep | grep phi4-edge || true")


@pytest.mark.parametrize("width", [80, 200])
def test_people_read_it_at_any_width(cli: Cli, site: lab_room.Lab, width: int) -> None:
    shown = Cli(cli.store, cli.home, {"COLUMNS": str(width)}).run("doctor", site.inventory)
    assert shown.code == 0, shown.out + shown.err
    assert max(map(len, shown.out.splitlines())) <= width
    assert "nothing is in the way" in shown.out
