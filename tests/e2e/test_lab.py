"""The lab itself: hosts that are what they say, side by side, and nothing left afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from phi4_edge import lab as lab_room
from phi4_edge.errors import LabError
from phi4_edge.lab import docker, faults
from phi4_edge.lab.model import LABEL, Lab

pytestmark = pytest.mark.e2e
NAME = f"lab-test-{os.getpid()}"
DISK = "/var/lib/phi4-edge"
QUICK = ["-o", "ConnectTimeout=3", "-o", "BatchMode=yes"]


@dataclass(frozen=True)
class Shell:
    """Runs `phi4-edge lab` with a state directory of the test's own."""

    state: Path

    def __call__(self, *words: str, engine_at: str | None = None) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "XDG_STATE_HOME": str(self.state)}
        if engine_at:
            environment["DOCKER_HOST"] = engine_at
        return subprocess.run(
            self.argv(*words), env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )

    @staticmethod
    def argv(*words: str) -> list[str]:
        return [sys.executable, "-m", "phi4_edge", "lab", *words]


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    state = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(state))
        yield Shell(state)


@pytest.fixture(scope="module")
def pair(shell: Shell) -> Iterator[Lab]:
    """A Raspberry Pi and a gateway whose models live on a disk of their own."""
    profiles = ["--profile", "pi4-4gb", "--profile", "gateway-8gb-small-disk"]
    done = shell("up", "--name", NAME, *profiles, "--inventory", str(shell.state / "copy.ini"))
    assert done.returncode == 0, done.stderr
    assert "gw2   gateway-8gb-small-disk" in done.stdout
    yield lab_room.load(NAME)
    shell("down", "--name", NAME)


def objects(name: str) -> list[str]:
    """Whatever the engine still holds of a lab."""
    chosen = f"{LABEL}={name}"
    with docker.connect() as client:
        containers = client.containers.list(all=True, filters={"label": chosen})
        found = [*containers, *client.volumes.list(filters={"label": chosen})]
        return [str(item.id) for item in [*found, *client.networks.list(filters={"label": chosen})]]


def ssh(lab: Lab, host: str, *command: str, user: str = "gateway") -> subprocess.CompletedProcess[str]:
    argv = lab_room.ssh_command(lab, lab.host(host), command, QUICK, user=user)
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def test_a_host_is_a_machine_with_the_ram_and_cpus_of_its_profile(pair: Lab) -> None:
    for host in pair.hosts:
        assert ssh(pair, host.name, "hostname").stdout.strip() == host.name
        assert ssh(pair, host.name, "systemctl", "is-system-running").stdout.strip() == "running"
        assert ssh(pair, host.name, "nproc").stdout.strip() == str(len(host.cpus))
        assert ssh(pair, host.name, "/usr/bin/python3", "-c", "print(6 * 7)").stdout.strip() == "42"
        limit = ssh(
            pair, host.name, "sh", "-c", "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max"
        )
        assert limit.stdout.split()[0] == str(host.ram_bytes)


@pytest.mark.skipif(not Path("/var/lib/lxcfs/proc/meminfo").exists(), reason="lxcfs does not run on this machine")
def test_proc_tells_the_hosts_own_ram(pair: Lab) -> None:
    for host in pair.hosts:
        text = ssh(pair, host.name, "cat", "/proc/meminfo").stdout
        assert f"MemTotal: {host.ram_bytes // 1024} kB" in " ".join(text.split())


def test_one_account_may_become_root_and_the_other_may_not(pair: Lab) -> None:
    assert ssh(pair, "gw1", "sudo", "-n", "id", "-u").stdout.strip() == "0"
    refused = ssh(pair, "gw1", "sudo", "-n", "id", "-u", user="nosudo")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert ssh(pair, "gw1", "true", user="root").returncode == 255


def test_host_keys_are_checked_and_differ(pair: Lab) -> None:
    lines = pair.known_hosts.read_text(encoding="utf-8").splitlines()
    assert len({line.split()[2] for line in lines}) == len(pair.hosts)
    swapped = [
        f"{host.address} {line.split(' ', 1)[1]}" for host, line in zip(pair.hosts, reversed(lines), strict=True)
    ]
    original = pair.known_hosts.read_text(encoding="utf-8")
    pair.known_hosts.write_text("\n".join(swapped) + "\n", encoding="utf-8")
    try:
        refused = ssh(pair, "gw1", "true")
    finally:
        pair.known_hosts.write_text(original, encoding="utf-8")
    assert refused.returncode == 255
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in refused.stderr


def test_plain_ansible_reaches_and_becomes_root(pair: Lab, shell: Shell, tmp_path: Path) -> None:
    ansible = Path(sys.executable).with_name("ansible")
    command = [str(ansible), "-i", str(shell.state / "copy.ini"), "gateways", "-m", "command", "-a", "id -un"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("root") == len(pair.hosts)


def test_ssh_passes_words_and_status_through(pair: Lab, shell: Shell) -> None:
    done = shell("ssh", "gw2", "--name", NAME, "--", "sh", "-c", 'printf "%s|" "$@"; exit 7', "x", "a  b", "$HOME")
    assert (done.stdout, done.returncode) == ("a  b|$HOME|", 7)
    assert shell("ssh", "gw9", "--name", NAME).returncode == 3


def test_list_shows_every_host(pair: Lab, shell: Shell) -> None:
    document = json.loads(shell("list", "--output", "json").stdout)
    (mine,) = [entry for entry in document["labs"] if entry["name"] == NAME]
    assert mine["inventory"] == str(pair.inventory)
    assert [(host["name"], host["state"], host["ram_bytes"]) for host in mine["hosts"]] == [
        (host.name, "running", host.ram_bytes) for host in pair.hosts
    ]


def test_a_second_lab_lives_beside_and_goes_alone_and_leaves_nothing(pair: Lab, shell: Shell) -> None:
    other = f"{NAME}-b"
    assert shell("up", "--name", other, "--hosts", "1").returncode == 0
    assert shell("up", "--name", other).returncode == 3  # a name is taken once
    lab = lab_room.load(other)
    assert ssh(lab, "gw1", "true").returncode == 0
    assert len(objects(other)) == 3
    (lab.directory / "lab.json").unlink()  # labels alone must do
    assert shell("down", "--name", other).returncode == 0
    assert objects(other) == []
    assert not lab.directory.exists()
    assert ssh(pair, "gw1", "true").returncode == 0
    again = shell("down", "--name", other)
    assert (again.returncode, "nothing to remove" in again.stderr) == (0, True)


def test_a_power_cut_keeps_address_and_key(pair: Lab) -> None:
    faults.power_off(pair, "gw1")
    try:
        assert ssh(pair, "gw1", "true").returncode == 255
    finally:
        faults.power_on(pair, "gw1")
    assert ssh(pair, "gw1", "hostname").stdout.strip() == "gw1"


def test_a_host_that_hangs_answers_again_afterwards(pair: Lab) -> None:
    faults.hang(pair, "gw1")
    try:
        assert ssh(pair, "gw1", "true").returncode == 255
    finally:
        faults.resume(pair, "gw1")
    assert ssh(pair, "gw1", "true").returncode == 0


def test_a_full_disk_refuses_and_can_be_freed(pair: Lab) -> None:
    write = ["sudo", "dd", "if=/dev/zero", f"of={DISK}/file", "bs=1M", "count=4"]
    faults.fill_disk(pair, "gw2", DISK, leave=1024**2)
    assert "No space left on device" in ssh(pair, "gw2", *write).stderr
    faults.free_disk(pair, "gw2", DISK)
    assert ssh(pair, "gw2", *write).returncode == 0
    with pytest.raises(LabError, match="no disk of its own"):
        faults.fill_disk(pair, "gw1", DISK)


def test_a_host_that_does_not_come_up_leaves_nothing(shell: Shell) -> None:
    name = f"{NAME}-late"
    with pytest.raises(LabError, match="gw1 did not boot"):
        lab_room.up(name, lab_room.load_profiles().choose(["pi4-4gb"]), timeout=0)
    assert objects(name) == []
    assert not (shell.state / "phi4-edge" / "labs" / name).exists()


def test_ctrl_c_leaves_nothing(shell: Shell) -> None:
    name = f"{NAME}-cut"
    with subprocess.Popen(
        shell.argv("up", "--name", name, "--hosts", "2"),
        env={**os.environ, "XDG_STATE_HOME": str(shell.state)},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "started at" in line:
                process.send_signal(signal.SIGINT)
                break
        rest = process.stderr.read()
    assert process.returncode == 130, rest
    assert "Traceback" not in rest
    assert objects(name) == []
    assert not (shell.state / "phi4-edge" / "labs" / name).exists()


@pytest.mark.parametrize("words", [("up", "--name", "none"), ("list",), ("down", "--name", "none")])
def test_a_missing_engine_says_how_to_get_one(words: tuple[str, ...], shell: Shell, tmp_path: Path) -> None:
    done = shell(*words, engine_at=f"unix://{tmp_path}/none.sock")
    assert done.returncode == 3
    assert "apt-get install docker.io" in done.stderr
    assert "Traceback" not in done.stderr
