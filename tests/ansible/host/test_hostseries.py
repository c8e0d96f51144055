"""Several scripts in one process: what one answered the next one takes, and the first that fails ends it."""

from __future__ import annotations

import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.remote import call, framing, scripts
from phi4_edge.remote.scripts import SHARED, compose

ADDS = """
from hostlib import HostError
from hostrun import serve

def add(args, payload):
    assert payload == b""
    if "note" in args:
        open(args["note"], "a").close()
    if args["number"] > 99:
        raise HostError("found a number that is too large", number=args["number"])
    return {"sum": args["number"] + args.get("more", 0), "lock": args.get("lock", ""), "seconds": args["seconds_left"]}

serve(globals(), {"add": add}, changes=False)
"""
HANGS = """
import time
from hostrun import serve

def deaf(args, payload):
    while True:
        try:
            time.sleep(300)
        except BaseException:
            pass

serve(globals(), {"deaf": deaf}, changes=False)
"""
# As the probe, which leaves threads behind that may hang.
ENDS = """
import os
EMIT({"sum": 7})
os._exit(0)
"""


def script() -> str:
    modules: dict[str, str] = {}
    texts = {"a/adds": ADDS, "b/hangs": HANGS, "c/ends": ENDS}
    main = f"import hostseries\nhostseries.run(globals(), {texts!r})\n"
    for text in (main, ADDS, HANGS):
        scripts._collect(text, (SHARED,), modules)
    return compose(main, modules)


def step(number: int, **more: Any) -> dict[str, Any]:
    found = {"script": "a/adds", "args": {"do": "add", "number": number}, "takes": {}, "needs": {}, "seconds": 60.0}
    return {**found, **more}


def ran(*steps: dict[str, Any], **args: Any) -> dict[str, Any]:
    def execute(line: str, in_data: bytes) -> dict[str, Any]:
        done = subprocess.run(["sh", "-c", line], input=in_data, capture_output=True, check=False, timeout=60)
        return {"rc": done.returncode, "stdout": done.stdout.decode(), "stderr": done.stderr.decode()}

    return call.call(execute, "0" * 16, sys.executable, script(), {"series": list(steps), **args})


def test_a_step_takes_what_an_earlier_one_answered() -> None:
    found = ran(step(1), step(2, takes={"more": [0, "sum"]}), step(3, takes={"more": [1, "sum"]}))
    assert [answer["sum"] for answer in found["answers"]] == [1, 3, 6]


def test_the_first_failure_ends_it_with_its_details() -> None:
    found = ran(step(1), step(100), step(3))
    assert found["answers"][0]["sum"] == 1
    assert found["answers"][1:] == [{"error": "found a number that is too large", "number": 100}]


def test_it_ends_where_an_answer_is_not_what_the_next_ones_need() -> None:
    assert len(ran(step(1, needs={"sum": 1}), step(2))["answers"]) == 2
    assert len(ran(step(1, needs={"sum": 2}), step(2))["answers"]) == 1
    assert len(ran(step(1, needs={"other": True}), step(2))["answers"]) == 1


def test_each_step_has_its_own_time_and_no_more_than_is_left() -> None:
    found = ran(step(1, seconds=7.0), step(1, seconds=600.0), seconds_left=20.0)
    assert found["answers"][0]["seconds"] == 7.0
    assert 10.0 < found["answers"][1]["seconds"] < 20.0


def test_one_that_hears_nothing_is_ended_and_what_was_done_before_is_told() -> None:
    hangs = {"script": "b/hangs", "args": {"do": "deaf"}, "takes": {}, "needs": {}, "seconds": 2.0}
    began = time.monotonic()
    found = ran(step(1), hangs, step(2))
    assert time.monotonic() - began < 30
    assert [*found["answers"][0]][:1] == ["sum"]
    assert found["answers"][1]["error"].startswith("found no end of deaf after 1 s")
    assert found["answers"][1]["timedout"] == {"period": 2}
    assert len(found["answers"]) == 2


def test_the_last_one_may_end_the_process() -> None:
    ends = {"script": "c/ends", "args": {"do": "end"}, "takes": {}, "needs": {}, "seconds": 2.0}
    assert [answer["sum"] for answer in ran(step(1), ends)["answers"]] == [1, 7]


@pytest.mark.parametrize("reader", ["cat >/dev/null", "true"])
def test_nothing_is_begun_when_nobody_waits_for_it(tmp_path: Path, reader: str) -> None:
    note = tmp_path / "note"
    late = f"import time\ntime.sleep(1)\n{script()}"  # the reader of `true` is gone by then
    steps = [step(1, args={"do": "add", "number": 1, "note": str(note)})]
    subprocess.run(
        ["sh", "-c", f"{framing.command(sys.executable, '0' * 16, late)} | {reader}"], check=True, timeout=60,
        input=framing.stdin(late, {"series": steps}), capture_output=True,
    )  # fmt: skip
    assert note.exists() is (reader != "true")


@pytest.mark.parametrize(
    "names",
    [
        (("service", "release"), ("health", "gate"), ("receipt", "receipt")),
        (("lock", "lock"), ("probe", "probe")),
        (("trust", "trust"), ("service", "release"), ("health", "gate"), ("receipt", "receipt"), ("lock", "lock")),
    ],
)
def test_the_scripts_of_a_change_have_no_two_modules_of_one_name(names: tuple[tuple[str, str], ...]) -> None:
    text = scripts.composed_series(names)
    assert len(zlib.compress(text.encode(), 9)) < 64 * 1024
    compile(text, "series", "exec")


def test_two_modules_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter([("1", {"same": "a"}), ("2", {"same": "b"})])
    monkeypatch.setattr(scripts, "host_script", lambda _role, _name: next(found))
    with pytest.raises(ValueError, match="two roles have a module same"):
        scripts.composed_series((("one", "a"), ("two", "b")))
