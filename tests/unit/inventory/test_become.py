"""How root is become, as Ansible's configuration says it; what only Ansible obeys is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from phi4_edge import inventory
from phi4_edge.core.inventory import Host

ASKED = "ansible_become_method=doas"


def loaded(folder: Path, line: str = "", config: str = "") -> Host:
    (folder / "hosts.ini").write_text(f"gw1 {line}\n")
    if config:
        (folder / "ansible.cfg").write_text(config)
    return inventory.load((str(folder / "hosts.ini"),))[0]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_by_itself_it_is_sudo_and_root_and_all_of_it_can_be_done_without_ansible(tmp_path: Path) -> None:
    host = loaded(tmp_path)
    assert (host.become_method, host.become_user, host.become_password, host.only_ansible) == ("", "", "", "")
    assert host.by_sudo


@pytest.mark.parametrize(
    ("line", "config", "name", "value"),
    [
        ("ansible_become_user=svc", "", "become_user", "svc"),
        ("ansible_sudo_user=svc", "", "become_user", "svc"),
        ("ansible_become_user=root", "[privilege_escalation]\nbecome_user = svc\n", "become_user", ""),
        ("", "[privilege_escalation]\nbecome_user = svc\n", "become_user", "svc"),
        ("", "[sudo_become_plugin]\nuser = svc\n", "become_user", "svc"),
        (ASKED, "", "become_method", "doas"),
        ("", "[privilege_escalation]\nbecome_method = doas\n", "become_method", "doas"),
        ("ansible_become_method=sudo", "[privilege_escalation]\nbecome_method = doas\n", "become_method", ""),
        ("ansible_sudo_pass=c4nary", "", "become_password", "c4nary"),
        ("ansible_become_pass=c4nary", "", "become_password", "c4nary"),
        ("ansible_become_flags='-H -S'", "", "only_ansible", "become_flags -H -S"),
        ("ansible_become_flags='-H -S -n'", "", "only_ansible", ""),
        ("", "[privilege_escalation]\nbecome_flags = -E\n", "only_ansible", "become_flags -E"),
        ("ansible_become_exe=/opt/sudo", "", "only_ansible", "become_exe /opt/sudo"),
        ("ansible_shell_type=fish", "", "only_ansible", "ansible_shell_type"),
        ("ansible_shell_executable=/bin/bash", "", "only_ansible", "ansible_shell_executable"),
        ("", "[defaults]\nexecutable = /bin/dash\n", "only_ansible", "executable /bin/dash"),
        ("probe_become=false", "", "only_ansible", "probe_become"),
    ],
)
def test_every_source_counts_as_for_ansible(tmp_path: Path, line: str, config: str, name: str, value: str) -> None:
    assert getattr(loaded(tmp_path, line, config), name) == value
