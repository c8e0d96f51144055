"""The lock in a play: each host answers for itself, whoever loses says who won, and a play that fails lets go."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.ansible.plays import ROOT, Played, command, environment, play, role, write_inventory, write_playbook

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can lock a host, and this machine is the host")
MESSAGE = "found it locked, according to this host, by"
HOSTS = ("a", "b")


def locked_play(folder: Path, *tasks: dict[str, object]) -> tuple[Path, Path]:
    """Inventory and playbook of a play that locks its hosts around `tasks`."""
    released = {"ansible.builtin.include_role": {"name": "phi4_edge.edge.lock", "tasks_from": "release"}}
    block = {"block": [role("lock", lock_operation="test"), *tasks], "always": [released]}
    return write_inventory(folder, {host: {} for host in HOSTS}), write_playbook(folder, block)


def options(folder: Path) -> tuple[str, ...]:
    """Each host has its lock in a folder of its own; all of them are this machine."""
    return ("--extra-vars", json.dumps({"__lock_state": f"{folder}/{{{{ inventory_hostname }}}}"}))


def run(folder: Path, *tasks: dict[str, object], more: tuple[str, ...] = ()) -> Played:
    inventory, playbook = locked_play(folder, *tasks)
    return play(playbook, inventory, *options(folder), *more)


@pytest.fixture
def holder(tmp_path: Path) -> subprocess.Popen[bytes]:
    """Another run that is at work on the first host, until it is killed."""
    folder = tmp_path / "holder"
    folder.mkdir()
    inventory, playbook = locked_play(folder, {"ansible.builtin.wait_for": {"timeout": 300}})
    running = subprocess.Popen(
        command(playbook, inventory, *options(tmp_path), "--limit", "a"), env=environment(), stdout=subprocess.DEVNULL
    )
    end = time.monotonic() + 120
    while not (tmp_path / "a" / "lock").exists() and time.monotonic() < end:
        time.sleep(0.1)
    return running


def told(output: str) -> dict[str, int]:
    """Pid of the run that has a host, by host that failed with it."""
    found = re.findall(rf"^fatal: \[(\w+)\]: FAILED! => .*{MESSAGE} root@.* pid (\d+)\)", output, re.MULTILINE)
    return {host: int(pid) for host, pid in found}


def stop(running: subprocess.Popen[bytes]) -> None:
    running.kill()
    running.wait()


def test_a_play_locks_its_hosts_and_lets_go_also_when_it_fails(tmp_path: Path) -> None:
    fine = run(tmp_path, {"ansible.builtin.stat": {"path": f"{tmp_path}/{{{{ inventory_hostname }}}}/lock"}})
    assert fine.status == 0, fine.output
    assert all(fine.recap(host)["changed"] == 0 for host in HOSTS)
    failed = run(tmp_path, {"ansible.builtin.fail": {"msg": "no"}})
    assert failed.status == 2, failed.output
    assert not any((tmp_path / host).exists() for host in HOSTS), "nothing is left where nothing was"


@pytest.mark.parametrize("skip", [False, True])
def test_a_host_that_is_held_answers_for_itself_alone(
    tmp_path: Path, holder: subprocess.Popen[bytes], skip: bool
) -> None:
    """The first host of the play is held: it fails with who has it, or is left out; the other one goes on."""
    work = {"ansible.builtin.file": {"path": f"{tmp_path}/{{{{ inventory_hostname }}}}-was-here", "state": "touch"}}
    # Both hosts are this machine and share its sign of life: that of the first is looked at before the second has one.
    one_by_one = ("--forks", "1")
    try:
        second = run(tmp_path, work, more=(*one_by_one, "--extra-vars", json.dumps({"lock_skip": skip})))
    finally:
        stop(holder)
    assert second.status == (0 if skip else 2), second.output
    assert f"{MESSAGE} root@" in second.output and f"pid {holder.pid}" in second.output
    assert told(second.output) == ({} if skip else {"a": holder.pid})
    assert [second.recap(host)["failed"] for host in HOSTS] == [0 if skip else 1, 0]
    assert sorted(path.name for path in tmp_path.glob("*-was-here")) == ["b-was-here"]
    assert not (tmp_path / "b").exists(), "it gave its lock back"


def test_the_playbook_says_who_has_each_host_and_takes_no_live_lock(
    tmp_path: Path, holder: subprocess.Popen[bytes]
) -> None:
    inventory, book = write_inventory(tmp_path, {host: {} for host in HOSTS}), ROOT / "playbooks" / "lock.yml"
    try:
        shown = play(book, inventory, *options(tmp_path))
        kept = play(book, inventory, *options(tmp_path), "--extra-vars", "lock_do=release")
        checked = play(book, inventory, *options(tmp_path), "--extra-vars", "lock_do=release", "--check")
    finally:
        stop(holder)
    assert shown.status == 0, shown.output
    assert re.search(rf'"msg": "a: held, root@.* \(test since .*, pid {holder.pid}\)"', shown.output), shown.output
    assert '"msg": "b: free"' in shown.output
    assert [kept.recap(host)["failed"] for host in HOSTS] == [1, 0], kept.output
    assert '"msg": "b: free"' in kept.output
    assert checked.status == 0, checked.output


def test_of_two_plays_at_once_one_gets_all_hosts(tmp_path: Path) -> None:
    """Who has the first host has a head start on the others, so that two runs do not get half of them each."""
    wait = {"ansible.builtin.wait_for": {"timeout": 12}}
    both = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        inventory, playbook = locked_play(tmp_path / name, wait)
        argv = command(playbook, inventory, *options(tmp_path))
        both.append(subprocess.Popen(argv, env=environment(), stdout=subprocess.PIPE, text=True))
    said = [process.communicate(timeout=180)[0] for process in both]
    codes = [process.returncode for process in both]
    assert sorted(codes) == [0, 2], said
    lost, won = said[codes.index(2)], both[codes.index(0)]
    assert told(lost) == dict.fromkeys(HOSTS, won.pid), lost


@pytest.mark.parametrize("what", ["take", "release"])
def test_a_host_that_says_nothing_keeps_no_other_for_longer_than_it_may(tmp_path: Path, what: str) -> None:
    """Its answer to that one operation never comes."""
    silent = tmp_path / "silent-python"
    silent.write_text(
        "#!/bin/sh\n"  # the script that comes on standard input is looked at, and run when it asks for something else
        f"exec {sys.executable} -c 'import os, subprocess, sys, time\n"
        "data = sys.stdin.buffer.read()\n"
        f'time.sleep(600) if b"\\"do\\": \\"{what}\\"" in data else 0\n'
        'sys.exit(subprocess.run([sys.executable, *sys.argv[1:]], input=data).returncode)\' "$@"\n'
    )
    silent.chmod(0o755)
    inventory, playbook = locked_play(tmp_path)
    begin = time.monotonic()
    bounds = {"lock_release_seconds": 3, "__lock_take_seconds": 3}
    only = {"ansible_python_interpreter": f"{{{{ '{silent}' if inventory_hostname == 'a' else '{sys.executable}' }}}}"}
    done = play(playbook, inventory, *options(tmp_path), "--extra-vars", json.dumps({**bounds, **only}))
    assert time.monotonic() - begin < 60
    assert (done.recap("a")["failed"], done.recap("b")["failed"]) == (1, 0), done.output
    assert not (tmp_path / "b").exists(), "the other one gave its lock back"


def test_a_killed_play_on_the_same_machine_is_followed_when_its_lock_is_stale(
    tmp_path: Path, holder: subprocess.Popen[bytes]
) -> None:
    stop(holder)
    killed = time.monotonic()
    second = run(tmp_path)
    assert second.status == 0, second.output
    assert "took over the lock of root@" in second.output
    assert 30 <= time.monotonic() - killed < 120  # and what a busy machine takes to start Ansible


def test_check_mode_takes_nothing(tmp_path: Path) -> None:
    checked = run(tmp_path, more=("--check",))
    assert checked.status == 0, checked.output
    assert not any((tmp_path / host).exists() for host in HOSTS)


@pytest.mark.parametrize("name", ["provision", "rollback", "remove", "driver", "bake"])
def test_every_playbook_that_must_have_a_host_alone_locks_it_first_and_lets_go_last(name: str) -> None:
    [document] = yaml.safe_load((ROOT / "playbooks" / f"{name}.yml").read_text())
    [whole] = document["tasks"]
    first, *then = whole["block"]
    if "phi4_edge.edge.phi4_arguments" in first:  # in place of the checks before each role
        assert "lock" in first["phi4_edge.edge.phi4_arguments"]["roles"]
        first, checked = then[0], {"rolespec_validate": False}
    else:
        checked = {}
    assert first["ansible.builtin.import_role"] == {"name": "phi4_edge.edge.lock", **checked}
    # What is set for it was checked when the lock was taken.
    released = {"name": "phi4_edge.edge.lock", "tasks_from": "release", "rolespec_validate": False}
    assert whole["always"][-1]["ansible.builtin.import_role"] == released
    assert document["become"] is True


def test_a_directory_that_is_not_ours_is_never_made(tmp_path: Path) -> None:
    """Also in a play without a plan, which would hold the variables to what they must be."""
    inventory, playbook = locked_play(tmp_path, {"ansible.builtin.debug": {"msg": "went on"}})
    for wrong in ("/usr/phi4", "/data", f"{tmp_path}/a b", "/etc/phi4/x"):
        ended = play(playbook, inventory, "--limit", "a", "--extra-vars", json.dumps({"phi4_state": wrong}))
        assert ended.status != 0
        assert f"phi4_state: found {wrong!r}, needed an absolute path" in ended.output.replace("\\'", "'")
        assert "went on" not in ended.output
        assert wrong == "/data" or not Path(wrong).exists()


def test_nothing_that_was_made_for_the_lock_is_left(tmp_path: Path) -> None:
    """Also above it, as on a data partition that is empty; what holds something by then stays."""
    inventory, playbook = locked_play(tmp_path, {"ansible.builtin.debug": {"msg": "went on"}})
    theirs = {"ansible.builtin.file": {"path": str(tmp_path / "data/phi4/theirs"), "state": "touch", "mode": "0644"}}
    extra = ("--limit", "a", "--extra-vars", json.dumps({"__lock_state": f"{tmp_path}/data/phi4/deep/state"}))
    ended = play(playbook, inventory, *extra)
    assert (ended.status, "went on" in ended.output) == (0, True), ended.output
    assert not (tmp_path / "data").exists()
    inventory, playbook = locked_play(tmp_path, theirs)
    assert play(playbook, inventory, *extra).status == 0
    left = sorted(str(path.relative_to(tmp_path)) for path in (tmp_path / "data").rglob("*"))
    assert left == ["data/phi4", "data/phi4/theirs"]
