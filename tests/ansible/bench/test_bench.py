"""What the host says that its engine takes: control groups of both versions, and the record beside the receipt."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.host_scripts import hostdocker, hostlib, load

bench = load("bench", "bench")
RELEASE = "r-0123456789ab"
ENGINE = {"compose": False, "project": "phi4-edge", "unit": "phi4-edge.service", "gpu": "", "seconds": 0.3}


@pytest.fixture
def pid(monkeypatch: pytest.MonkeyPatch) -> int:
    """The engine's process is this one; what systemd would say is made up."""
    monkeypatch.setattr(bench, "command", lambda *argv, **_: (0, str(os.getpid())))
    return os.getpid()


def group(top: Path, version: int, memory: int, seconds: float) -> None:
    """A control group of 'svc' that has used so much."""
    files = {
        2: {
            "svc/memory.stat": f"anon {memory}\nfile 99999\nfile_mapped 1000\n",
            "svc/cpu.stat": f"usage_usec {int(seconds * 1e6)}\nuser_usec 1\n",
        },
        1: {
            "memory/svc/memory.stat": f"cache 9\nrss 5\ntotal_rss {memory}\ntotal_mapped_file 1000\n",
            "cpuacct/svc/cpuacct.usage": f"{int(seconds * 1e9)}\n",
        },
    }[version]  # fmt: skip
    for name, text in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)


@pytest.mark.parametrize("version", [1, 2])
def test_the_most_memory_counts_and_the_mean_of_the_processor(
    version: int, pid: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = {"": "/svc"} if version == 2 else {"memory": "/svc", "cpuacct": "/svc"}
    monkeypatch.setattr(bench, "memberships", lambda _: groups)
    group(tmp_path, version, 5000, 10.0)

    def later() -> None:
        time.sleep(0.15)
        group(tmp_path, version, 70_000, 10.0)
        time.sleep(0.25)
        group(tmp_path, version, 6000, 10.3)

    thread = threading.Thread(target=later)
    thread.start()
    found = bench.usage({**ENGINE, "top": str(tmp_path), "seconds": 0.6}, b"")
    thread.join()
    assert (found["memory"], found["vram"]) == (71_000, -1)
    assert found["cpu"] == pytest.approx(0.5, rel=0.4)


def test_what_a_host_does_not_count_is_told(pid: int, tmp_path: Path) -> None:
    assert bench.usage({**ENGINE, "top": str(tmp_path)}, b"") == {
        "counted": False, "memory": -1, "vram": -1, "cpu": -1,
    }  # fmt: skip


def test_the_group_of_a_process_is_read_from_the_kernel() -> None:
    found = bench.memberships(os.getpid())
    assert found and all(place.startswith("/") for place in found.values())
    with pytest.raises(hostlib.HostError, match="the engine has ended"):
        bench.memberships(2**22 + 5)


@pytest.mark.parametrize("said", [(0, "0"), (1, "Failed"), (0, "")])
def test_an_engine_that_does_not_run_is_told(said: tuple[int, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "command", lambda *_, **__: said)
    with pytest.raises(hostlib.HostError, match=r"found no process of phi4-edge.service, needed the engine to run"):
        bench.usage(ENGINE, b"")


def container(pid: int, state: str = "running", release: str = RELEASE) -> dict[str, Any]:
    return {"Config": {"Labels": {"phi4-edge.release": release}}, "State": {"Status": state, "Pid": pid}}


def test_a_container_is_the_one_that_runs_and_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = [container(7, "exited"), container(8, release=""), container(9)]
    monkeypatch.setattr(hostdocker, "inspect", lambda _: listed)
    assert bench.main_pid({**ENGINE, "compose": True}) == 9
    listed.append(container(10))
    with pytest.raises(hostlib.HostError, match="found no process"):
        bench.main_pid({**ENGINE, "compose": True})


def test_of_a_gpu_what_is_in_use_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "command", lambda *_, **__: (0, "GPU-a, 100\nGPU-b, 4500\nGPU-c, [N/A]"))
    assert [bench.on_gpu(name) for name in ("GPU-b", "GPU-c", "GPU-x", "")] == [4500 << 20, -1, -1, -1]


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "receipt.json").write_text(json.dumps({"release": RELEASE}))
    yield tmp_path


def test_the_record_is_written_once_and_is_for_all_to_read(state: Path) -> None:
    wish = {"state": str(state), "release": RELEASE, "record": {"format": "x", "measured": []}}
    assert bench.keep(wish, b"") == {"changed": True}
    path = state / "bench.json"
    assert json.loads(path.read_text()) == wish["record"]
    assert path.stat().st_mode & 0o777 == 0o644 and path.stat().st_uid == os.geteuid()
    assert bench.keep(wish, b"") == {"changed": False}
    assert sorted(entry.name for entry in state.iterdir()) == ["bench.json", "receipt.json"]


@pytest.mark.parametrize("receipt", [None, "{}", '{"release": "r-ba9876543210"}', "[]"])
def test_nothing_is_kept_of_another_release(receipt: str | None, state: Path) -> None:
    (state / "receipt.json").unlink() if receipt is None else (state / "receipt.json").write_text(receipt)
    with pytest.raises(hostlib.HostError, match="needed r-0123456789ab, which was measured"):
        bench.keep({"state": str(state), "release": RELEASE, "record": {}}, b"")
    assert not (state / "bench.json").exists()


def test_a_link_in_its_place_is_replaced_and_not_followed(state: Path) -> None:
    victim = state / "victim"
    victim.write_text("mine")
    (state / "bench.json").symlink_to(victim)
    bench.keep({"state": str(state), "release": RELEASE, "record": {"format": "x"}}, b"")
    assert victim.read_text() == "mine" and not (state / "bench.json").is_symlink()


def test_it_runs_with_nothing_but_the_standard_library() -> None:
    from phi4_edge.remote import framing, scripts

    text = scripts.composed("bench", "bench")
    line = framing.command(sys.executable, "n0nce", text)
    given = {**ENGINE, "do": "usage", "unit": "no-such.service"}
    done = subprocess.run(["/bin/sh", "-c", line], input=framing.stdin(text, given), capture_output=True, check=False)
    assert "found no process of no-such.service" in framing.parse(done.stdout.decode(), "n0nce")["error"]
