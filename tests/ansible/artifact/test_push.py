"""The artifact role on this machine: what arrives is what was sent, whatever happens on the way."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.plays import Played, command, environment, play, role, write_inventory, write_playbook

CONTENT = {
    "model.onnx.data": hashlib.shake_256(b"weights").digest(700_000),
    "genai_config.json": b"{}\n",
    "empty": b"",
    "tokens/chat.jinja": b"{{ messages }}",
}


class Bench:
    """A directory on the controller, one on the "host", and the playbook that makes them equal."""

    def __init__(self, folder: Path, content: dict[str, bytes]) -> None:
        self.folder, self.content = folder, content
        self.source, self.host = folder / "store" / "thing", folder / "host"
        self.destination, self.staging = self.host / "models" / "thing", self.host / "staging"
        files = []
        for name, data in content.items():
            path = self.source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            files.append({"path": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()})
        lines = sorted(f"{line['sha256']}  {line['path']}\n" for line in files)
        self.digest = hashlib.sha256("".join(lines).encode()).hexdigest()
        manifest = {"format": "phi4-edge/manifest/1", "files": files, "digest": self.digest}
        (self.source / "manifest.json").write_text(json.dumps(manifest))
        self.host.mkdir(parents=True, exist_ok=True)
        self.inventory = write_inventory(folder, {"here": {}})

    def playbook(self, **variables: Any) -> Path:
        own = {
            "__artifact_name": "thing", "__artifact_source": str(self.source), "__artifact_digest": self.digest,
            "__artifact_destination": str(self.destination), "artifact_staging": str(self.staging),
            "artifact_piece_bytes": 65536, "artifact_reserve_bytes": 0, "artifact_retries": 0,
        }  # fmt: skip
        task = role("artifact", **{**own, **variables})
        task["ansible.builtin.include_role"]["tasks_from"] = "install"
        return write_playbook(self.folder, task)

    def push(self, *options: str, **variables: Any) -> Played:
        return play(self.playbook(**variables), self.inventory, "-v", *options)

    def arrived(self) -> dict[str, bytes]:
        names = [path for path in self.destination.rglob("*") if path.is_file()]
        return {path.relative_to(self.destination).as_posix(): path.read_bytes() for path in names}

    def interrupted(self, name: str, data: bytes) -> None:
        """What a cut in the middle leaves on the host."""
        path = self.staging / self.digest / name
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
        self.staging.chmod(0o700)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, CONTENT)


def sent(played: Played) -> int:
    return int(played.output.split('"sent": ')[1].split("}")[0].split(",")[0])


def test_everything_arrives_world_readable_and_a_second_push_changes_nothing(bench: Bench) -> None:
    first = bench.push()
    assert first.status == 0, first.output
    assert bench.arrived() == CONTENT
    assert sent(first) == sum(map(len, CONTENT.values()))
    assert {oct(path.stat().st_mode & 0o777) for path in bench.destination.rglob("*") if path.is_file()} == {"0o644"}
    assert list(bench.staging.iterdir()) == []
    assert bench.staging.stat().st_mode & 0o777 == 0o700
    assert bench.push().recap("here")["changed"] == 0


def test_check_mode_says_what_would_be_sent_and_changes_nothing(bench: Bench) -> None:
    checked = bench.push("--check")
    assert checked.recap("here")["changed"] == 1
    assert "700017 bytes would be sent" in checked.output
    assert list(bench.host.iterdir()) == []


def test_a_push_goes_on_where_a_cut_left_it(bench: Bench) -> None:
    half = 6 * 65536
    bench.interrupted("model.onnx.data", CONTENT["model.onnx.data"][:half])
    again = bench.push()
    assert bench.arrived() == CONTENT
    assert sent(again) == sum(map(len, CONTENT.values())) - half


def test_a_controller_that_is_killed_in_the_middle_loses_at_most_one_piece(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"weights": hashlib.shake_256(b"more").digest(4_000_000)})
    line = command(bench.playbook(artifact_piece_bytes=4096), bench.inventory)
    partial = bench.staging / bench.digest / "weights"
    running = subprocess.Popen(line, env=environment(), start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        while not (partial.exists() and partial.stat().st_size >= 5 * 4096):
            assert running.poll() is None, "the push ended before it could be cut"
            time.sleep(0.02)
    finally:
        for group in {os.getpgid(process) for process in tree(running.pid)}:
            os.killpg(group, signal.SIGKILL)
        running.wait()
    arrived = partial.stat().st_size
    again = bench.push()
    assert bench.arrived() == bench.content
    assert sent(again) == 4_000_000 - arrived


def tree(process: int) -> list[int]:
    """A process and everything below it: Ansible's workers have sessions of their own."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [process, *(below for child in children for below in tree(int(child)))]


def test_a_byte_that_flipped_on_the_hosts_disk_is_found_and_sent_again(bench: Bench) -> None:
    flipped = bytearray(CONTENT["model.onnx.data"][: 8 * 65536])
    flipped[1000] ^= 1
    bench.interrupted("model.onnx.data", bytes(flipped))
    again = bench.push()
    assert again.status == 0, again.output
    assert bench.arrived() == CONTENT


def test_a_file_that_was_changed_in_place_is_the_only_one_sent_again(bench: Bench) -> None:
    bench.push()
    (bench.destination / "genai_config.json").write_text("[]\n")
    (bench.destination / "stray").write_text("not ours")
    again = bench.push()
    assert bench.arrived() == CONTENT
    assert sent(again) == len(CONTENT["genai_config.json"])


def test_a_truncated_file_on_the_controller_stops_before_the_host_is_touched(bench: Bench) -> None:
    (bench.source / "model.onnx.data").write_bytes(CONTENT["model.onnx.data"][:-1])
    failed = bench.push()
    assert failed.status == 2
    assert "damaged on the controller" in failed.output
    assert "699999 bytes" in failed.output
    assert "phi4-edge model verify" in failed.output
    assert list(bench.host.iterdir()) == []


def test_a_byte_that_flipped_on_the_controller_never_reaches_a_model_directory(bench: Bench) -> None:
    flipped = bytearray(CONTENT["model.onnx.data"])
    flipped[-1] ^= 1
    (bench.source / "model.onnx.data").write_bytes(bytes(flipped))
    failed = bench.push()
    assert failed.status == 2
    assert "is not what its manifest says" in failed.output
    assert not bench.destination.exists()


def test_too_little_disk_is_said_before_the_first_byte(bench: Bench) -> None:
    failed = bench.push(artifact_reserve_bytes=1 << 60)
    assert failed.status == 2
    assert "not enough disk for thing: found " in failed.output
    assert list(bench.host.iterdir()) == []


def test_a_disk_that_fills_up_in_the_middle_gets_its_room_back(tmp_path: Path) -> None:
    disk = tmp_path / "host"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk], check=False)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        bench = Bench(tmp_path, CONTENT)
        # Less than nothing in reserve: as if something else took the room after it had been looked at.
        failed = bench.push(artifact_reserve_bytes=-(1 << 30))
        assert failed.status == 2
        assert "the disk became full while thing was being copied: found " in failed.output
        assert not bench.destination.exists()
        assert not (bench.staging / bench.digest).exists()
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("digest", ["", "right"])
def test_wheels_that_the_lock_does_not_name_reach_no_host(tmp_path: Path, digest: str) -> None:
    """The folder's own manifest agrees with them, and so does its digest: neither says what may be run."""
    evil = {
        "pip-26.3-py3-none-any.whl": b"run",
        "requirements.txt": b"evil==1.0\n",
        "pip-1.whl/pip/__main__.py": b"run",
    }
    bench = Bench(tmp_path, evil)
    wheels = {"python": "3.13", "architecture": "x86_64"}
    failed = bench.push(__artifact_wheels=wheels, __artifact_digest=bench.digest if digest else "")
    assert failed.status == 2
    assert "pip-26.3-py3-none-any.whl: its hash is not in the lock" in failed.output
    assert "pip-1.whl/pip/__main__.py: is not a wheel" in failed.output
    assert not list(bench.host.iterdir())
    assert "needed one such as 3.13" in bench.push(__artifact_wheels={**wheels, "python": "../../x"}).output
