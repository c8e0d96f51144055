"""What the scripts do to a host's files, on a directory of this machine: stage, commit, prune, refuse."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.remote import scripts
from tests.ansible.host_scripts import (
    ONE,
    THREE,
    TWO,
    Host,
    args,
    engine,
    gateport,
    hostlib,
    hostrun,
    receipt,
    release,
    stage,
)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_staging_writes_what_differs_and_nothing_else(host: Host) -> None:
    files = {"environment": "A=1\n", "plan.json": "{}\n"}
    assert len(stage(host, ONE, files, {"engine": "../../engines/x"})["changes"]) == 3
    plan = (host.root / "releases" / ONE / "plan.json").stat()
    assert stage(host, ONE, files, {"engine": "../../engines/x"})["changed"] is False
    environment = host.root / "releases" / ONE / "environment"
    environment.write_text("A=2\n")
    again = stage(host, ONE, files, {"engine": "../../engines/x"})
    assert again["changes"] == [str(environment)]
    assert (again["diff"][0]["before"], again["diff"][0]["after"]) == ("A=2\n", "A=1\n")
    assert (host.root / "releases" / ONE / "plan.json").stat().st_ino == plan.st_ino


def test_staging_replaces_a_link_that_stands_in_for_a_file(host: Host, tmp_path: Path) -> None:
    stage(host, ONE, {"environment": "A=1\n"}, {})
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("A=1\n")
    path = host.root / "releases" / ONE / "environment"
    path.unlink()
    path.symlink_to(elsewhere)
    assert stage(host, ONE, {"environment": "A=1\n"}, {})["changed"] is True
    assert not path.is_symlink()
    assert elsewhere.read_text() == "A=1\n"


def test_check_mode_stages_nothing(host: Host) -> None:
    assert stage(host, ONE, {"environment": "A=1\n"}, {"model": "/x"}, check=True)["changed"] is True
    assert not host.root.exists()


@pytest.mark.parametrize("name", ["../r-111111111111", "r-1", "", "current"])
def test_a_release_has_a_release_name(host: Host, name: str) -> None:
    with pytest.raises(hostlib.HostError, match="refusing the release name"):
        stage(host, name, {"environment": ""}, {})


def test_a_commit_keeps_this_release_and_the_one_before_and_what_they_need(host: Host) -> None:
    for name, model in ((ONE, "a"), (TWO, "b"), (THREE, "b")):
        host.release(name, model)
        host.commit(name, model)
    found = hostlib.read_json(str(host.receipt))
    assert (found["release"], found["previous_release"]) == (THREE, TWO)
    assert host.names() == {TWO, THREE, "b"}


def test_a_model_that_the_previous_release_needs_stays(host: Host) -> None:
    host.release(ONE, "a")
    host.commit(ONE, "a")
    host.release(TWO, "b")
    host.commit(TWO, "b")
    assert host.names() == {ONE, TWO, "a", "b"}


def test_going_back_makes_the_newer_release_the_previous_one(host: Host) -> None:
    for name, model in ((ONE, "a"), (TWO, "b"), (ONE, "a")):
        host.release(name, model)
        host.commit(name, model)
    found = hostlib.read_json(str(host.receipt))
    assert (found["release"], found["previous_release"]) == (ONE, TWO)


def test_a_release_that_was_taken_back_is_nothing_to_go_back_to(host: Host) -> None:
    for name, model in ((ONE, "a"), (TWO, "b")):
        host.release(name, model)
        host.commit(name, model)
    host.commit(ONE, "a", forget=True)
    found = hostlib.read_json(str(host.receipt))
    assert (found["release"], found["previous_release"]) == (ONE, None)
    assert host.names() == {ONE, "a"}


def test_a_second_commit_is_no_change(host: Host) -> None:
    host.release(ONE, "a")
    assert host.commit(ONE, "a")["changed"] is True
    written = host.receipt.read_bytes()
    assert host.commit(ONE, "a")["changed"] is False
    assert host.receipt.read_bytes() == written


def test_the_receipt_names_every_file_with_its_hash_and_mode(host: Host) -> None:
    host.release(ONE, "a")
    host.commit(ONE, "a")
    found = hostlib.read_json(str(host.receipt))
    assert {Path(line["path"]).name: line["mode"] for line in found["files"]} == {
        "environment": "0644",
        "weights": "0644",
        "phi4_edge.fact": "0644",
    }
    for line in found["files"]:
        assert hostlib.sha256_file(line["path"]) == line["sha256"]
        assert hostlib.stamp(os.lstat(line["path"])) == line["stamp"]
    assert found["links"] == [
        {"path": str(host.root / "current"), "target": f"releases/{ONE}"},
        {"path": str(host.root / "releases" / ONE / "model"), "target": str(host.state / "models" / "a")},
    ]


def test_nothing_is_swept_on_a_host_without_a_receipt(host: Host) -> None:
    host.release(ONE, "a")
    assert receipt.sweep(args(host), b"") == {"changed": False, "pruned": []}
    assert host.names() == {ONE, "a"}


def test_sweeping_takes_away_what_a_failed_release_brought(host: Host) -> None:
    host.release(ONE, "a")
    host.commit(ONE, "a")
    host.release(TWO, "b")
    receipt.sweep(args(host), b"")
    assert host.names() == {ONE, "a"}


def test_there_is_no_way_back_from_the_first_release(host: Host) -> None:
    host.release(ONE, "a")
    host.commit(ONE, "a")
    with pytest.raises(hostlib.HostError, match="found no previous release"):
        release.previous(args(host), b"")


def test_a_damaged_engine_is_not_complete(tmp_path: Path) -> None:
    root = tmp_path / "engine"
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "python").symlink_to(sys.executable)
    (root / "module.py").write_text("x = 1\n")
    assert engine.inspect({"engine": str(root)}, b"") == {"complete": False, "damaged": []}
    files = [hostlib.entry(str(root / name), name) for name in hostlib.regular_files(str(root))]
    hostlib.write_record(str(root), files)
    # As an older version left it: nobody can say what it was built from.
    assert engine.inspect({"engine": str(root)}, b"")["complete"] is False
    hostlib.write_record(str(root), files, made_of={"wheels": "a" * 64, "code": "b" * 64})
    assert engine.inspect({"engine": str(root)}, b"")["complete"] is True
    (root / "module.py").write_text("x = 2\n")
    assert engine.inspect({"engine": str(root)}, b"") == {"complete": False, "damaged": ["module.py"]}


def test_a_directory_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "staging").symlink_to(tmp_path / "real")
    with pytest.raises(hostlib.HostError, match="not a directory owned by uid"):
        hostlib.own_directory(str(tmp_path / "staging"), 0o700)


def test_what_a_program_says_cannot_reach_the_terminal() -> None:
    status, said = hostrun.command(sys.executable, "-c", r"print('\x1b[31mred\x1b[0m \x07bell')")
    assert (status, said) == (0, "red  bell")
    assert hostrun.command("/no/such/program")[0] == 127
    assert hostrun.command(sys.executable, "-c", "import time; time.sleep(60)", timeout=0.2)[0] == 124


def test_a_stranger_on_the_port_is_named() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert f"(process {os.getpid()} of user " in gateport.stranger(port, "phi4-edge.service")
    assert gateport.stranger(port, "phi4-edge.service") == ""


def test_a_script_is_sent_with_the_modules_that_it_imports() -> None:
    """The composed text runs as the bootstrap runs it, and an error of the script is its answer."""
    script = "from __future__ import annotations\nfrom shared import serve\nserve(globals())\n"
    shared = "def serve(scope):\n    scope['EMIT']({'name': scope['__name__'], 'args': scope['ARGS']})\n"
    answers: list[Any] = []
    scope = {"__name__": "__main__", "ARGS": {"do": "x"}, "EMIT": answers.append}
    exec(compile(scripts.compose(script, {"shared": shared}), "test", "exec"), scope)
    assert answers == [{"name": "__main__", "args": {"do": "x"}}]
    del sys.modules["shared"]


def test_an_error_on_the_host_becomes_the_tasks_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostrun, "LOCK", str(tmp_path / "lock"))
    answers: list[Any] = []

    class Payload:
        def read(self) -> bytes:
            return b""

    def refuse(_args: dict[str, Any], _payload: bytes) -> dict[str, Any]:
        raise hostlib.HostError("found this, needed that", step="x")

    before = os.umask(0o077)
    try:
        hostrun.serve({"PAYLOAD": Payload(), "ARGS": {"do": "it"}, "EMIT": answers.append}, {"it": refuse})
    finally:
        os.umask(before)
    assert answers == [{"step": "x", "error": "found this, needed that"}]
