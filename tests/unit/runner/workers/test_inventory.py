"""An inventory that is sent to a worker means there what it means here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from phi4_edge.core.inventory import VaultSecret
from phi4_edge.errors import RunnerError
from phi4_edge.runner.workers import inventory
from phi4_edge.runner.workers.inventory import portable

pytestmark = pytest.mark.slow


def listed(path: Path, vault: Path | None = None) -> dict[str, Any]:
    argv = [str(Path(sys.executable).parent / "ansible-inventory"), "--list", "--inventory", str(path)]
    argv += ["--vault-password-file", str(vault)] if vault else []
    found: dict[str, Any] = json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)
    return found


def moved(text: str, folder: Path) -> Path:
    path = folder / "moved.yml"
    path.write_text(text)
    return path


def test_hosts_groups_and_templates_stay_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars" / "eu.yml").write_text("listed: [1, {two: '{{ x }}'}]\nnothing:\n")
    source = tmp_path / "hosts.ini"
    source.write_text('gw1 x="{{ inventory_hostname }}"\n[eu]\ngw1\ngw2\n[world:children]\neu\n[world:vars]\nn=1\n')
    made = portable([str(source)], {})
    assert not made.files
    again = listed(moved(made.text, tmp_path / "group_vars"))
    before = listed(source)
    assert again["_meta"]["hostvars"] == before["_meta"]["hostvars"]
    assert again["eu"] == before["eu"]
    assert again["world"] == before["world"]


def test_keys_that_are_here_go_along_and_other_paths_mean_the_workers_own(tmp_path: Path) -> None:
    key, known = tmp_path / "my key", tmp_path / "known_hosts"
    key.write_text("PRIVATE KEY\n")
    known.write_text("gw1 ssh-ed25519 AAAA\n")
    source = tmp_path / "hosts.ini"
    arguments = f"-o UserKnownHostsFile={known} -o GlobalKnownHostsFile=none -i '{key}' -oIdentityFile=/nowhere -C"
    source.write_text(
        f"gw1 ansible_ssh_private_key_file='{key}'\ngw2 ansible_ssh_private_key_file=/on/the/worker\n"
        f'[all:vars]\nansible_ssh_common_args="{arguments}"\n'
    )
    made = portable([str(source)], {})
    assert made.files == {"files/0": "PRIVATE KEY\n", "files/1": "gw1 ssh-ed25519 AAAA\n"}
    hosts = yaml.safe_load(made.text)["all"]["hosts"]
    assert hosts["gw1"]["ansible_ssh_private_key_file"] == "{private}/files/0"
    assert hosts["gw2"]["ansible_ssh_private_key_file"] == "/on/the/worker"
    assert hosts["gw2"]["ansible_ssh_common_args"].split() == [
        "-o", "'UserKnownHostsFile={private}/files/1'", "-o", "GlobalKnownHostsFile=none",
        "-i", "'{private}/files/0'", "-oIdentityFile=/nowhere", "-C",
    ]  # fmt: skip
    assert "PRIVATE KEY" not in repr(made)


def test_what_is_known_here_replaces_a_template(tmp_path: Path) -> None:
    source, key = tmp_path / "hosts.ini", tmp_path / "key"
    key.write_text("KEY\n")
    source.write_text('gw1 ansible_ssh_private_key_file="{{ inventory_dir }}/key"\n')
    made = portable([str(source)], {"gw1": {"ansible_ssh_private_key_file": str(key), "ansible_user": ""}})
    assert yaml.safe_load(made.text)["all"]["hosts"] == {"gw1": {"ansible_ssh_private_key_file": "{private}/files/0"}}


def test_what_a_vault_holds_stays_encrypted_and_can_be_read_there(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("open sesame\n")
    vault = [str(Path(sys.executable).parent / "ansible-vault"), "encrypt_string", "--vault-password-file", password]
    hidden = subprocess.run([*vault, "c4nary", "--name", "token"], capture_output=True, text=True, check=True).stdout
    source = tmp_path / "hosts.yml"
    source.write_text("all:\n  hosts:\n    gw1:\n      " + hidden.replace("\n", "\n      ").rstrip() + "\n")
    made = portable([str(source)], {}, [VaultSecret(path=str(password))])
    assert "c4nary" not in made.text
    assert "!vault" in made.text
    argv = [str(Path(sys.executable).parent / "ansible"), "all", "-i", str(moved(made.text, tmp_path)), "-m", "debug"]
    argv += ["-a", "var=token", "-c", "local", "--vault-password-file", str(password)]
    assert "c4nary" in subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def test_the_password_of_a_vault_is_read_or_asked_for(tmp_path: Path) -> None:
    plain, program = tmp_path / "plain", tmp_path / "program"
    plain.write_text("open sesame\n")
    program.write_text("#!/bin/sh\necho from a program\n")
    program.chmod(0o700)
    assert inventory.opened(VaultSecret("dev", str(plain))) == VaultSecret("dev", "", "open sesame")
    assert inventory.opened(VaultSecret("", str(program))).password == "from a program"
    with pytest.raises(RunnerError, match="needed that of the vault"):
        inventory.opened(VaultSecret("", str(tmp_path / "missing")))


def test_an_inventory_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    password = tmp_path / "password"
    with pytest.raises(RunnerError, match="could not read the inventory"):
        portable(["gw1,"], {}, [VaultSecret(path=str(password))])
