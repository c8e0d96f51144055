"""A gateway whose controller was killed, whose receipt was damaged, or on which something else stands in our place."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from phi4_edge import lab as lab_room
from tests.e2e.gateway import Cli, Gateway, run_processes

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def recovery_lab() -> Iterator[lab_room.Lab]:
    name = f"recovery-{os.getpid()}"
    yield lab_room.up(name, [lab_room.load_profiles().get("gateway-8gb")])
    lab_room.down(name)


@pytest.fixture
def host(recovery_lab: lab_room.Lab) -> Gateway:
    return Gateway(recovery_lab, recovery_lab.hosts[0].name)


def until(process: subprocess.Popen[str], text: str) -> None:
    """Returns when the command has printed a line with `text`."""
    assert process.stdout is not None
    assert any(text in line for line in process.stdout), f"ended without {text}"


def private_directories(pid: int) -> list[Path]:
    return list(Path("/dev/shm").glob(f"phi4-edge-run-{pid}-*"))


def test_after_sigkill_nothing_is_left_here_and_the_next_run_finishes(
    ready: Cli, recovery_lab: lab_room.Lab, host: Gateway
) -> None:
    killed = ready.start("provision", recovery_lab.inventory, "--yes", "--output", "json")
    until(killed, '"task": "Build the engine"')
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    end = time.monotonic() + 10
    while (run_processes(killed.pid) or private_directories(killed.pid)) and time.monotonic() < end:
        time.sleep(0.1)
    assert (run_processes(killed.pid), private_directories(killed.pid)) == (set(), [])
    ready.run("provision", recovery_lab.inventory, "--yes").expect(0)
    ready.run("status", recovery_lab.inventory).expect(0)
    assert host.chat("One?")["usage"]["completion_tokens"] > 0


def test_a_damaged_receipt_is_written_anew_while_the_host_serves(
    ready: Cli, recovery_lab: lab_room.Lab, host: Gateway
) -> None:
    shadow = host.sh("sha256sum /etc/shadow")
    host.sh("cd /var/lib/phi4-edge && rm receipt.json && ln -s /etc/shadow receipt.json")
    ready.run("status", recovery_lab.inventory).expect(2)
    done = ready.run("provision", recovery_lab.inventory, "--yes", "--output", "json").expect(0)
    assert done.outcomes() == {host.name: "done"}
    ready.run("status", recovery_lab.inventory).expect(0)
    assert host.sh("sha256sum /etc/shadow") == shadow


def test_a_link_in_our_place_stops_the_host_before_anything_changes(
    ready: Cli, recovery_lab: lab_room.Lab, host: Gateway
) -> None:
    ready.run("remove", recovery_lab.inventory, "--yes").expect(0)
    host.sh("mkdir /srv/data && ln -s /srv/data /var/lib/phi4-edge")
    before = host.tree()
    done = ready.run("provision", recovery_lab.inventory, "--yes").expect(3)
    assert "/var/lib/phi4-edge is a symbolic link" in " ".join(done.out.split())
    assert host.tree() == before
