"""The lock in a play: the first host decides, whoever loses says who won, and a play that fails lets go."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from ansible_support import ROOT, Played, command, environment, play, role, write_inventory, write_playbook

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can lock a host, and this machine is the host")
MESSAGE = "found the lock of"
HOSTS = ("a", "b")


def locked_play(folder: Path, *tasks: dict[str, object]) -> tuple[Path, Path]:
    """Inventory and playbook of a play that locks its hosts around `tasks`."""
    released = {"ansible.builtin.include_role": {"name": "lock", "tasks_from": "release"}}
    block = {"block": [role("lock", lock_operation="test"), *tasks], "always": [released]}
    return write_inventory(folder, {host: {} for host in HOSTS}), write_playbook(folder, block)


def options(folder: Path) -> tuple[str, ...]:
    """Each host has its lock in a folder of its own; all of them are this machine."""
    return ("--extra-vars", json.dumps({"__lock_folder": f"{folder}/{{{{ inventory_hostname }}}}"}))


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


def test_the_first_host_decides_and_no_other_is_touched(tmp_path: Path, holder: subprocess.Popen[bytes]) -> None:
    try:
        second = run(tmp_path)
        assert second.status == 2
        assert second.output.count(f"{MESSAGE} root@") >= 2, second.output
        assert f"pid {holder.pid}" in second.output
        assert not (tmp_path / "b").exists()
        assert all(second.recap(host)["failed"] == 1 for host in HOSTS)
    finally:
        stop(holder)


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
    assert whole["block"][0]["ansible.builtin.include_role"] == {"name": "lock"}
    assert whole["always"][-1]["ansible.builtin.include_role"] == {"name": "lock", "tasks_from": "release"}
    assert document["become"] is True
