"""What a lab writes: inventory, known_hosts, lab.json; and the names under which it does."""

from __future__ import annotations

import io
import json
import shlex
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from phi4_edge.errors import LabError
from phi4_edge.lab import model, seed, ssh
from phi4_edge.lab.model import Lab, LabHost


def make(directory: Path) -> Lab:
    hosts = tuple(
        LabHost(f"gw{n}", "gateway-6gb", 6 * 1024**3, (0, 1), {"/opt": "2g"}, f"10.9.0.{n + 1}", f"c{n}")
        for n in (1, 2)
    )
    return Lab(name="dev", network="n", directory=directory, hosts=hosts)


def with_mirror(directory: Path) -> Lab:
    mirror = LabHost("mirror", "mirror", 1024**3, (0,), {}, "10.9.0.4", "c3", "m:t")
    return replace(make(directory), mirror=mirror, offline=True)


def test_the_inventory_says_all_that_ansible_needs() -> None:
    text = ssh.inventory(make(Path("/state/labs/dev")))
    hosts, variables = text.split("[gateways:vars]\n")
    assert "[gateways]\ngw1 ansible_host=10.9.0.2 phi4_force=true  # gateway-6gb" in hosts
    assert dict(line.split("=", 1) for line in variables.splitlines()) == {
        "ansible_user": "gateway",
        "ansible_become": "true",
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_ssh_private_key_file": "/state/labs/dev/key",
        "ansible_ssh_common_args": "-o UserKnownHostsFile=/state/labs/dev/known_hosts -o GlobalKnownHostsFile=none "
        "-o StrictHostKeyChecking=yes -o IdentitiesOnly=yes",
        "phi4_model": "tiny",
        "phi4_stability_seconds": "1",
    }


def test_only_hosts_whose_disk_is_in_memory_are_forced() -> None:
    lab = make(Path("/s"))
    one, other = lab.hosts
    text = ssh.inventory(replace(lab, hosts=(replace(one, disks={}), other)))
    assert "gw1 ansible_host=10.9.0.2  #" in text and "gw2 ansible_host=10.9.0.3 phi4_force=true  #" in text


def test_a_path_with_blanks_survives_the_shell_and_openssh() -> None:
    options = ssh.ssh_options(Path("/a b/known_hosts"))
    assert options[1] == 'UserKnownHostsFile="/a b/known_hosts"'
    assert shlex.split(shlex.join(options)) == options


def test_ssh_trusts_the_lab_alone_and_passes_words_unchanged() -> None:
    lab = make(Path("/s"))
    command = ssh.ssh_command(lab, lab.host("gw2"), ["printf", "%s", "a b", "$HOME"], ["-o", "BatchMode=yes"])
    assert command[:5] == ["ssh", "-F", "none", "-i", "/s/key"]
    assert command[-2] == "gateway@10.9.0.3"
    assert shlex.split(command[-1]) == ["printf", "%s", "a b", "$HOME"]
    assert "BatchMode=yes" in command
    assert ssh.ssh_command(lab, lab.host("gw1"), user="nosudo")[-1] == "nosudo@10.9.0.2"


def test_known_hosts_keep_the_key_and_drop_the_comment() -> None:
    keys = {"10.9.0.2": "ssh-ed25519 AAAA root@gw1\n", "10.9.0.3": "ssh-ed25519 BBBB"}
    assert ssh.known_hosts(keys) == "10.9.0.2 ssh-ed25519 AAAA\n10.9.0.3 ssh-ed25519 BBBB\n"


@pytest.mark.parametrize("make", [make, with_mirror])
def test_a_lab_is_read_as_it_was_saved(
    make: Callable[[Path], Lab], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    lab = make(tmp_path / "phi4-edge" / "labs" / "dev")
    lab.directory.mkdir(parents=True)
    model.save(lab)
    assert model.read("dev") == lab


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "phi4-edge/lab/9"}', '{"format": "phi4-edge/lab/1"}'])
def test_a_damaged_lab_says_how_to_remove_it(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    directory = tmp_path / "phi4-edge" / "labs" / "dev"
    directory.mkdir(parents=True)
    (directory / "lab.json").write_text(text, encoding="utf-8")
    with pytest.raises(LabError, match="lab down --name dev"):
        model.read("dev")


def test_a_lab_that_does_not_exist_says_how_to_make_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with pytest.raises(LabError, match="lab up --name dev"):
        model.read("dev")


@pytest.mark.parametrize("name", ["a", "dev", "site-2", "x" * 31])
def test_good_names(name: str) -> None:
    assert model.check_name(name) == name


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a-", "../x", "a/b", "a b", "x" * 32, "a\n", "é"])
def test_bad_names(name: str) -> None:
    with pytest.raises(LabError, match="cannot be the name of a lab"):
        model.check_name(name)


@pytest.mark.parametrize(("value", "under_home"), [("/s", False), ("relative", True), ("", True)])
def test_only_an_absolute_state_directory_counts(value: str, under_home: bool) -> None:
    found = model.labs_directory({"XDG_STATE_HOME": value})
    expected = Path.home() / ".local" / "state" if under_home else Path("/s")
    assert found == expected / "phi4-edge" / "labs"


def test_an_unknown_host_gets_the_names_of_the_others() -> None:
    with pytest.raises(LabError, match="its hosts: gw1, gw2"):
        make(Path("/s")).host("gw9")


def test_the_mirror_is_a_machine_of_the_lab_and_not_of_its_inventory() -> None:
    lab = with_mirror(Path("/s"))
    assert lab.host("mirror").address == "10.9.0.4"
    assert ssh.inventory(lab) == ssh.inventory(make(Path("/s")))


def test_every_account_of_a_host_gets_the_labs_key() -> None:
    lab = make(Path("/s"))
    data = seed.archive(seed.files(lab, lab.host("gw1"), b"ssh-ed25519 AAAA\n"))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        files = {entry.name: entry for entry in tar}
        member = tar.extractfile("etc/ssh/authorized_keys/nosudo")
        assert member is not None
        assert member.read() == b"ssh-ed25519 AAAA\n"
    # A directory that is not in the archive would be made writable for everybody.
    folders = {"etc", "etc/ssh", "etc/ssh/authorized_keys"}
    assert set(files) == folders | {"etc/ssh/authorized_keys/gateway", "etc/ssh/authorized_keys/nosudo"}
    assert all(entry.mode & 0o022 == 0 for entry in files.values())
    assert {name for name, entry in files.items() if entry.isdir()} == folders


def test_hosts_of_a_lab_with_a_mirror_trust_its_registry_and_the_mirror_does_not_need_to() -> None:
    lab = with_mirror(Path("/s"))
    content, _ = seed.files(lab, lab.host("gw1"), b"k")["etc/docker/daemon.json"]
    assert json.loads(content) == {"insecure-registries": ["mirror:5000", "10.9.0.4:5000"]}
    assert "etc/docker/daemon.json" not in seed.files(lab, lab.host("mirror"), b"k")
    assert "etc/docker/daemon.json" not in seed.files(make(Path("/s")), make(Path("/s")).host("gw1"), b"k")
