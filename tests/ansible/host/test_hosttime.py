"""A script on a host ends before the controller gives it up, with all that it started, and gives its lock back."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.remote import call, framing, scripts

# One operation for each way in which a step hangs; all of them write down who they are.
SCRIPT = """
import os, time
from hostrun import command, serve

def note(args):
    with open(args["note"], "a") as stream:
        stream.write("%s\\n" % os.getpid())

def program(args, payload):
    note(args)
    command("sh", "-c", "echo $$ >> %s; sleep 300 & echo $! >> %s; wait" % (args["note"], args["note"]), timeout=300)
    return {}

def swallow(args, payload):
    note(args)
    try:
        time.sleep(300)
    except Exception:
        return {"went on": True}
    finally:
        with open(args["note"], "a") as stream:
            stream.write("0\\n")

def deaf(args, payload):
    note(args)
    while True:
        try:
            time.sleep(300)
        except BaseException:
            pass

def quick(args, payload):
    return {"quick": True}

serve(globals(), {"program": program, "swallow": swallow, "deaf": deaf, "quick": quick}, changes=False)
"""


def on_this_machine(line: str, in_data: bytes) -> dict[str, Any]:
    done = subprocess.run(["sh", "-c", line], input=in_data, capture_output=True, check=False, timeout=60)
    return {"rc": done.returncode, "stdout": done.stdout.decode(), "stderr": done.stderr.decode()}


def asked(note: Path, do: str, seconds: float) -> tuple[dict[str, Any], float]:
    """The answer of one operation, and how many seconds it took."""
    script = scripts.compose(SCRIPT, scripts.host_script("service", "release")[1])
    begin = time.monotonic()
    args = {"do": do, "note": str(note)}
    result = call.call(on_this_machine, "n" * 16, sys.executable, script, args, seconds=seconds)
    return result, time.monotonic() - begin


def alive(pid: str) -> bool:
    """True for a process that runs; one that ended and that nobody has asked for does not."""
    stat = Path("/proc", pid, "stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("do", ["program", "swallow", "deaf"])
def test_a_script_ends_itself_and_all_that_it_started_before_the_controller_gives_up(tmp_path: Path, do: str) -> None:
    note = tmp_path / "note"
    _quick, start = asked(tmp_path / "quick", "quick", 30.0)  # what a busy machine takes for one that does nothing
    result, took = asked(note, do, 3.0)
    assert took < 3.0 + 3 * start
    assert result["timedout"] == {"period": 3}
    assert result["error"].startswith(f"found no end of {do} after 2 s, needed one")
    pids = note.read_text().split()
    assert len(pids) == {"program": 3, "swallow": 2, "deaf": 1}[do]
    assert not [pid for pid in pids if pid != "0" and alive(pid)]


@pytest.mark.parametrize("seconds", [0.0, 30.0])
def test_a_script_in_time_says_nothing_of_it(tmp_path: Path, seconds: float) -> None:
    assert asked(tmp_path / "note", "quick", seconds)[0] == {"quick": True}


def test_what_is_left_of_the_task_is_told_only_where_it_has_an_end() -> None:
    said: list[bytes] = []

    def execute(line: str, in_data: bytes) -> dict[str, Any]:
        script = zlib.decompressobj()  # the arguments come behind it
        script.decompress(in_data)
        said.append(script.unused_data)
        return {"rc": 0, "stdout": "", "stderr": ""}

    for seconds in (0.0, 7.5):
        with pytest.raises(framing.FactsError):
            call.call(execute, "n", None, "", {"do": "x"}, seconds=seconds)
    assert [json.loads(line) for line in said] == [{"do": "x"}, {"do": "x", "seconds_left": 7.5}]
