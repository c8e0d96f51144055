"""Inventories of every kind that Ansible reads, and what is wrong with others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible.parsing.vault import VaultLib, VaultSecret

from phi4_edge import inventory
from phi4_edge.core.plan.overrides import EXTRA, Overrides
from phi4_edge.errors import InventoryError

INI = """[gateways]
gw2 ansible_host=192.0.2.2 ansible_port=2222 phi4_port=9000
gw1 ansible_host=192.0.2.1

[gateways:vars]
ansible_user=edge
ansible_ssh_private_key_file=/keys/edge
ansible_ssh_common_args=-o StrictHostKeyChecking=yes
phi4_context_length="{{ base * 2 }}"
base=2048
"""


def write(folder: Path, name: str, text: str, mode: int = 0o644) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_an_ini_file_in_its_own_order_with_templates_evaluated(tmp_path: Path) -> None:
    first, second = inventory.load((write(tmp_path, "hosts.ini", INI),))
    assert (first.name, first.address, first.port, first.user) == ("gw2", "192.0.2.2", 2222, "edge")
    # Before ansible-core 2.19 what a template gives is text.
    assert {name: int(value) for name, value in first.vars.items()} == {"phi4_port": 9000, "phi4_context_length": 4096}
    assert (second.name, second.port, second.connection) == ("gw1", 0, "ssh")
    assert second.ssh.private_key_file == "/keys/edge"
    assert second.ssh.common_args == "-o StrictHostKeyChecking=yes"
    assert {type(value) for value in (first.name, first.address, first.vars["phi4_port"])} == {str, int}


def test_variables_of_roles_that_the_plan_depends_on_come_along(tmp_path: Path) -> None:
    text = (
        "gw1 webui_enabled=true webui_port=3001 webui_max_tokens=64 webui_builtin_tools=no webui_titles=no "
        "webui_follow_ups=no webui_tags=no nvidia_runtime_driver_install=yes webui_other=1\n[all:vars]\n"
        'phi4_variants={"terse": {"system": "Be {{ how }}."}, "phi4-mini-coder": null}\nhow=brief\n'
        'phi4_docker_daemon={"data-root": "/mnt/nvme/docker"}\n'
    )
    (host,) = inventory.load((write(tmp_path, "hosts.ini", text),))
    assert set(host.vars) == {*EXTRA, "phi4_variants"}
    found = Overrides.from_vars(host.name, host.vars)
    assert (found.webui_enabled, found.webui_port, found.driver_install) == (True, 3001, True)
    assert found.docker_root == "/mnt/nvme/docker"
    terse = found.variants["terse"]
    assert terse is not None and terse["system"] == "Be brief." and found.variants["phi4-mini-coder"] is None


def test_a_yaml_file_with_nested_values_is_plain_data(tmp_path: Path) -> None:
    text = "all:\n  hosts:\n    a:\n      phi4_x: {k: [1, '{{ 1 + 1 }}', null]}\n      ansible_become: 'no'\n"
    (host,) = inventory.load((write(tmp_path, "hosts.yml", text),))
    assert host.vars in ({"phi4_x": {"k": [1, 2, None]}}, {"phi4_x": {"k": [1, "2", None]}})
    assert {type(item) for item in host.vars["phi4_x"]["k"]} <= {int, str, type(None)}
    assert host.become is False


def test_a_folder_with_group_and_host_variables(tmp_path: Path) -> None:
    write(tmp_path, "inv/hosts", "[edge]\na\nb\n")
    write(tmp_path, "inv/group_vars/edge.yml", "phi4_port: 1\n")
    write(tmp_path, "inv/host_vars/b.yml", "phi4_port: 2\n")
    assert [host.vars["phi4_port"] for host in inventory.load((str(tmp_path / "inv"),))] == [1, 2]


def test_an_executable_and_a_list_and_several_sources(tmp_path: Path) -> None:
    data = json.dumps({"all": {"hosts": ["e1"]}, "_meta": {"hostvars": {"e1": {"phi4_port": 7}}}})
    program = write(tmp_path, "dyn", f"#!/bin/sh\ncat <<'END'\n{data}\nEND\n", 0o755)
    hosts = inventory.load((program, "x,y,"))
    assert [(host.name, dict(host.vars)) for host in hosts] == [("e1", {"phi4_port": 7}), ("x", {}), ("y", {})]


def test_the_implicit_localhost_is_no_host(tmp_path: Path) -> None:
    assert [host.name for host in inventory.load((write(tmp_path, "hosts", "a\n"),))] == ["a"]


@pytest.mark.parametrize(
    ("limit", "names"), [("gw1", ["gw1"]), ("gateways:!gw1", ["gw2"]), ("gw*", ["gw2", "gw1"]), (None, ["gw2", "gw1"])]
)
def test_limits(tmp_path: Path, limit: str | None, names: list[str]) -> None:
    assert [host.name for host in inventory.load((write(tmp_path, "hosts.ini", INI),), limit)] == names


@pytest.mark.parametrize(("limit", "said"), [("gx1", "did you mean gw1"), ("zzz", "use a name"), ("gw1,gw9", "gw9")])
def test_a_limit_that_matches_nothing_is_a_mistake(tmp_path: Path, limit: str, said: str) -> None:
    with pytest.raises(InventoryError, match=r"found no host that matches.*gw2, gw1") as error:
        inventory.load((write(tmp_path, "hosts.ini", INI),), limit)
    assert said in str(error.value)


def test_a_limit_that_is_no_regular_expression_selects_nobody(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match="does not compile"):
        inventory.load((write(tmp_path, "hosts.ini", INI),), "~[")
    assert [host.name for host in inventory.load((write(tmp_path, "hosts.ini", INI),), "~gw[2-9]")] == ["gw2"]


MISTAKES = {
    "no such file": ("", "", "found no inventory .*needed a file"),
    "empty": ("hosts.ini", "", "found no hosts in inventory"),
    "bad INI": ("hosts.ini", "a foo\n[x\n", "cannot be read.*foo"),
    "bad YAML": ("hosts.yml", "all:\n  hosts: [a\n", r"cannot be read.*hosts\.yml"),
    "undefined variable": ("hosts.ini", 'a phi4_x="{{ nope }}"\n', "phi4_x of host a.*nope"),
    "a port that is none": ("hosts.ini", "a ansible_port=ssh\n", "ansible_port 'ssh'"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named_with_what_to_do(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    file, text, said = MISTAKES[name]
    path = write(tmp_path, file, text) if file else str(tmp_path / "nowhere")
    with pytest.raises(InventoryError, match=f"(?s){said}") as error:
        inventory.load((path,))
    assert "needed" in str(error.value)
    assert capfd.readouterr() == ("", "")


def test_a_similar_file_name_is_offered(tmp_path: Path) -> None:
    write(tmp_path, "gateways.ini", "a\n")
    with pytest.raises(InventoryError, match=r"did you mean .*gateways\.ini"):
        inventory.load((str(tmp_path / "gatways.ini"),))


def test_vault_values_need_their_password_each_time(tmp_path: Path) -> None:
    cipher = VaultLib().encrypt("9001", VaultSecret(b"s3cret"), vault_id=None).decode()
    body = "\n".join(f"        {line}" for line in cipher.splitlines())
    path = write(tmp_path, "hosts.yml", f"all:\n  hosts:\n    a:\n      phi4_x: !vault |\n{body}\n")
    right, wrong = write(tmp_path, "right", "s3cret\n"), write(tmp_path, "wrong", "other\n")
    assert inventory.load((path,), secrets=[inventory.VaultSecret(path=str(right))])[0].vars == {"phi4_x": "9001"}
    with pytest.raises(InventoryError, match="phi4_x of host a"):
        inventory.load((path,), secrets=[inventory.VaultSecret(path=str(wrong))])
    with pytest.raises(InventoryError, match=r"phi4_x of host a.*--vault-password-file"):
        inventory.load((path,))


def test_secrets_of_a_host_are_not_shown(tmp_path: Path) -> None:
    text = "a ansible_password=c4nary ansible_become_password=c4nary\n"
    (host,) = inventory.load((write(tmp_path, "hosts.ini", text),))
    assert (host.ssh.password, host.become_password) == ("c4nary", "c4nary")
    assert "c4nary" not in repr(host)
