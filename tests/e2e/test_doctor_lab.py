"""`phi4-edge doctor` against real faults: each is made on a lab host, named with its fix, undone, and gone again."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from phi4_edge import lab as lab_room
from phi4_edge.data import schema
from phi4_edge.lab import faults
from tests.e2e.doctor_faults import ALWAYS, DOCKER, FAULTS, IN_DOCKER, LOCK, SMALL, Fault
from tests.e2e.fleet import rows
from tests.e2e.gateway import Cli, Done, Gateway

pytestmark = pytest.mark.e2e


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


HOSTS = (SMALL, DOCKER)
# The faults that each host has at one time, those that the same variables show in one after the other.
TURNS = {
    host: sorted({(fault.variables, fault.turn) for fault in FAULTS.values() if fault.host == host}) for host in HOSTS
}


def at_turn(host: str, turn: int) -> tuple[str, dict[str, Fault]]:
    """Variables of the host at this turn, and its faults."""
    variables, number = TURNS[host][turn]
    together = (host, variables, number)
    return variables, {name: one for name, one in FAULTS.items() if (one.host, one.variables, one.turn) == together}


def seen_with(cli: Cli, site: lab_room.Lab, folder: Path, variables: Mapping[str, str]) -> Done:
    """What is said of all hosts, each with its variables."""
    more = folder / "more.ini"
    more.write_text("[gateways]\n" + "".join(f"{host} {words}\n" for host, words in variables.items()))
    return examine(cli, site.inventory, more, host=",".join(variables))


@pytest.mark.parametrize("turn", rows(range(max(map(len, TURNS.values()))), (0,)))
def test_faults_are_named_with_their_fixes(cli: Cli, site: lab_room.Lab, turn: int, tmp_path: Path) -> None:
    """Both hosts have theirs at the same time."""
    here = {host: at_turn(host, turn) for host in HOSTS}
    with ExitStack() as made:
        for host in HOSTS:
            for fault in here[host][1].values():
                made.callback(run, site, host, fault.undo)
                run(site, host, fault.make)
        done = seen_with(cli, site, tmp_path, {host: here[host][0] for host in HOSTS})
    for host in HOSTS:
        found, faulty = told(done, host), here[host][1]
        assert {name: len(hit(found, fault)) for name, fault in faulty.items()} == dict.fromkeys(faulty, 1), found
    every = [each for host in HOSTS for each in told(done, host)]
    assert done.code == (3 if any(each["level"] == "problem" for each in every) else 0)


@pytest.mark.parametrize("variables", ["", IN_DOCKER])
def test_faults_are_gone_when_they_are(cli: Cli, site: lab_room.Lab, variables: str, tmp_path: Path) -> None:
    done = seen_with(cli, site, tmp_path, dict.fromkeys(HOSTS, variables))
    for host in HOSTS:
        after = told(done, host)
        gone = {name: fault for name, fault in FAULTS.items() if fault.host == host and fault.make != ALWAYS}
        assert [name for name, fault in gone.items() if hit(after, fault)] == [], after


def run(site: lab_room.Lab, host: str, words: str) -> None:
    """The host does it, as root."""
    done = faults.execute(site, host, ["sh", "-c", words])
    assert done.returncode == 0, f"{words}\n{done.text}"


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
        "python", "ansible_python_interpreter=/usr/bin/python3.13, which is there", 3,
    ),
    "key not accepted": (
        "echo DenyUsers gateway > /etc/ssh/sshd_config.d/g.conf; systemctl reload ssh; sleep 1",
        "rm /etc/ssh/sshd_config.d/g.conf; systemctl reload ssh; sleep 1",
        "authentication", "ssh-copy-id gateway@", 5,
    ),
}  # fmt: skip


PAIRS = (("sshd stopped", "requiretty"), ("sudo with a password", "no python"), ("key not accepted",))


@pytest.mark.parametrize("names", PAIRS, ids=" and ".join)
def test_a_way_in_that_is_closed_is_named(cli: Cli, site: lab_room.Lab, names: tuple[str, ...]) -> None:
    """A way of each host at the same time; those that were opened again are not named any more."""
    with ExitStack() as made:
        for host, name in zip(HOSTS, names, strict=False):
            made.callback(run, site, host, WAYS[name][1])
            run(site, host, WAYS[name][0])
        done = examine(cli, site.inventory, host=",".join(HOSTS), code=max(WAYS[name][-1] for name in names))
    for host, name in itertools.zip_longest(HOSTS, names):
        found = [each for each in told(done, host) if each["level"] == "problem"]
        assert [each["check"] for each in found] == ([WAYS[name][2]] if name else []), (host, found)
        assert not name or WAYS[name][3] in found[0]["fix"]
        assert not name or told(done, host) == found, "a host that cannot be reached says nothing else"


def test_every_way_that_was_opened_again_is_one(cli: Cli, site: lab_room.Lab) -> None:
    done = examine(cli, site.inventory, host=",".join(HOSTS), code=0)
    assert [each for host in HOSTS for each in told(done, host) if each["level"] == "problem"] == []


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


def test_it_changes_nothing_leaves_nothing_and_is_read_at_any_width(cli: Cli, site: lab_room.Lab) -> None:
    gateway = Gateway(site, DOCKER)
    whole = "find /home /root /tmp /var/tmp /run/phi4* /var/lib/dpkg /var/lib/apt -xdev -type f -exec sha256sum {} +"
    examine(cli, site.inventory, host=DOCKER)
    before = (gateway.tree(), gateway.sh(whole, code=None), gateway.sh("docker ps -aq; docker images -q; uname -a"))
    for width in (80, 200):
        shown = Cli(cli.store, cli.home, {"COLUMNS": str(width)}).run("doctor", site.inventory)
        assert shown.code == 0, shown.out + shown.err
        assert max(map(len, shown.out.splitlines())) <= width
        assert "nothing is in the way" in shown.out
    after = (gateway.tree(), gateway.sh(whole, code=None), gateway.sh("docker ps -aq; docker images -q; uname -a"))
    assert before == after
    assert "phi4-edge" not in gateway.sh("ps axww -o args | grep -v grep | grep phi4-edge || true")
