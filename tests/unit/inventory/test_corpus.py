"""Our hosts and variables are those of Ansible's own programs, for every inventory of the corpus."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from phi4_edge import inventory
from phi4_edge.core.inventory import Host
from tests.unit.inventory import ansible_says

pytestmark = pytest.mark.slow

CORPUS = Path(__file__).parents[2] / "fixtures" / "inventories"
SOURCES = sorted(CORPUS.iterdir())
PASSWORD = "corpus"
# How each name of a connection in --list is called in a Host, as text.
CONNECTION = {
    "ansible_host": lambda host: host.address,
    "ansible_ssh_host": lambda host: host.address,
    "ansible_port": lambda host: str(host.port),
    "ansible_ssh_port": lambda host: str(host.port),
    "ansible_user": lambda host: host.user,
    "ansible_ssh_user": lambda host: host.user,
    "ansible_connection": lambda host: host.connection,
    "ansible_password": lambda host: host.ssh.password,
    "ansible_ssh_common_args": lambda host: host.ssh.common_args,
    "ansible_ssh_private_key_file": lambda host: host.ssh.private_key_file,
    "ansible_become": lambda host: str(host.become).lower(),
}


@pytest.fixture(scope="module")
def password(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The vault's password."""
    path = tmp_path_factory.mktemp("vault") / "password"
    path.write_text(f"{PASSWORD}\n")
    return path


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory, password: Path) -> Path:
    """A folder with what Ansible's programs print for each source."""
    folder = tmp_path_factory.mktemp("said")
    command = [sys.executable, ansible_says.__file__, str(password), str(folder), *map(str, SOURCES)]
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "LC_ALL": "C.UTF-8", "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def loaded(source: Path, password: Path, monkeypatch: pytest.MonkeyPatch, folder: Path) -> dict[str, Host]:
    monkeypatch.chdir(folder)
    return {
        host.name: host for host in inventory.load((str(source),), None, [inventory.VaultSecret(path=str(password))])
    }


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_hosts_and_their_connections(source: Path, said: Path, password: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = loaded(source, password, monkeypatch, said)
    listed = json.loads((said / f"{source.name}.list").read_text())
    members = {name for group in listed.values() for name in group.get("hosts", [])}
    assert set(hosts) == members
    for name, values in listed["_meta"]["hostvars"].items():
        for key in values.keys() & CONNECTION.keys():
            if "{{" not in str(values[key]) and not isinstance(values[key], dict):  # a vault's value is listed sealed
                assert CONNECTION[key](hosts[name]) == _text(values[key]), (name, key)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_variables_as_a_task_sees_them(
    source: Path, said: Path, password: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = loaded(source, password, monkeypatch, said)
    evaluated = {}
    for line in (said / f"{source.name}.debug").read_text().splitlines():
        found = re.fullmatch(r"(\S+) \| SUCCESS => (\{.*\})", line)
        assert found, line
        evaluated[found[1]] = json.loads(found[2])["msg"]
    assert {name: dict(host.vars) for name, host in hosts.items()} == evaluated


def test_the_corpus_has_every_kind() -> None:
    kinds = {path.suffix for path in SOURCES} | {"folder" for path in SOURCES if path.is_dir()}
    assert len(SOURCES) >= 60
    assert kinds == {"", ".ini", ".yml", ".yaml", ".json", ".sh", "folder"}
    sealed = [path for path in CORPUS.rglob("*") if path.is_file() and b"$ANSIBLE_VAULT" in path.read_bytes()]
    assert len(sealed) == 7


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
