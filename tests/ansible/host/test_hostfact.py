"""The local fact that a host tells other people's plays: made from the receipt, drift when changed, gone with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.host_scripts import ONE, TWO, Host, args, hostfact, hostlib, load, receipt
from tests.ansible.probe_run import place, probe

removal = load("service", "removal")
OTHER = "/etc/ansible/facts.d/site.fact"
BODY = {
    "phi4_edge_version": "0.1.0", "engine": "onnx", "quantization": "int4", "bind": "127.0.0.1", "port": 8080,
    "model": {"id": "phi-4-mini-instruct", "artifact": "onnx-int4", "digest": "d" * 64}, "unit": "phi4-edge.service",
    "service_manager": "systemd", "context_length": 4096, "parallel": 1, "host": "gw1", "steps": ["onnx"],
}  # fmt: skip


@pytest.fixture
def host(tmp_path: Path) -> Host:
    made = Host(tmp_path)
    made.release(ONE, "a")
    return made


def commit(host: Host, name: str = ONE, check: bool = False, **more: Any) -> dict[str, Any]:
    body = {**BODY, "release": name, "plan_fingerprint": name, **more}
    hostlib.link_atomic(f"releases/{name}", str(host.root / "current"))
    return dict(receipt.commit(args(host, body=body, files=[], proof=host.gate(name), check=check), b""))


def told(host: Host) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((host.facts / "phi4_edge.fact").read_text())
    return found


def erase(host: Host, **more: Any) -> dict[str, Any]:
    return dict(removal.erase(args(host, **more), b""))


def test_the_fact_says_what_the_receipt_says_and_no_more(host: Host) -> None:
    assert commit(host)["changed"]
    found, body = told(host), json.loads(host.receipt.read_text())
    assert found.pop("format") == "phi4-edge/fact/1"
    assert found.pop("version") == body["phi4_edge_version"] == "0.1.0"
    assert found == {name: body[name] for name in hostfact.NAMES}
    assert (found["release"], found["engine"], found["port"]) == (ONE, "onnx", 8080)
    path = host.facts / "phi4_edge.fact"
    assert path.stat().st_mode & 0o7777 == 0o644  # data: Ansible would run it otherwise
    assert host.facts.stat().st_mode & 0o7777 == 0o755
    assert str(path) in {line["path"] for line in body["files"]}


def test_a_second_commit_is_no_change_of_it(host: Host) -> None:
    commit(host)
    path = host.facts / "phi4_edge.fact"
    before = (path.read_bytes(), path.stat().st_ino, path.stat().st_mtime_ns)
    assert commit(host, check=True) == {"changed": False}
    assert not commit(host, phi4_edge_version="9.9.9")["changed"]  # another version that changes nothing on the host
    assert (path.read_bytes(), path.stat().st_ino, path.stat().st_mtime_ns) == before


def test_it_follows_the_release_forward_and_back(host: Host) -> None:
    host.release(TWO, "b")
    for name, previous in ((ONE, None), (TWO, ONE), (ONE, TWO)):
        assert commit(host, name)["changed"]
        assert (told(host)["release"], told(host)["previous_release"]) == (name, previous)


def test_its_version_is_that_of_the_receipt(host: Host) -> None:
    host.release(TWO, "b")
    for name, version, known in ((ONE, "0.1.0", "0.1.0"), (ONE, "0.2.0", "0.1.0"), (TWO, "0.2.0", "0.2.0")):
        commit(host, name, phi4_edge_version=version)
        assert told(host)["version"] == json.loads(host.receipt.read_text())["phi4_edge_version"] == known


def test_check_mode_writes_nothing(host: Host) -> None:
    assert commit(host, check=True) == {"changed": True}
    assert not host.facts.parent.exists()
    assert not host.state.joinpath(hostfact.NOTE).exists()


def edit(path: Path) -> None:
    path.write_text("{}")


def link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


def folder(path: Path) -> None:
    path.unlink()
    (path / "inside").mkdir(parents=True)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "edited": edit,
    "deleted": Path.unlink,
    "executable": lambda path: path.chmod(0o755),
    "writable": lambda path: path.chmod(0o666),
    "a link": link,
    "a folder": folder,
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_fact_that_was_changed_is_written_anew(host: Host, name: str) -> None:
    commit(host)
    path = host.facts / "phi4_edge.fact"
    before = told(host)
    DAMAGE[name](path)
    assert commit(host, check=True) == {"changed": True}
    assert commit(host)["changed"]
    assert told(host) == before
    assert path.stat().st_mode & 0o7777 == 0o644
    assert not path.is_symlink()
    assert not commit(host)["changed"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_fact_that_was_given_away_is_taken_back(host: Host) -> None:
    commit(host)
    os.chown(host.facts / "phi4_edge.fact", 12345, -1)
    assert commit(host, check=True) == {"changed": True}
    assert commit(host)["changed"]
    assert (host.facts / "phi4_edge.fact").stat().st_uid == 0


@pytest.mark.parametrize(
    ("name", "problem"),
    [("edited", "changed"), ("deleted", "missing"), ("executable", "mode"), ("a link", "changed")],
)
def test_the_look_names_what_is_wrong_with_it(tmp_path: Path, name: str, problem: str) -> None:
    fact = "/etc/ansible/facts.d/phi4_edge.fact"
    path = place(tmp_path, fact, "1234567")
    path.chmod(0o644)
    line = dict(hostlib.entry(str(path), fact))
    place(tmp_path, "/var/lib/phi4-edge/receipt.json", json.dumps({"files": [line], "links": []}))
    assert json.loads(probe(tmp_path)["receipt"]["text"])["drift"] == []
    DAMAGE[name](path)
    found = json.loads(probe(tmp_path)["receipt"]["text"])
    assert found["drift"] == [{"path": fact, "problem": problem}]
    assert "error" not in found


@pytest.mark.parametrize("path", [OTHER, "/etc/ansible/hosts", "/etc/ansible/facts.d/phi4_edge.fact/../site.fact"])
def test_a_receipt_cannot_have_the_look_read_others_facts(tmp_path: Path, path: str) -> None:
    line = {"path": path, "sha256": "0" * 64, "size": 1, "mode": "0644", "stamp": [1, 1, 1]}
    place(tmp_path, "/var/lib/phi4-edge/receipt.json", json.dumps({"files": [line], "links": []}))
    assert "not ours" in json.loads(probe(tmp_path)["receipt"]["text"])["error"]


def test_removal_leaves_no_file_and_no_folder_of_it(host: Host) -> None:
    commit(host)
    checked = erase(host, check=True)
    assert checked["changed"] and (host.facts / "phi4_edge.fact").exists()
    done = erase(host)
    assert done["changes"] == checked["changes"]
    wanted = [str(host.facts / "phi4_edge.fact"), str(host.facts), str(host.facts.parent)]
    assert done["changes"][:3] == wanted
    assert not host.facts.parent.exists()
    assert host.facts.parents[1].exists()
    assert not host.state.exists()
    assert erase(host) == {"changed": False, "changes": []}


@pytest.mark.parametrize("others", ["facts.d/site.fact", "ansible.cfg", "facts.d", ""])
def test_removal_leaves_what_others_have_there(host: Host, others: str) -> None:
    """What was there before us, and what came since."""
    top = host.facts.parent
    if others == "facts.d":
        host.facts.mkdir(parents=True)
    elif not others:
        top.mkdir()
    commit(host)
    if others and others != "facts.d":
        (top / others).write_text("{}")
    erase(host)
    assert not (host.facts / "phi4_edge.fact").exists()
    assert top.exists()
    assert (top / others).exists()
    assert host.facts.exists() is others.startswith("facts.d")


def test_a_file_of_somebody_else_is_not_taken_away(host: Host) -> None:
    host.facts.mkdir(parents=True)
    (host.facts / "phi4_edge.fact").write_text('{"format": "theirs"}')
    assert not [path for path in erase(host)["changes"] if "facts" in path]
    assert (host.facts / "phi4_edge.fact").exists()


def test_our_own_is_known_also_where_its_note_was_lost(host: Host) -> None:
    commit(host)
    (host.state / hostfact.NOTE).unlink()
    erase(host)
    assert not (host.facts / "phi4_edge.fact").exists()


@pytest.mark.parametrize("note", ["[]", '{"format": "phi4-edge/fact-note/1", "made": ["/", "/etc"]}', "no JSON"])
def test_a_note_names_no_folder_but_ours(host: Host, tmp_path: Path, note: str) -> None:
    commit(host)
    (tmp_path / "empty").mkdir()
    (host.state / hostfact.NOTE).write_text(note)
    erase(host)
    assert host.facts.exists()
    assert (tmp_path / "empty").exists()


def test_folders_that_were_made_in_a_run_that_was_cut_are_remembered(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(hostfact, "write_atomic", lambda *_: (_ for _ in ()).throw(OSError("cut")))
        with pytest.raises(OSError, match="cut"):
            commit(host)
    assert host.facts.exists()
    commit(host)
    erase(host)
    assert not host.facts.parent.exists()


def test_ansible_reads_it_as_a_local_fact(host: Host) -> None:
    commit(host)
    ansible = Path(sys.executable).parent / "ansible"
    where = f"filter=ansible_local fact_path={host.facts}"
    done = subprocess.run(
        [ansible, "-i", "localhost,", "localhost", "-c", "local", "-m", "setup", "-a", where,
         "-e", f"ansible_python_interpreter={sys.executable}"],
        capture_output=True, text=True, check=True, env={"PATH": os.defpath, "HOME": str(host.root.parent)},
    )  # fmt: skip
    found = json.loads(done.stdout.partition("=>")[2])["ansible_facts"]["ansible_local"]
    assert found == {"phi4_edge": told(host)}
