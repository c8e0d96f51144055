"""`phi4-edge doctor` as a user meets it, without hosts: usage, what is unreachable, and faults of this machine."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from click.testing import Result

from phi4_edge.data import schema

Invoke = Callable[..., Result]


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of this machine at which nothing listens, and nobody else begins to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        yield free.getsockname()[1]


@pytest.fixture
def inventory(tmp_path: Path, closed_port: int) -> Path:
    path = tmp_path / "hosts.ini"
    path.write_text(f"gw1 ansible_host=127.0.0.1 ansible_port={closed_port} ansible_user=gw\n")
    path.chmod(0o600)
    return path


def findings(result: Result, host: str) -> dict[str, dict[str, str]]:
    document: dict[str, Any] = json.loads(result.stdout)
    jsonschema.validate(document, schema("doctor"))
    entry = next(entry for entry in document["hosts"] if entry["host"] == host)
    return {finding["check"]: finding for finding in entry["findings"] if finding["level"] != "ok"}


def test_without_an_inventory_it_is_a_usage_error(invoke: Invoke) -> None:
    result = invoke("doctor")
    assert result.exit_code == 1
    assert "INVENTORY" in result.stderr


def test_a_host_that_is_not_there_is_exit_5(invoke: Invoke, inventory: Path) -> None:
    result = invoke("doctor", inventory, "-o", "json")
    assert result.exit_code == 5
    assert "Connection refused" in findings(result, "gw1")["ssh"]["found"]
    shown = invoke("doctor", inventory)
    assert shown.exit_code == 5
    assert shown.stdout.startswith("gw1: unreachable, 1 problem")
    assert yaml.safe_load(invoke("doctor", inventory, "-o", "yaml").stdout)["format"] == "phi4-edge/doctor/1"


def test_a_name_that_does_not_resolve_says_where_to_give_it(invoke: Invoke, tmp_path: Path) -> None:
    path = tmp_path / "hosts.ini"
    path.write_text("gw1 ansible_host=no-such-name.invalid ansible_user=gw\n")
    result = invoke("doctor", path, "-o", "json")
    assert result.exit_code == 5
    assert "ansible_host" in findings(result, "gw1")["ssh"]["fix"]


def test_a_key_that_others_may_read_is_a_problem_of_this_machine(
    invoke: Invoke, inventory: Path, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    key.chmod(0o644)
    inventory.write_text(inventory.read_text().strip() + f" ansible_ssh_private_key_file={key}\n")
    found = findings(invoke("doctor", inventory, "-o", "json"), "(controller)")["secrets"]
    assert found["level"] == "problem"
    assert found["fix"] == f"chmod 600 {key}"
    key.chmod(0o600)
    assert "secrets" not in findings(invoke("doctor", inventory, "-o", "json"), "(controller)")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ansible_become_password=hunter2", True),
        ("ansible_password='hunter2'", True),
        ("# ansible_become_password=hunter2", False),
        ("ansible_become_password={{ from_vault }}", False),
        ("ansible_become_pass=", False),
        ("phi4_port=8080", False),
    ],
)
def test_a_password_in_an_inventory_that_others_may_read(
    invoke: Invoke, inventory: Path, text: str, told: bool
) -> None:
    inventory.write_text(inventory.read_text() + f"[all:vars]\n{text}\nfrom_vault=x\n")
    inventory.chmod(0o644)
    found = findings(invoke("doctor", inventory, "-o", "json"), "(controller)")
    assert ("secrets" in found) is told
    inventory.chmod(0o600)
    assert "secrets" not in findings(invoke("doctor", inventory, "-o", "json"), "(controller)")


def test_a_vault_password_file_that_others_may_read(invoke: Invoke, inventory: Path, tmp_path: Path) -> None:
    secret = tmp_path / "vault"
    secret.write_text("hunter2\n")
    secret.chmod(0o644)
    options = ("--vault-password-file", secret, "-o", "json")
    found = findings(invoke("doctor", inventory, *options), "(controller)")["secrets"]
    assert (found["level"], found["fix"].startswith(f"chmod 600 {secret}")) == ("warning", True)


def test_a_configuration_that_ansible_ignores(
    invoke: Invoke, inventory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "ansible.cfg").write_text("[defaults]\nhost_key_checking = False\n")
    monkeypatch.chdir(work)
    monkeypatch.delenv("ANSIBLE_CONFIG", raising=False)
    found = findings(invoke("doctor", inventory, "-o", "json"), "(controller)")["ansible.cfg"]
    assert "switches host key checking off" in found["found"]
    work.chmod(0o777)
    found = findings(invoke("doctor", inventory, "-o", "json"), "(controller)")["ansible.cfg"]
    assert found["fix"].startswith(f"chmod o-w {work}")


def test_forks_beyond_the_open_files(invoke: Invoke, inventory: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    try:
        found = findings(invoke("doctor", inventory, "--forks", "200", "-o", "json"), "(controller)")["forks"]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "ulimit -n 3328" in found["fix"]


def test_a_store_that_is_a_file_is_a_problem(invoke: Invoke, inventory: Path, tmp_path: Path) -> None:
    (tmp_path / "store").write_text("not a folder")
    found = findings(invoke("doctor", inventory, "-o", "json"), "(controller)")["store"]
    assert found["level"] == "problem"
    assert "PHI4_EDGE_STORE" in found["fix"]
