"""What Ansible evaluates in an inventory is evaluated equally."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.release import __version__

from phi4_edge import inventory
from phi4_edge.core.inventory import Host
from phi4_edge.errors import InventoryError


def loaded(folder: Path, text: str, name: str = "hosts.ini", limit: str | None = None) -> dict[str, Host]:
    path = folder / name
    path.write_text(text)
    return {host.name: host for host in inventory.load((str(path),), limit)}


JUMP = """jump1 ansible_host=203.0.113.9 ansible_user=hop
edge1 ansible_host=203.0.113.21

[site]
edge1

[site:vars]
ansible_ssh_common_args='-J {{ hostvars["jump1"].ansible_user }}@{{ hostvars["jump1"]["ansible_host"] }}'
"""


@pytest.mark.parametrize("limit", [None, "site"])
def test_hostvars_of_another_host_even_of_one_outside_the_limit(tmp_path: Path, limit: str | None) -> None:
    assert loaded(tmp_path, JUMP, limit=limit)["edge1"].ssh.common_args == "-J hop@203.0.113.9"


VALUES: dict[str, Any] = {
    "hostvars[inventory_hostname].base | int + 1": 8001,
    "hostvars | length >= 2": True,  # before ansible-core 2.19 the implicit localhost is one too
    "hostvars['b'].double | int": 8,
    "groups.pair | map('extract', hostvars, 'base') | map('int') | sum": 8004,
    "vars['base'] | int": 8000,
    "groups['pair'] | join('-')": "a-b",
    "groups.all | length": 2,
    "group_names | join": "pair",
    "ansible_check_mode": False,
    "ansible_diff_mode": False,
    "ansible_version.string": __version__,
    "ansible_version.full is version('2.17', '>=')": True,
    "ansible_play_hosts | join(',')": "a,b",
    "play_hosts | length": 2,
    "inventory_hostname_short": "a",
    "inventory_dir == ansible_inventory_sources[0] | dirname": True,
    "ansible_playbook_python": sys.executable,
    "omit is defined": True,
    "base if ansible_verbosity == 0 else omit": 8000,
    "{'kept': 1, 'dropped': omit}": {"kept": 1},
    "['kept', omit]": ["kept"],
}


@pytest.mark.parametrize("template", VALUES)
def test_magic_variables(tmp_path: Path, template: str) -> None:
    text = 'all:\n  vars: {double: "{{ base * 2 }}"}\n  children:\n    pair:\n      hosts:\n'
    text += f'        a: {{base: 8000, phi4_x: "{{{{ {template} }}}}"}}\n        b: {{base: 4}}\n'
    found = loaded(tmp_path, text, "hosts.yml")["a"].vars["phi4_x"]
    wanted = VALUES[template]
    # Before ansible-core 2.19 a number of a template is text.
    assert found == wanted or (isinstance(wanted, int) and found == str(wanted))


OMITTED = {
    "ansible_port": lambda host: host.port == 0,
    "ansible_host": lambda host: host.address == "a",
    "ansible_user": lambda host: host.user == "",
    "ansible_connection": lambda host: host.connection == "ssh",
    "ansible_become": lambda host: host.become is None,
    "ansible_become_method": lambda host: host.become_method == "",
    "ansible_password": lambda host: host.ssh.password == "",
    "ansible_ssh_common_args": lambda host: host.ssh.common_args == "",
    "phi4_port": lambda host: "phi4_port" not in host.vars,
}


@pytest.mark.parametrize("name", OMITTED)
def test_what_is_omitted_is_not_set(tmp_path: Path, name: str) -> None:
    text = f'a {name}="{{{{ nowhere | default(omit) }}}}"\n'
    assert OMITTED[name](loaded(tmp_path, text)["a"])


def test_the_older_name_counts_where_the_newer_one_is_omitted(tmp_path: Path) -> None:
    text = 'a ansible_ssh_port="{{ nowhere | default(omit) }}" ansible_port=2222\n'
    assert loaded(tmp_path, text)["a"].port == 2222


@pytest.mark.parametrize(
    "template", ["nowhere", "hostvars['nobody'].base", "hostvars.a.nowhere", "vars['nowhere']", "groups['none'][0]"]
)
def test_what_ansible_cannot_evaluate_either_is_a_mistake(tmp_path: Path, template: str) -> None:
    text = f'a:\n  hosts:\n    a: {{phi4_x: "{{{{ {template} }}}}"}}\n'
    with pytest.raises(InventoryError, match=r"phi4_x of host a that cannot be evaluated.*needed"):
        loaded(tmp_path, text, "hosts.yml")


def test_what_nobody_asks_for_is_not_evaluated(tmp_path: Path) -> None:
    assert loaded(tmp_path, 'a other="{{ nowhere }}" phi4_port=9000\n')["a"].vars == {"phi4_port": 9000}
