"""A script on a host whose controller is gone: it takes no lock, keeps none, and ends soon with all that it started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.remote import framing, scripts
from tests.ansible.plays import ROOT

PLACES = """
import hostlock, hostrun, hosttime
hostlock.BEAT, hostlock.GUARD, hostrun.LOCK = (FOLDER + name for name in ("/beat.json", "/guard", "/scripts"))
hosttime.LOST_SECONDS = 1.5
"""
WORK = """
import os, subprocess, time
from hostrun import command, serve

def note(text):
    with open(FOLDER + "/note", "a") as stream:
        stream.write("%s\\n" % text)

def program(args, payload):
    note(os.getpid())
    command("sh", "-c", "echo $$ >> %s/note; sleep 300 & echo $! >> %s/note; wait" % (FOLDER, FOLDER), timeout=300)
    return {}

def deaf(args, payload):
    note(os.getpid())
    while True:
        try:
            time.sleep(300)
        except BaseException:
            pass

def nearly(args, payload):
    note(os.getpid())
    time.sleep(0.8)
    note("done")
    return {}

def install(args, payload):
    note(os.getpid())
    time.sleep(4)
    note("done")
    return {}

operations = {"program": program, "deaf": deaf, "nearly": nearly, "install": install}
serve(globals(), operations, uncut=("install",))
"""
# Stands for the process of sshd: it runs the script and reads its answer, until it is killed.
SERVER = "import subprocess, sys; subprocess.run(sys.argv[1:], stdin=0, stdout=subprocess.PIPE)"


def script(folder: Path, text: str) -> str:
    """A script of which all places are in `folder`."""
    modules = scripts.host_script("lock", "lock")[1]
    return scripts.compose(f"FOLDER = {str(folder)!r}\n{PLACES}\n{text}", modules)


def begin(folder: Path, text: str, args: dict[str, Any]) -> subprocess.Popen[bytes]:
    """The script under a server of its own, as sshd has one for each connection."""
    body = script(folder, text)
    argv = [sys.executable, "-c", SERVER, "sh", "-c", framing.command(sys.executable, "n" * 16, body)]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(framing.stdin(body, args))
    process.stdin.close()
    return process


def lines(folder: Path, count: int, seconds: float = 20) -> list[str]:
    """The note of the script as soon as it has so many lines."""
    end, note = time.monotonic() + seconds, folder / "note"
    while len(found := note.read_text().split() if note.exists() else []) < count:
        assert time.monotonic() < end, found
        time.sleep(0.02)
    return found


def alive(pid: str) -> bool:
    stat = Path("/proc", pid, "stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def ended(pids: list[str], seconds: float) -> bool:
    """Whether all of them end in that time."""
    end = time.monotonic() + seconds
    while any(alive(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(alive(pid) for pid in pids)


def cut(process: subprocess.Popen[bytes]) -> None:
    """The connection is gone without a word to the script."""
    process.kill()
    process.wait()


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has the lock of scripts")


@needs_root
@pytest.mark.parametrize(("do", "count"), [("program", 3), ("deaf", 1)])
def test_a_step_ends_soon_after_its_connection_with_all_that_it_started(tmp_path: Path, do: str, count: int) -> None:
    process = begin(tmp_path, WORK, {"do": do})
    pids = lines(tmp_path, count)
    time.sleep(1.5)
    assert all(alive(pid) for pid in pids), "while somebody waits it goes on"
    cut(process)
    assert ended(pids, 15)


@needs_root
@pytest.mark.parametrize("do", ["nearly", "install"])
def test_a_step_that_is_nearly_through_or_must_not_be_cut_comes_to_its_end(tmp_path: Path, do: str) -> None:
    process = begin(tmp_path, WORK, {"do": do})
    [pid] = lines(tmp_path, 1)
    cut(process)
    assert lines(tmp_path, 2)[1] == "done"
    assert ended([pid], 15)


@needs_root
def test_a_step_under_a_time_limit_ends_with_its_connection_too(tmp_path: Path) -> None:
    process = begin(tmp_path, WORK, {"do": "program", "seconds_left": 600})
    pids = lines(tmp_path, 3)
    cut(process)
    assert ended(pids, 15)


TAKE = """
import os, time
open(FOLDER + "/note", "a").write("%s\\n" % os.getpid())
while not os.path.exists(FOLDER + "/go"):
    time.sleep(0.02)
"""


@pytest.fixture
def wish(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """What a run asks for that reaches the host over a shared connection; its keeper is gone afterwards."""
    play = {"boot_id": "x", "pid": 1, "start": 1}
    run = {"id": "a", "user": "ada", "host": "desk", "pid": 1, "asked": 0.0, "stale_seconds": 30, "persist": 7200}
    yield {"do": "take", "folder": str(tmp_path / "state"), "controller": play, "wait": 0, "wish": run}
    beat = tmp_path / "beat.json"
    if beat.exists():
        os.kill(json.loads(beat.read_text())["keeper"][0], signal.SIGKILL)


@needs_root
def test_a_script_that_was_left_behind_takes_no_lock(tmp_path: Path, wish: dict[str, Any]) -> None:
    """Killed between the begin of the task and the lock: this was a lock of 300 s."""
    taking = TAKE + (ROOT / "roles" / "lock" / "files" / "lock.py").read_text().partition("annotations\n")[2]
    process = begin(tmp_path, taking, wish)
    [pid] = lines(tmp_path, 1)
    cut(process)
    (tmp_path / "go").touch()
    assert ended([pid], 15)
    assert not (tmp_path / "state").exists()


RENEW = """
import hostlock, os, time
from hostlib import HostError
hostlock.SERVERS = ("sh",) if ARGS["seen"] else ()  # the shell that runs this script
open(FOLDER + "/note", "a").write("%s\\n" % os.getpid())
while not os.path.exists(FOLDER + "/go"):
    time.sleep(0.02)
try:
    hostlock.renew({"id": "a", "folder": ARGS["folder"]})
    said = "renewed"
except HostError as error:
    said = str(error).replace(" ", "_")
open(FOLDER + "/note", "a").write("%s\\n" % said)
time.sleep(ARGS["stay"])
"""


def left_lock(tmp_path: Path, persist: float) -> Path:
    """The lock of a run whose keeper has ended."""
    sys.path[:0] = [str(scripts.SHARED)]
    import hostlockstate

    state = tmp_path / "state"
    state.mkdir()
    lock = {"id": "a", "boot_id": hostlockstate.lock_boot(), "at": hostlockstate.lock_now(), "stale_seconds": 30}
    (state / "lock").write_text(json.dumps({**lock, "persist": persist}))
    return state


@pytest.mark.parametrize("seen", [True, False])
def test_a_script_that_was_left_behind_keeps_no_lock(tmp_path: Path, seen: bool) -> None:
    """Killed while the next task began: this made a lock of 30 s one of 300 s."""
    state = left_lock(tmp_path, 7200)
    process = begin(tmp_path, RENEW, {"folder": str(state), "seen": seen, "stay": 0})
    lines(tmp_path, 1)
    cut(process)
    (tmp_path / "go").touch()
    assert lines(tmp_path, 2)[1].startswith("the_connection_to_the_controller_was_lost")
    assert json.loads((state / "lock").read_text())["stale_seconds"] == 30
    assert not (tmp_path / "beat.json").exists()


@pytest.mark.parametrize(("persist", "stale"), [(7200, 30), (60, 300), (0, 300)])
def test_how_long_a_lock_lasts_whose_connection_ended_between_two_steps(
    tmp_path: Path, persist: float, stale: float
) -> None:
    """One that is kept for hours was lost, and the run has a new one; one that is kept for less will end again."""
    state = left_lock(tmp_path, persist)
    (tmp_path / "go").touch()
    process = begin(tmp_path, RENEW, {"folder": str(state), "seen": True, "stay": 0.5})
    assert lines(tmp_path, 2)[1] == "renewed"
    assert json.loads((state / "lock").read_text())["stale_seconds"] == stale
    cut(process)
    os.kill(json.loads((tmp_path / "beat.json").read_text())["keeper"][0], signal.SIGKILL)
