"""Two runs at once, one that died, one that is interrupted: one wins, the lock frees itself, resume finishes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from phi4_edge.lab import faults
from tests.e2e.fleet import POLL_SECONDS, Fleet, Fleets, rows
from tests.e2e.gateway import ALL_AT_ONCE, Gateway, run_processes

pytestmark = pytest.mark.e2e

HOSTS = ("gw1", "gw2")
PATIENT = {"lock_stale_seconds": 30, "lock_heartbeat_seconds": 10}
HURRIED = {"lock_stale_seconds": 12, "lock_heartbeat_seconds": 4}
SMALL_WAVES = ("--canary", "1", "--wave", "100%", "--bake", "3")
# What the command has said, in this order, when Ctrl-C is pressed; or at which boundary the canary waits then.
MOMENTS = {
    "checking the hosts": ['"event": "phase"'],
    "before the first task": ['"event": "wave"'],
    "receiving files": ['"event": "wave"', '"role": "artifact"'],
    "installing the engine": ['"event": "wave"', '"role": "onnx"'],
    "staging": "verify:before",
    "switching": "switch:before",
    "proving": "switch:after",
    "committing": "commit:before",
    "canary done": ['"event": "host"'],
    "in the bake": ['"event": "bake"'],
    "second wave": ['"event": "bake"', '"event": "wave"', '"role": "service"'],
}
# With these something is missing, so that more than settings is to be brought.
DELIVERING = ("receiving files", "installing the engine")


@pytest.fixture(scope="module")
def pair(fleets: Fleets, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("pair")
    with fleets.lend(folder, 2) as found:
        yield found


@pytest.fixture
def gateways(pair: Fleet) -> list[Gateway]:
    return [pair.host(name) for name in HOSTS]


def no_process_is_left(pid: int) -> bool:
    """Nothing of the run of this process is left 2 seconds after its end."""
    end = time.monotonic() + 2
    while (left := run_processes(pid)) and time.monotonic() < end:
        time.sleep(0.1)
    return not left


@pytest.mark.parametrize("times", rows((1, 20), (1,)))
def test_of_two_at_once_exactly_one_wins(pair: Fleet, times: int) -> None:
    """The other one finds every host locked, by whom each host says, and has changed nothing."""
    for attempt in range(times):
        pair.next_release()
        for name in HOSTS:
            pair.hook(name, "stage:before", "wait")  # who wins is at work until the other one is through
        both = [pair.cli.start("provision", *pair.inventories, "--yes", *ALL_AT_ONCE) for _ in range(2)]
        end = time.monotonic() + 120
        while all(process.poll() is None for process in both) and time.monotonic() < end:
            time.sleep(0.1)
        loser, winner = sorted(both, key=lambda process: process.poll() is None)
        said = " ".join(loser.communicate(timeout=60)[0].split())
        os.kill(winner.pid, signal.SIGINT)
        time.sleep(1)
        pair.unhook(HOSTS)  # what switches goes on
        won = winner.communicate(timeout=120)[0]
        assert (loser.returncode, winner.returncode) == (6, 130), (attempt, said, won)
        assert "2 hosts: 2 locked, changed=0" in said, (attempt, said)
        who = rf"according to this host, by \S+@{os.uname().nodename} \(provision since \S+ pid {winner.pid}\)"
        for name in HOSTS:
            assert re.search(rf"{name}: locked: found it locked, {who}", said), (attempt, said)
    assert {pair.serving(name) for name in HOSTS} == set(pair.releases().values())


def test_a_run_goes_on_beside_a_host_that_another_one_holds(pair: Fleet) -> None:
    """One that begins while another run has the first host: the second host gets its release."""
    pair.next_release()
    pair.hook(HOSTS[0], "stage:before", "wait")
    first = pair.cli.start("provision", *pair.inventories, "--yes", "--limit", HOSTS[0])
    pair.await_hooks(HOSTS[:1])
    stopped = pair.run("provision", "--yes", "--output", "json", "--bake", "0").expect(6)
    assert stopped.outcomes() == {HOSTS[0]: "locked", HOSTS[1]: "untouched"}
    second = pair.run("provision", "--yes", "--output", "json", "--skip-locked", "--bake", "0").expect(6)
    assert second.outcomes() == {HOSTS[0]: "locked", HOSTS[1]: "done"}
    pair.unhook(HOSTS)
    said = first.communicate(timeout=300)[0]
    assert first.returncode == 0, said
    assert {name: pair.serving(name) for name in HOSTS} == pair.releases()
    assert {pair.host(name).receipt()["context_length"] for name in HOSTS} == {pair.context}


def holder(pair: Fleet) -> str:
    """Who holds the lock of the first host, asked past SSH; "" when nobody does."""
    while True:
        found = faults.execute(pair.lab, HOSTS[0], ["cat", "/var/lib/phi4-edge/lock"])
        if found.returncode:
            return ""
        if found.text.strip():  # Docker may lose what a program says that ends at once
            return str(json.loads(found.text)["id"])


def killed_at_work(pair: Fleet) -> tuple[str, float]:
    """Id of a run that was killed while its task was at work on the hosts, and when."""
    pair.next_release()
    for name in HOSTS:
        pair.hook(name, "stage:before", "wait")
    process = pair.cli.start("provision", *pair.inventories, "--yes", *ALL_AT_ONCE)
    pair.await_hooks(HOSTS)
    first = holder(pair)
    assert first
    os.killpg(process.pid, signal.SIGKILL)
    when = time.monotonic()
    process.communicate()
    return first, when


def taken_over(pair: Fleet, first: str, process: subprocess.Popen[str]) -> float:
    """When somebody else got the lock."""
    while holder(pair) == first:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(POLL_SECONDS)
    return time.monotonic()


@pytest.mark.full
def test_a_dead_runs_lock_is_free_after_30_seconds_and_not_before(pair: Fleet) -> None:
    pair.variables = dict.fromkeys(HOSTS, PATIENT)
    first, killed = killed_at_work(pair)
    pair.unhook(HOSTS)
    process = pair.cli.start("provision", *pair.inventories, "--yes", *ALL_AT_ONCE)
    waited = taken_over(pair, first, process) - killed
    said = process.communicate(timeout=300)[0]
    assert 30 <= waited <= 45, (waited, said)
    assert process.returncode == 0, said


@pytest.mark.full
def test_a_dead_runs_step_that_hangs_is_ended_and_its_lock_is_free_in_time(pair: Fleet) -> None:
    """As the test before, but for the step; so the time is a short one, set by whoever is in a hurry."""
    pair.variables = dict.fromkeys(HOSTS, HURRIED)
    first, killed = killed_at_work(pair)
    process = pair.cli.start("provision", *pair.inventories, "--yes", *ALL_AT_ONCE)
    waited = taken_over(pair, first, process) - killed
    pair.unhook(HOSTS)
    said = process.communicate(timeout=300)[0]
    assert 12 <= waited <= 35, (waited, said)
    assert process.returncode == 0, said
    pair.variables = {}
    pair.write()


@pytest.mark.full
def test_a_lock_is_shown_and_released(pair: Fleet) -> None:
    killed_at_work(pair)
    shown = pair.cli.run("lock", "show", *pair.inventories, "-o", "json").expect(0).out
    assert {line["host"] for line in json.loads(shown)["hosts"] if line["state"] != "free"} == set(HOSTS)
    pair.unhook(HOSTS)
    time.sleep(5)
    pair.cli.run("lock", "release", *pair.inventories, "--yes").expect(0)
    assert holder(pair) == ""
    pair.run("provision", "--yes").expect(0)


def interrupted(pair: Fleet, when: list[str] | str) -> list[str]:
    """What a run said that was interrupted then, and of which nothing is left."""
    if isinstance(when, str):
        pair.hook(HOSTS[0], when, "wait")
    process = pair.cli.start("provision", *pair.inventories, "--yes", "--output", "json", *SMALL_WAVES)
    lines = []
    assert process.stdout is not None
    if isinstance(when, str):
        pair.await_hooks(HOSTS[:1])
    for text in when if isinstance(when, list) else ():
        for line in process.stdout:
            lines.append(line)
            if text in line:
                break
    os.killpg(process.pid, signal.SIGINT)
    if isinstance(when, str):
        time.sleep(1)
        pair.unhook(HOSTS)
    lines += process.communicate(timeout=300)[0].splitlines()
    assert process.returncode == 130, lines
    assert no_process_is_left(process.pid)
    return lines


@pytest.mark.parametrize("moment", rows(tuple(MOMENTS), ("switching",)))
def test_ctrl_c_and_resume(pair: Fleet, moment: str) -> None:
    pair.next_release()
    for name in HOSTS if moment in DELIVERING else ():
        pair.host(name).sh("rm /opt/phi4-edge/current/model/tokenizer_config.json")
    lines = interrupted(pair, MOMENTS[moment])
    finished = [name for name in HOSTS if pair.host(name).receipt()["context_length"] == pair.context]
    before = pair.mark(finished)
    begun = any('"event": "rollout"' in line for line in lines)
    done = pair.run("provision", "--yes", "--output", "json", *(["--resume"] if begun else SMALL_WAVES)).expect(0)
    assert {name: pair.trace(name) for name in finished} == before
    assert set(done.outcomes().values()) <= {"done", "unchanged"}
    assert {name: pair.serving(name) for name in HOSTS} == pair.releases()
    assert {pair.host(name).receipt()["context_length"] for name in HOSTS} == {pair.context}
