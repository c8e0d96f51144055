"""A managed file that somebody gave to another user or group: named, shown in a difference, and taken back."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from tests.ansible.host_scripts import ONE, Host, args, receipt, stage
from tests.ansible.probe_run import place, probe

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
OTHER = 12345
FILES = {"environment": "A=1\n"}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    made = Host(tmp_path)
    made.release(ONE, "a")
    made.commit(ONE, "a")
    return made


def owner(path: Path) -> tuple[int, int]:
    return path.stat().st_uid, path.stat().st_gid


@pytest.mark.parametrize("ids", [(OTHER, -1), (-1, OTHER), (OTHER, OTHER)])
def test_a_file_of_the_release_is_staged_anew(tmp_path: Path, ids: tuple[int, int]) -> None:
    made = Host(tmp_path)
    stage(made, ONE, FILES, {})
    path = made.root / "releases" / ONE / "environment"
    os.chown(path, *ids)
    given = owner(path)
    found = stage(made, ONE, FILES, {}, check=True)
    assert found["changes"] == [str(path)] and owner(path) == given
    assert [(one["before"], one["after"]) for one in found["diff"]] == [
        (f"mode 0644, owner {given[0]}:{given[1]}\n", "mode 0644, owner 0:0\n")
    ]
    assert stage(made, ONE, FILES, {})["changed"] and owner(path) == (0, 0)
    assert not stage(made, ONE, FILES, {})["changed"]


def test_a_changed_mode_shows_in_the_difference(tmp_path: Path) -> None:
    made = Host(tmp_path)
    stage(made, ONE, FILES, {})
    (made.root / "releases" / ONE / "environment").chmod(0o666)
    (shown,) = stage(made, ONE, FILES, {})["diff"]
    assert (shown["before"], shown["after"]) == ("mode 0666, owner 0:0\n", "mode 0644, owner 0:0\n")
    assert stage(made, ONE, FILES, {})["diff"] == []


def test_what_is_written_in_a_folder_with_the_setgid_bit_is_ours(tmp_path: Path) -> None:
    made = Host(tmp_path)
    stage(made, ONE, {}, {"model": "/nowhere"})
    folder = made.root / "releases" / ONE
    os.chown(folder, -1, OTHER)
    folder.chmod(0o2755)
    stage(made, ONE, FILES, {})
    assert owner(folder / "environment") == (0, 0) and not stage(made, ONE, FILES, {})["changed"]


@pytest.mark.parametrize("ids", [(OTHER, -1), (-1, OTHER)])
def test_a_commit_takes_large_files_back_too(host: Host, ids: tuple[int, int]) -> None:
    weights = host.state / "models" / "a" / "weights"
    os.chown(weights, *ids)
    checked = receipt.commit(args(host, body={"release": ONE, "plan_fingerprint": ONE}, files=[], check=True), b"")
    assert checked == {"changed": True} and owner(weights) != (0, 0)
    assert host.commit(ONE, "a")["changed"] and owner(weights) == (0, 0)
    assert not host.commit(ONE, "a")["changed"]


def test_the_receipt_names_owners(host: Host) -> None:
    lines = json.loads(host.receipt.read_text())["files"]
    assert lines and {line["owner"] for line in lines} == {"0:0"}


@pytest.mark.parametrize(("ids", "named"), [((OTHER, -1), True), ((-1, OTHER), True), ((0, 0), False)])
@pytest.mark.parametrize("told", [True, False])
def test_the_probe_names_a_changed_owner(tmp_path: Path, ids: tuple[int, int], named: bool, told: bool) -> None:
    name = "/opt/phi4-edge/releases/r-1/environment"
    path = place(tmp_path, name, b"A=1")
    path.chmod(0o644)
    status = path.stat()
    line = {"path": name, "sha256": hashlib.sha256(b"A=1").hexdigest(), "size": 3,
            "mode": "0644", "stamp": [3, status.st_mtime_ns, status.st_ino]}  # fmt: skip
    if told:
        line["owner"] = "0:0"
    os.chown(path, *ids)
    place(tmp_path, "/var/lib/phi4-edge/receipt.json", json.dumps({"files": [line], "links": []}))
    drift = json.loads(probe(tmp_path)["receipt"]["text"])["drift"]
    # A receipt of an older version tells no owner: nothing is known against the file.
    assert drift == ([{"path": name, "problem": "owner"}] if named and told else [])
