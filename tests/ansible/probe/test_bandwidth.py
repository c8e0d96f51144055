"""The sample of the memory's bandwidth: the script on this machine, and over both ways to a host."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from phi4_edge import content
from phi4_edge.core import speed
from phi4_edge.remote import probe
from tests.ansible.probe.test_playbook import PLAIN, detect
from tests.unit.operations.test_look import looked, probed

ANNOTATIONS = "from __future__ import annotations\n"
SCRIPT = (content.roles() / "probe" / "files" / "bandwidth.py").read_text()


def run(**changes: Any) -> dict[str, Any]:
    """What the script says, with names of its own replaced before it begins."""
    said: list[dict[str, Any]] = []
    body, end, rest = SCRIPT.partition("try:\n    answer = sample()")
    scope: dict[str, Any] = {"EMIT": said.append, "__name__": "bandwidth", "changes": changes}
    exec(compile(f"{body}globals().update(changes)\n{end}{rest}", "bandwidth.py", "exec"), scope)
    return said[0]


def test_a_sample_is_soon_there_and_is_that_of_a_memory() -> None:
    began = time.monotonic()
    said = run()
    assert time.monotonic() - began < 5  # 0.1 s on a machine that does nothing else
    assert said["why"] == ""
    assert 2e8 < said["one"] <= said["all"] < 1e12
    assert speed.bandwidth(f"{said['one']} {said['all']} {said['threads']}", said["threads"]) == said["all"]


def test_without_the_c_library_one_thread_is_all_there_is() -> None:
    said = run(scanner=lambda buffer: None)
    assert said["threads"] == 1 and said["one"] == said["all"] > 1e8


@pytest.mark.parametrize(("cache", "size"), [(0, 64), (8, 64), (32, 64), (48, 96), (512, 256)])
def test_the_buffer_does_not_fit_into_the_cache(cache: int, size: int) -> None:
    asked: list[int] = []

    def scanner(buffer: bytearray) -> None:
        asked.append(len(buffer) >> 20)

    run(scanner=scanner, number=lambda path, _: cache << 10 if "index3" in path else 16 << 20)
    assert asked == [size]


def test_where_little_memory_is_free_none_is_taken() -> None:
    said = run(number=lambda path, _: 0 if "index3" in path else 300 << 10)
    assert said == {"one": 0, "all": 0, "threads": 0, "why": "300 MiB of memory are free, a sample needs 512"}


def test_a_host_that_allows_no_threads_is_no_failure() -> None:
    def fastest(*_: object) -> int:
        raise RuntimeError("can't start new thread")

    assert run(fastest=fastest)["why"] == "RuntimeError: can't start new thread"


def test_both_ways_to_a_host_sample_the_same(tmp_path: Path) -> None:
    with probed(tmp_path) as (gw1, server):
        by_look = looked([gw1], sample=True)[0].documents["gw1"]
        assert len(server.ran) == 2
    (tmp_path / "hosts").mkdir()
    python = f"ansible_python_interpreter={sys.executable}"
    result, _ = detect(tmp_path / "hosts", f"gw1 {python}", extra_vars={**PLAIN, "probe_sample": True})
    assert result.hosts["gw1"].message == ""
    by_ansible = result.hosts["gw1"].facts["phi4_facts"]
    assert set(by_look["sources"]) == set(by_ansible["sources"])
    assert speed.bandwidth(by_look["sources"]["bandwidth"]["text"], 2)
    # A local host has what a worker of Ansible's may still allocate, which may be too little for the buffer.
    found = by_ansible["sources"]["bandwidth"]
    assert "Error" in found["detail"] if "gap" in found else speed.bandwidth(found["text"], 2)


def test_a_thread_that_could_not_start_leaves_the_others_their_buffer() -> None:
    emit = "EMIT = lambda said: print(said['why'] or 'sampled')\n"
    script = emit + SCRIPT.partition(ANNOTATIONS)[2].replace("Callable[[int, int], object] | None", "object")
    outcomes = set()
    for megabytes in range(66, 90, 2):
        limited = f"import resource\nresource.setrlimit(resource.RLIMIT_DATA, ({megabytes << 20},) * 2)\n"
        done = subprocess.run([sys.executable, "-IBc", limited + script], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), megabytes
        outcomes.add(done.stdout.strip())
    assert "sampled" in outcomes and len(outcomes) > 1


def test_who_does_not_plan_asks_once(tmp_path: Path) -> None:
    with probed(tmp_path) as (gw1, server):
        found = looked([gw1])[0].documents["gw1"]
        assert len(server.ran) == 1 and "bandwidth" not in found["sources"]


@pytest.mark.parametrize(
    ("receipt", "asked"),
    [
        ({"text": '{"present": false}'}, True),
        ({"text": ""}, True),
        ({"gap": "missing", "detail": ""}, True),
        ({"text": '{"present": true, "receipt": {}}'}, False),
        # Nobody could look: something may serve there.
        ({"gap": "denied", "detail": ""}, False),
        ({"text": "{"}, False),
    ],
)
def test_a_host_that_may_serve_is_not_asked(receipt: dict[str, str], asked: bool) -> None:
    document = {"format": "phi4-edge/facts/1", "sources": {"receipt": receipt}}
    heard: list[object] = []

    def ask(operation: object) -> dict[str, Any]:
        heard.append(operation)
        return {"one": 5, "all": 9, "threads": 2, "why": ""}

    found = probe.sampled(document, ask)
    assert heard == ([probe.SAMPLE] if asked else [])
    assert found["sources"].get("bandwidth") == ({"text": "5 9 2"} if asked else None)


def test_why_there_is_no_sample_is_a_gap() -> None:
    document = {"format": "phi4-edge/facts/1", "sources": {"receipt": {"text": ""}}}
    found = probe.sampled(document, lambda _: {"one": 0, "all": 0, "threads": 0, "why": "no room"})
    assert found["sources"]["bandwidth"] == {"gap": "failed", "detail": "no room"}
