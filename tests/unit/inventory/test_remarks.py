"""What Ansible warns of reaches the operator, and a source that cannot be read is explained by the plugin it is for."""

from __future__ import annotations

from pathlib import Path

import pytest

from phi4_edge import inventory
from phi4_edge.errors import InventoryError

CHECKED = "all:\n  hosts:\n    a:\n"


def warned(folder: Path, text: str, name: str, mode: int = 0o644) -> tuple[list[str], list[str]]:
    """The names of the hosts, and the warnings."""
    path = folder / name
    path.write_text(text)
    path.chmod(mode)
    said: list[str] = []
    return [host.name for host in inventory.load((str(path),), warn=said.append)], said


MISSPELT = {
    "host": ("west:\n  hosts: {a: {}}\neast:\n  host: {b: {}}\n", ["host", "east"]),
    "childern": ("west:\n  hosts: {a: {}}\n  childern:\n    east: {hosts: {b: {}}}\n", ["childern", "west"]),
    "var": ("west:\n  hosts: {a: {}}\n  var: {phi4_port: 1}\n", ["var", "west"]),
    "key twice": ("west:\n  hosts:\n    a: {phi4_port: 1}\n    a: {phi4_port: 2}\n", ["duplicate", "'a'"]),
    "section twice": ("west:\n  hosts: {a: {}}\nwest:\n  hosts: {a: {}, c: {}}\n", ["duplicate", "'west'"]),
}


@pytest.mark.parametrize("name", MISSPELT)
def test_a_warning_of_ansible_names_file_and_key(tmp_path: Path, name: str) -> None:
    text, words = MISSPELT[name]
    hosts, said = warned(tmp_path, text, "fleet.yml")
    assert "a" in hosts and "b" not in hosts
    assert len(said) == 1
    # Before ansible-core 2.19 a key that is there twice is named without quotes.
    assert all(word in said[0] or word.strip("'") in said[0] for word in [*words, "fleet.yml"])
    assert "\n" not in said[0]


def test_a_host_that_a_script_made_of_a_group_is_named(tmp_path: Path) -> None:
    text = '#!/bin/sh\necho \'{"west": {"hosts": ["a"]}, "east": {"host": ["b"]}, "_meta": {"hostvars": {}}}\'\n'
    hosts, said = warned(tmp_path, text, "dynamic", 0o755)
    assert hosts == ["a", "east"]
    assert any("same name: east" in line for line in said)


def test_each_inventory_of_a_process_is_warned_of(tmp_path: Path) -> None:
    text, _ = MISSPELT["host"]
    assert warned(tmp_path, text, "fleet.yml")[1] == warned(tmp_path, text, "fleet.yml")[1] != []


def test_a_good_inventory_is_loaded_without_a_word(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert warned(tmp_path, CHECKED, "fleet.yml") == (["a"], [])
    assert warned(tmp_path, "[west]\na phi4_port=1\nb\n[east]\na\n", "fleet.ini") == (["a", "b"], [])
    assert capfd.readouterr() == ("", "")


def test_where_no_host_is_left_the_reason_is_given(tmp_path: Path) -> None:
    with pytest.raises(
        InventoryError, match=r"found no hosts in inventory .*\(.*fleet\.yml.*\(host\) in group \(all\)"
    ):
        warned(tmp_path, "all:\n  host:\n    a:\n", "fleet.yml")


UNREADABLE = {
    "numbers": ("all:\n  hosts:\n    7:\n    8:\n", "Host pattern 7 must be a string"),
    "a list of hosts": ("west:\n  hosts:\n    - a\n", 'Invalid "hosts" entry for "west" group.* found a list'),
    "a list of groups": ("all:\n  children: [west]\nwest: {hosts: {a: {}}}\n", 'Invalid "children" entry for "all"'),
    "variables beside hosts": (
        "all:\n  hosts:\n    a:\n    ansible_user: edge\n",
        "expected dictionary and got: +edge",
    ),
    "a list of variables": ("all:\n  hosts: {a: {}}\n  vars: [x]\n", 'Invalid "vars" entry'),
    "a list": ("- a\n- b\n", "YAML inventory has invalid structure"),
    "a tab": ("all:\n\thosts:\n", r"(?i:tab|cannot start any token)"),
    "an unknown plugin": ("plugin: nobody.knows.this\n", "unknown plugin 'nobody.knows.this'"),
}


@pytest.mark.parametrize("suffix", [".yml", ".yaml"])
@pytest.mark.parametrize("name", UNREADABLE)
def test_a_mistake_in_yaml_is_explained_by_who_reads_yaml(tmp_path: Path, name: str, suffix: str) -> None:
    text, reason = UNREADABLE[name]
    with pytest.raises(InventoryError, match=f"(?s)cannot be read: .*{reason}") as error:
        warned(tmp_path, text, f"fleet{suffix}")
    assert f"fleet{suffix}" in str(error.value)
    assert "no root 'plugin' key" not in str(error.value)
    assert "ansible." not in str(error.value).replace("ansible-inventory", "")


@pytest.mark.parametrize(
    ("name", "text", "mode", "reason"),
    [
        ("fleet.ini", "a foo\n", 0o644, "Expected key=value host variable assignment, got: foo"),
        ("fleet", "[west:nothing]\na\n", 0o644, "unknown type"),
        ("dynamic", "#!/bin/sh\necho no luck >&2; exit 3\n", 0o755, "(?i:inventory script).*(exit code 3|no luck)"),
        ("dynamic.sh", "#!/bin/sh\necho '{'\n", 0o755, "(?i:JSON)"),
        ("fleet.yml", UNREADABLE["numbers"][0], 0o755, "Host pattern 7 must be a string"),
    ],
)
def test_other_files_are_explained_by_the_plugin_they_are_for(
    tmp_path: Path, name: str, text: str, mode: int, reason: str
) -> None:
    with pytest.raises(InventoryError, match=f"(?s)cannot be read: .*{reason}"):
        warned(tmp_path, text, name, mode)


def test_the_file_of_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "inv").mkdir()
    (tmp_path / "inv" / "good.ini").write_text("a\n")
    (tmp_path / "inv" / "bad.yml").write_text(UNREADABLE["a list of hosts"][0])
    with pytest.raises(InventoryError, match=r'Invalid "hosts" entry.*bad\.yml'):
        inventory.load((str(tmp_path / "inv"),))
