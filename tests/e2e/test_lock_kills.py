"""Wherever a run dies, the next one has its hosts when its lock is stale, and no more than a start later.

A run over two hosts is killed at twenty moments: at every boundary of its locks, at the steps between them, and at
random times. The next run begins at once, and is interrupted as soon as it has both locks: then it gives them back.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from phi4_edge.lab import faults
from tests.e2e.fleet import BY_ANSIBLE, Fleet, Fleets, rows
from tests.e2e.gateway import ALL_AT_ONCE, Gateway, run_processes

pytestmark = pytest.mark.e2e

HOSTS = ("gw1", "gw2")
# The standard times are 30 and 10, and 45 to have the hosts (test_two_controllers); what a kill leaves behind does not
# depend on them.
PATIENT = {"lock_stale_seconds": 12, "lock_heartbeat_seconds": 4}
FREE_SECONDS = 35.0
# Seconds after which a random kill comes, of a run that needs about half a minute; the same in every session.
LATEST = 30.0
DICE = random.Random(9)
# Where the run is killed: at a boundary of a host's steps (its script waits there), when the command has said that a
# role has begun (and a moment later), or at a time. And what is killed: the command, its process group, or Ansible.
BOUNDARIES = (
    ("lock:before", "process"), ("lock:after", "group"), ("verify:before", "process"), ("switch:after", "group"),
    ("unlock:before", "process"), ("unlock:after", "group"),
)  # fmt: skip
ROLES = (
    ("lock", "process"), ("lock", "group"), ("probe", "process"), ("plan", "group"), ("service", "process"),
    ("service", "group"), ("plan", "ansible"),
)  # fmt: skip
TIMES = tuple((round(DICE.uniform(1, LATEST), 1), DICE.choice(("process", "group"))) for _ in range(6))
KILLS = (*BOUNDARIES, *ROLES, *TIMES)
ALWAYS = {("service", "process"), ("plan", "ansible")}


@pytest.fixture(scope="module")
def pair(fleets: Fleets, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("kills")
    with fleets.lend(folder, 2) as found:
        # What dies here is a run of Ansible; one over a session has rows of its own in test_settings_change.
        found.variables = {name: {**PATIENT, **BY_ANSIBLE} for name in HOSTS}
        yield found


@pytest.fixture
def gateways(pair: Fleet) -> list[Gateway]:
    return [pair.host(name) for name in HOSTS]


def holder(pair: Fleet, name: str) -> str:
    """The lock of a host as it is there, asked past SSH; "" where nobody has it."""
    found = faults.execute(pair.lab, name, ["cat", "/var/lib/phi4-edge/lock"])
    return "" if found.returncode else str(found.text)


def has_lock_of(pair: Fleet, name: str, pid: int) -> bool:
    return f'"pid":{pid},' in holder(pair, name)


def begin(pair: Fleet) -> subprocess.Popen[str]:
    pair.next_release()
    return pair.cli.start("provision", *pair.inventories, "--yes", "--output", "json", *ALL_AT_ONCE)


def await_role(process: subprocess.Popen[str], role: str) -> None:
    """Returns a moment after the command said that the role is at work."""
    assert process.stdout is not None
    assert any(f'"role": "{role}"' in line for line in process.stdout), f"ended before {role}"
    time.sleep(DICE.uniform(0, 0.6))


def kill(process: subprocess.Popen[str], what: str) -> float:
    """When it was killed. Without its Ansible the command ends by itself."""
    if what == "group":
        os.killpg(process.pid, signal.SIGKILL)
    elif what == "process":
        os.kill(process.pid, signal.SIGKILL)
    else:
        for pid in run_processes(process.pid):
            if b"ansible-playbook" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
    when = time.monotonic()
    process.communicate(timeout=120)
    return when


def killed(pair: Fleet, moment: str | float, what: str) -> float:
    """When the run was killed."""
    if isinstance(moment, float):
        process = begin(pair)
        time.sleep(moment)
        return kill(process, what)
    if ":" not in moment:
        process = begin(pair)
        await_role(process, moment)
        return kill(process, what)
    for name in HOSTS:
        pair.hook(name, moment, "wait")
    process = begin(pair)
    try:
        pair.await_hooks(HOSTS, first=True)
    finally:
        when = kill(process, what)
    time.sleep(3)  # its connections are gone before its scripts go on
    pair.unhook(HOSTS)
    return when


@pytest.mark.parametrize(("moment", "what"), rows(KILLS, ALWAYS))
def test_the_next_run_has_the_hosts_of_a_killed_one_in_time(pair: Fleet, moment: str | float, what: str) -> None:
    when = killed(pair, moment, what)
    after = begin(pair)
    late: dict[str, float] = {}
    try:
        while len(late) < len(HOSTS):
            late |= {
                name: time.monotonic() - when
                for name in HOSTS
                if name not in late and has_lock_of(pair, name, after.pid)
            }
            assert after.poll() is None, after.communicate()[0]
            assert time.monotonic() - when < 3 * FREE_SECONDS, late
            time.sleep(0.1)
    finally:
        os.kill(after.pid, signal.SIGINT)
        said = after.communicate(timeout=600)[0]
    assert max(late.values()) <= FREE_SECONDS, (late, said)
    assert after.returncode == 130, said
    assert not any(holder(pair, name) for name in HOSTS), "an interrupted run gives its locks back"


def test_after_all_kills_the_hosts_converge(pair: Fleet) -> None:
    pair.run("provision", "--yes", "--output", "json").expect(0)
    assert {name: pair.serving(name) for name in HOSTS} == pair.releases()
