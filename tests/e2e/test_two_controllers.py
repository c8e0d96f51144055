"""Two runs at once, one that died, one that is interrupted: one wins, the lock frees itself, resume finishes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest
from e2e_support import ALL_AT_ONCE, Cli, Gateway
from fleet_support import Fleet, fleet, rows

from phi4_edge.lab import faults
from phi4_edge.runner_process import family

pytestmark = pytest.mark.e2e

HOSTS = ("gw1", "gw2")
PATIENT = {"lock_stale_seconds": 30, "lock_heartbeat_seconds": 10}
SMALL_WAVES = ("--canary", "1", "--wave", "100%", "--bake", "3")
# What the command has said, in this order, when Ctrl-C is pressed.
MOMENTS = {
    "looking at the hosts": ['"event": "phase"'],
    "before the first task": ['"event": "wave"'],
    "receiving files": ['"event": "wave"', '"role": "artifact"'],
    "installing the engine": ['"event": "wave"', '"role": "onnx"'],
    "switching": ['"event": "wave"', '"role": "service"'],
    "proving": ['"event": "wave"', '"role": "health"'],
    "committing": ['"event": "wave"', '"role": "receipt"'],
    "canary done": ['"event": "host"'],
    "in the bake": ['"event": "bake"'],
    "second wave": ['"event": "bake"', '"event": "wave"', '"role": "health"'],
}


@pytest.fixture(scope="module")
def pair(ready: Cli, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("pair")
    with fleet(ready, folder, f"pair-{os.getpid()}", ["gateway-6gb"] * 2) as found:
        yield found


@pytest.fixture
def gateways(pair: Fleet) -> list[Gateway]:
    return [pair.host(name) for name in HOSTS]


def no_process_is_left(pid: int) -> bool:
    """Nothing of the run of this process is left 2 seconds after its end."""
    end = time.monotonic() + 2
    while (left := family(f"phi4-edge-run-{pid}-")) and time.monotonic() < end:
        time.sleep(0.1)
    return not left


@pytest.mark.parametrize("times", rows((4, 20), (4,)))
def test_of_two_at_once_exactly_one_wins(pair: Fleet, times: int) -> None:
    for name in HOSTS:
        pair.hook(name, "stage:before", "fail")  # who wins ends soon
    for attempt in range(times):
        pair.next_release()
        both = [pair.cli.start("provision", *pair.inventories, "--yes", *ALL_AT_ONCE) for _ in range(2)]
        said = [process.communicate(timeout=300)[0] for process in both]
        codes = [process.returncode for process in both]
        assert sorted(codes) == [4, 6], (attempt, codes, said)
        loser, winner = said[codes.index(6)], both[codes.index(4)]
        assert f"pid {winner.pid}" in " ".join(loser.split()), loser
        assert f"@{os.uname().nodename}" in loser
    pair.unhook(HOSTS)
    assert {pair.serving(name) for name in HOSTS} == set(pair.releases().values())


def holder(pair: Fleet) -> str:
    """Who holds the lock of the first host, asked past SSH; "" when nobody does."""
    found = faults.execute(pair.lab, HOSTS[0], ["cat", "/var/lib/phi4-edge/lock"])
    return "" if found.returncode else str(json.loads(found.text)["id"])


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
        time.sleep(0.1)
    return time.monotonic()


def test_a_dead_runs_lock_is_free_after_30_seconds_and_not_before(pair: Fleet) -> None:
    pair.variables = dict.fromkeys(HOSTS, PATIENT)
    first, killed = killed_at_work(pair)
    pair.unhook(HOSTS)
    process = pair.cli.start("provision", *pair.inventories, "--yes", *ALL_AT_ONCE)
    waited = taken_over(pair, first, process) - killed
    said = process.communicate(timeout=300)[0]
    assert 30 <= waited <= 45, (waited, said)
    assert process.returncode == 0, said


def test_the_lock_is_not_taken_over_while_the_dead_runs_task_lives(pair: Fleet) -> None:
    pair.variables = dict.fromkeys(HOSTS, PATIENT)
    first, killed = killed_at_work(pair)
    process = pair.cli.start("provision", *pair.inventories, "--yes", *ALL_AT_ONCE, "--lock-wait", "120")
    while time.monotonic() < killed + 50:
        assert holder(pair) == first
        time.sleep(1)
    pair.unhook(HOSTS)
    taken_over(pair, first, process)
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 0, said
    pair.variables = {}
    pair.write()


def test_a_lock_is_shown_and_released(pair: Fleet) -> None:
    killed_at_work(pair)
    shown = pair.cli.run("lock", "show", *pair.inventories, "-o", "json").expect(0).out
    assert {line["host"] for line in json.loads(shown)["hosts"] if line["state"] != "free"} == set(HOSTS)
    pair.unhook(HOSTS)
    time.sleep(5)
    pair.cli.run("lock", "release", *pair.inventories, "--yes").expect(0)
    assert holder(pair) == ""
    pair.run("provision", "--yes").expect(0)


@pytest.mark.parametrize(
    "moment", rows(tuple(MOMENTS), ("looking at the hosts", "switching", "proving", "in the bake", "second wave"))
)
def test_ctrl_c_and_resume(pair: Fleet, moment: str) -> None:
    pair.next_release()
    process = pair.cli.start("provision", *pair.inventories, "--yes", "--output", "json", *SMALL_WAVES)
    lines = []
    assert process.stdout is not None
    for text in MOMENTS[moment]:
        for line in process.stdout:
            lines.append(line)
            if text in line:
                break
    os.killpg(process.pid, signal.SIGINT)
    lines += process.communicate(timeout=300)[0].splitlines()
    assert process.returncode == 130, lines
    assert no_process_is_left(process.pid)
    finished = [name for name in HOSTS if pair.host(name).receipt()["context_length"] == pair.context]
    before = pair.mark(finished)
    begun = any('"event": "rollout"' in line for line in lines)
    done = pair.run("provision", "--yes", "--output", "json", *(["--resume"] if begun else SMALL_WAVES)).expect(0)
    assert {name: pair.trace(name) for name in finished} == before
    assert set(done.outcomes().values()) <= {"done", "unchanged"}
    assert {name: pair.serving(name) for name in HOSTS} == pair.releases()
    assert {pair.host(name).receipt()["context_length"] for name in HOSTS} == {pair.context}
