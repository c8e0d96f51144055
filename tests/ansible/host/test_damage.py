"""What the scripts make of a host on which somebody else was at work: damaged receipts, links, mounts, cut-off runs."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.host_scripts import ONE, TWO, Host, args, engine, hostlib, hostrun, receipt, release


@pytest.fixture
def host(tmp_path: Path) -> Host:
    found = Host(tmp_path)
    found.release(ONE, "a")
    found.commit(ONE, "a")
    return found


DAMAGED: dict[str, Any] = {
    "files of another kind": {"files": [7, {"path": 7}], "release": [], "previous_release": {}},
    "files that are no list": {"files": "abc", "release": ONE},
    "a list": [1, 2],
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_receipt_that_was_edited_into_nonsense_is_written_anew(host: Host, name: str) -> None:
    host.receipt.write_text(json.dumps(DAMAGED[name]))
    assert host.commit(ONE, "a")["changed"] is True
    found = json.loads(host.receipt.read_text())
    assert (found["release"], len(found["files"])) == (ONE, 3)  # its environment, the weights, the local fact


def test_a_directory_or_a_pipe_in_the_receipts_place_is_replaced(host: Host, tmp_path: Path) -> None:
    host.receipt.unlink()
    (host.receipt / "inside").mkdir(parents=True)
    host.commit(ONE, "a")
    assert json.loads(host.receipt.read_text())["release"] == ONE
    host.receipt.unlink()
    os.mkfifo(host.receipt)
    host.commit(ONE, "a")
    assert json.loads(host.receipt.read_text())["release"] == ONE


def test_a_link_in_the_receipts_place_is_replaced_and_its_target_kept(host: Host, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(host.receipt.read_text())
    host.receipt.unlink()
    host.receipt.symlink_to(secret)
    before = secret.read_bytes()
    assert host.commit(ONE, "a")["changed"] is True
    assert not host.receipt.is_symlink()
    assert secret.read_bytes() == before


@pytest.mark.parametrize("folder", ["models", "staging"])
def test_nothing_is_swept_behind_a_link(host: Host, tmp_path: Path, folder: str) -> None:
    shared = tmp_path / "shared"
    (shared / "of somebody else").mkdir(parents=True)
    ours = host.state / folder
    if ours.exists():
        ours.rename(tmp_path / "moved")
    ours.symlink_to(shared)
    receipt.sweep(args(host), b"")
    assert (shared / "of somebody else").is_dir()


def test_a_host_whose_receipt_cannot_be_read_is_not_torn_down(host: Host) -> None:
    host.receipt.write_text("{")
    done = release.rollback(args(host, failed=ONE, unit="none.service"), b"")
    assert done == {"changed": False, "to": "", "restarted": False, "kept": True}
    assert host.names() == {ONE, "a"}


def test_a_release_that_another_run_replaced_is_not_committed(host: Host) -> None:
    host.release(TWO, "b")
    body = {"release": TWO, "plan_fingerprint": TWO}
    with pytest.raises(hostlib.HostError, match="another run changed it"):
        receipt.commit(args(host, body=body, files=[], proof=""), b"")


@pytest.mark.parametrize("proof", ["", "proof-" + ONE, "another", "x" * 10_000])
def test_no_receipt_without_the_proof_of_this_run_s_gate(host: Host, proof: str) -> None:
    host.release(TWO, "b")
    hostlib.link_atomic(f"releases/{TWO}", str(host.root / "current"))
    before, wanted = host.receipt.read_text(), host.gate(TWO)
    body = {"release": TWO, "plan_fingerprint": TWO}
    with pytest.raises(hostlib.HostError, match="found no gate of this run"):
        receipt.commit(args(host, body=body, files=[], proof=proof), b"")
    assert host.receipt.read_text() == before
    assert receipt.commit(args(host, body=body, files=[], proof=wanted), b"")["changed"]
    with pytest.raises(hostlib.HostError, match="found no gate of this run"):  # it is good for one receipt
        receipt.commit(args(host, body=body, files=[], proof=wanted), b"")


def test_the_proof_of_another_release_s_gate_is_none(host: Host) -> None:
    host.release(TWO, "b")
    hostlib.link_atomic(f"releases/{TWO}", str(host.root / "current"))
    body = {"release": TWO, "plan_fingerprint": TWO}
    with pytest.raises(hostlib.HostError, match="found no gate of this run"):
        receipt.commit(args(host, body=body, files=[], proof=host.gate(ONE)), b"")
    assert json.loads(host.receipt.read_text())["release"] == ONE


def test_what_a_killed_run_left_beside_a_file_is_gone_and_a_living_ones_is_not(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    left, alive = tmp_path / f"unit.new-{ended.pid}", tmp_path / f"unit.new-{os.getppid()}"
    for path in (left, alive):
        path.write_text("half")
    hostlib.write_atomic(str(tmp_path / "unit"), b"whole")
    assert (left.exists(), alive.exists(), (tmp_path / "unit").read_text()) == (False, True, "whole")


def test_a_pipe_among_our_files_is_damage_and_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model")
    assert hostlib.damaged(str(tmp_path), {"model": {"path": "model", "sha256": "0", "mode": "0644"}}) == ["model"]
    assert hostlib.read_bytes(str(tmp_path / "model")) is None


def test_mount_points_below_ours_are_emptied_and_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mount = tmp_path / "ours" / "models"
    (mount / "a").mkdir(parents=True)
    (tmp_path / "ours" / "b").mkdir()
    monkeypatch.setattr(hostlib, "mounts", lambda path: str(mount).startswith(path))
    assert hostlib.remove_tree(str(tmp_path / "ours")) is True
    assert sorted(path.name for path in (tmp_path / "ours").rglob("*")) == ["models"]
    assert hostlib.remove_tree(str(tmp_path / "ours")) is False


def test_one_script_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostrun, "LOCK", str(tmp_path / "lock"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with hostrun.alone(0), pytest.raises(hostlib.HostError, match="another run is still at work"), hostrun.alone(0.1):
        pytest.fail("two at once")
    with hostrun.alone(0):
        assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600


def environment(root: Path, **other: str) -> None:
    """Stands in for a Python environment: what repair looks at, and no interpreter."""
    for name, text in {"lib/one.py": "1", "lib/two.py": "2", **other}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
        (root / name).chmod(0o644)
    (root / "bin").mkdir()
    (root / "bin" / "python").symlink_to("/bin/sh")
    (root / "lib" / "__pycache__").mkdir()
    (root / "lib" / "__pycache__" / "one.cpython-313.pyc").write_text(root.name)


def test_one_damaged_file_of_an_engine_is_repaired_and_no_other(tmp_path: Path) -> None:
    root, fresh = tmp_path / "engine", tmp_path / "fresh"
    environment(root)
    environment(fresh)
    record = {name: hostlib.entry(str(root / name), name) for name in hostlib.regular_files(str(root))}
    (root / "lib/one.py").write_text("changed by hand")
    kept = (root / "lib/two.py").stat().st_ino
    assert engine.mended(str(fresh), str(root), record) is True
    assert ((root / "lib/one.py").read_text(), (root / "lib/two.py").stat().st_ino) == ("1", kept)
    assert (root / "lib/__pycache__/one.cpython-313.pyc").read_text() == "fresh"
    assert hostlib.damaged(str(root), record) == []
    assert not fresh.exists()


@pytest.mark.parametrize("other", [{"lib/one.py": "newer"}, {"lib/three.py": "3"}])
def test_an_engine_of_which_more_differs_is_replaced_as_a_whole(tmp_path: Path, other: dict[str, str]) -> None:
    root, fresh = tmp_path / "engine", tmp_path / "fresh"
    environment(root)
    environment(fresh, **other)
    record = {name: hostlib.entry(str(root / name), name) for name in hostlib.regular_files(str(root))}
    (root / "lib/one.py").write_text("changed by hand")
    assert engine.mended(str(fresh), str(root), record) is False
    assert engine.mended(str(fresh), str(root), {}) is False
    assert (root / "lib/one.py").read_text() == "changed by hand"
    assert fresh.exists()
