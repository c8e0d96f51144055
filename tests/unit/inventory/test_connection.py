"""The arguments of ssh that we read from Ansible's configuration are those with which Ansible calls ssh."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import ansible.cli  # noqa: F401 - it reads the configuration when it is imported
import pytest

from phi4_edge import inventory
from phi4_edge.core.inventory import Login
from phi4_edge.errors import InventoryError

pytestmark = pytest.mark.slow

# In the place of ssh: writes down the words it is called with, under the address that it is called for.
SSH = """#!/bin/sh
for word in "$@"; do case $word in 192.0.2.*) address=$word;; esac; done
printf '%s\\n' "$@" >"$SAID/$address"
"""
OURS = """
import json, sys
from phi4_edge import inventory
from phi4_edge.core.inventory import Login
from phi4_edge.ssh.command import arguments
login = Login(**json.loads(sys.argv[2]))
hosts = inventory.load((sys.argv[1],), login=login)
json.dump({host.address: [host.ssh.executable, *arguments(host)] for host in hosts}, sys.stdout)
"""
# What Ansible adds to what was set: for a login without a password, and for the connection that its tasks share.
ADDED = ("KbdInteractiveAuthentication=", "PreferredAuthentications=", "PasswordAuthentication=", "ControlPath=")
ADDED += ("NumberOfPasswordPrompts=",)
CONFIG = """[defaults]
remote_user = config
remote_port = 2201
private_key_file = keys/config
timeout = 21
[ssh_connection]
ssh_executable = {ssh}
ssh_args = -F {folder}/config -o ControlPersist=no
ssh_common_args = -o SetEnv=A=config
ssh_extra_args = -o Tag=config
"""
ENVIRONMENT = {
    "ANSIBLE_REMOTE_USER": "environment",
    "ANSIBLE_REMOTE_PORT": "2202",
    "ANSIBLE_PRIVATE_KEY_FILE": "/keys/environment",
    "ANSIBLE_SSH_ARGS": "-o ControlPersist=yes -o ControlPath=/nowhere/%C",
    "ANSIBLE_SSH_COMMON_ARGS": "-o 'SetEnv=A=two words'",
    "ANSIBLE_SSH_EXTRA_ARGS": "-4",
    "ANSIBLE_TIMEOUT": "22",
    "ANSIBLE_SSH_TIMEOUT": "23",
}
INVENTORY = """plain ansible_host=192.0.2.1
older ansible_ssh_host=192.0.2.2 ansible_ssh_user=older ansible_user=newer ansible_port=2210 ansible_ssh_port=2211
newer ansible_host=192.0.2.3 ansible_user=newer ansible_private_key_file=/keys/n ansible_ssh_common_args="-J hop"
all ansible_host=192.0.2.4 ansible_ssh_private_key_file=/keys/a ansible_ssh_args="-o Tag=a" ansible_ssh_extra_args=-6
slow ansible_host=192.0.2.5 ansible_ssh_timeout=31 ansible_host_key_checking=no ansible_ssh_common_args=
omitted ansible_host=192.0.2.6 ansible_port="{{ nowhere | default(omit) }}" ansible_user="{{ no | default(omit) }}"
templated ansible_host=192.0.2.7 ansible_ssh_extra_args="-o Tag={{ hostvars.newer.ansible_user }}"
"""
# By name: whether there is an ansible.cfg, the environment, and what the command line says.
SETTINGS: dict[str, tuple[bool, dict[str, str], dict[str, str]]] = {
    "nothing": (False, {}, {}),
    "ansible.cfg": (True, {}, {}),
    "environment": (True, ENVIRONMENT, {}),
    "command line": (True, ENVIRONMENT, {"user": "typed", "private_key_file": "/keys/typed"}),
}


def called(folder: Path, argv: list[str], env: dict[str, str]) -> str:
    done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def set_words(words: list[str]) -> list[str]:
    """The arguments without those that nobody set."""
    kept: list[str] = []
    for word in words:
        if word.startswith(ADDED) and kept[-1] == "-o" and word != "ControlPath=/nowhere/%C":
            kept.pop()
        else:
            kept.append(word)
    default = ["-C", "-o", "ControlMaster=auto", "-o", "ControlPersist=60s"]
    return kept[len(default) :] if kept[: len(default)] == default else kept


@pytest.mark.parametrize("name", SETTINGS)
def test_ssh_is_called_as_ansible_calls_it(tmp_path: Path, name: str) -> None:
    configured, environ, login = SETTINGS[name]
    program, said = tmp_path / "bin" / "ssh", tmp_path / "said"
    program.parent.mkdir()
    said.mkdir()
    program.write_text(SSH)
    program.chmod(0o755)
    if configured:
        (tmp_path / "ansible.cfg").write_text(CONFIG.format(ssh=program, folder=tmp_path))
    (tmp_path / "hosts.ini").write_text(INVENTORY)
    path = f"{program.parent}:{os.environ['PATH']}"
    env = {"PATH": path, "HOME": str(tmp_path), "SAID": str(said), "LC_ALL": "C.UTF-8"}
    # As our runs have it: for all hosts that do not say otherwise themselves.
    env |= {**environ, "ANSIBLE_HOST_KEY_CHECKING": "True", "ANSIBLE_NOCOLOR": "1"}
    typed = ["--user=typed", "--private-key=/keys/typed"] if login else []
    ansible = [str(Path(sys.executable).parent / "ansible"), "all", "-i", "hosts.ini", "-m", "raw", "-a", "true"]
    called(tmp_path, [*ansible, *typed], env)
    ours = json.loads(called(tmp_path, [sys.executable, "-c", OURS, "hosts.ini", json.dumps(login)], env))
    assert sorted(ours) == sorted(path.name for path in said.iterdir())
    for address, (executable, *arguments) in ours.items():
        assert executable == (str(program) if configured else "ssh")
        words = (said / address).read_text().splitlines()
        words = set_words(words[: words.index(address)])
        assert [word for word in words if word != "-tt"] == arguments, address


@pytest.mark.parametrize(
    ("name", "value"), [("ANSIBLE_TIMEOUT", "soon"), ("ANSIBLE_REMOTE_PORT", "ssh"), ("ANSIBLE_SSH_RETRIES", "many")]
)
def test_a_setting_that_ansible_refuses_is_named(
    tmp_path: Path, name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hosts.ini").write_text("gw1\n")
    monkeypatch.setenv(name, value)
    with pytest.raises(InventoryError, match=rf"(?s){name}|{value}.*needed"):
        inventory.load((str(tmp_path / "hosts.ini"),))


def test_the_rest_of_the_options_of_the_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ansible.cfg").write_text("[ssh_connection]\nretries = 3\npkcs11_provider = /lib/token.so\n")
    (tmp_path / "hosts.ini").write_text(
        "gw1 ansible_password=7 ansible_control_path=/run/%%C\n"
        "gw2 ansible_ssh_retries=99 ansible_host_key_checking=no\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANSIBLE_HOST_KEY_CHECKING", "False")  # our runs switch it on
    one, other = (host.ssh for host in inventory.load(("hosts.ini",)))
    assert (one.retries, one.pkcs11_provider, one.password, one.control_path) == (3, "/lib/token.so", "7", "/run/%%C")
    assert (one.host_key_checking, other.host_key_checking) == (True, False)
    assert (other.retries, other.control_path, other.ssh_args) == (10, "", "")


def test_a_jump_host_that_does_not_count_is_told(tmp_path: Path) -> None:
    (tmp_path / "hosts.ini").write_text("gw1\ngw2 ansible_ssh_args=-C\ngw3 ansible_ssh_args=-C\n")
    warned: list[str] = []
    hosts = inventory.load((str(tmp_path / "hosts.ini"),), warn=warned.append, login=Login(jump="hop"))
    assert [host.ssh.jump for host in hosts] == ["hop", "", ""]
    assert warned == ["--jump does not count for gw2 and 1 more: the inventory sets ansible_ssh_args there"]
