"""Variables of the command line and several vaults: read as Ansible reads them, by us and by the runs that we start."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.vault import VaultLib
from ansible.parsing.vault import VaultSecret as AnsibleSecret

from phi4_edge import inventory
from phi4_edge.errors import InventoryError
from phi4_edge.inventory import VaultSecret
from phi4_edge.runner import program
from phi4_edge.runner import run as runner_run
from tests.unit.inventory.ansible_says import EVALUATED

PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.copy: {content: "{{ msg | to_json }}", dest: "{{ playbook_dir }}/said.json", mode: "0600"}
  vars:
    msg: %s
"""


def sealed(text: str, password: str, label: str) -> str:
    """Text as `ansible-vault encrypt --encrypt-vault-id LABEL` writes it."""
    return str(VaultLib().encrypt(text, AnsibleSecret(password.encode()), vault_id=label).decode())


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an inventory, files of variables, and the passwords of two vaults; the current one."""
    monkeypatch.chdir(tmp_path)
    Path("hosts.yml").write_text(
        "all:\n  hosts:\n    gw1: {ansible_connection: local, phi4_a: of the inventory, phi4_site: '{{ place }}'}\n"
        f"  vars: {{ansible_python_interpreter: {sys.executable}, place: here}}\n"
    )
    Path("more.yml").write_text("phi4_list: [1, two, '{{ phi4_number }}']\nphi4_none:\nphi4_yes: yes\n")
    Path("more.json").write_text('{"phi4_map": {"x": {"y": 1.5}}, "phi4_b": "of json"}')
    Path("dev.yml").write_text(sealed("phi4_dev: of dev\n", "dev-word", "dev"))
    body = "".join(f"  {line}\n" for line in sealed("of prod", "prod-word", "prod").splitlines())
    Path("prod.yml").write_text(f"phi4_prod: !vault |\n{body}")
    Path("dev.pw").write_text("dev-word\n")
    Path("ask-client.sh").write_text('#!/bin/sh\ntest "$1 $2" = "--vault-id prod" && echo prod-word\n')
    Path("ask-client.sh").chmod(0o700)
    return tmp_path


GIVEN = (
    "phi4_a=1 phi4_words='two words' phi4_number=0x10",
    'phi4_quote="a\'b" phi4_line=x\\ny phi4_equals=a=b',
    '{"phi4_json": {"deep": [true, null]}, "phi4_text": "{{ phi4_a }}-{{ inventory_hostname }}"}',
    "{phi4_yaml: [a, b], phi4_off: no}",
    "@more.yml",
    "@more.json",
    "phi4_b=last place=there",
    "@dev.yml",
    "@prod.yml",
)
VAULTS = (VaultSecret("dev", "dev.pw"), VaultSecret("prod", "ask-client.sh"))


def ran(play: Path, *argv: str) -> Any:
    """What a play with these options finds of our variables, by plain ansible-playbook."""
    program = str(Path(sys.executable).parent / "ansible-playbook")
    subprocess.run([program, str(play), *argv], capture_output=True, text=True, check=True)
    return said(play)


def said(play: Path) -> Any:
    return json.loads((play.parent / "said.json").read_text())


def test_all_three_readers_find_the_same(site: Path) -> None:
    play = site / "play.yml"
    play.write_text(PLAY % json.dumps(EVALUATED))
    (host,) = inventory.load(("hosts.yml",), None, VAULTS, said=GIVEN)
    ids = [word for vault in VAULTS for word in ("--vault-id", vault.identity())]
    plain = ran(play, "-i", "hosts.yml", *ids, *(word for text in GIVEN for word in ("-e", text)))
    assert dict(host.vars) == plain
    assert (plain["phi4_a"], plain["phi4_b"], plain["phi4_site"]) == ("1", "last", "there")
    assert (plain["phi4_dev"], plain["phi4_prod"], plain["phi4_text"]) == ("of dev", "of prod", "1-gw1")
    documents = inventory.documents_of(GIVEN)
    run = runner_run.build_run(
        play, ["hosts.yml"], vaults=VAULTS, operator_vars=documents, extra_vars={"place": "ours"}
    )
    assert program.execute(run, lambda event: None).exit_status == 0
    assert said(play) == {**plain, "phi4_site": "ours"}  # what a run itself says goes over all


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("phi4_a=1 c4nary", "a word without ="),
        ("c4nary", "a word without ="),
        ("[c4nary]", "no mapping"),
        ("{c4nary", "no mapping"),
        ("/etc/c4nary.yml", "without @ in front of the file"),
        ("@missing.yml", r"@missing.yml that cannot be used \(.*missing.yml"),
        ("@hosts.ini", "@hosts.ini that cannot be used"),
        ("@dev.yml", "@dev.yml that cannot be used.*--vault-id"),
        ("phi4_hosts=gw1", "needed --limit"),
    ],
)
def test_what_nobody_means_is_refused_without_showing_it(site: Path, text: str, said: str) -> None:
    (site / "hosts.ini").write_text("[all]\nc4nary\n")
    with pytest.raises(InventoryError, match=said) as caught:
        inventory.load(("hosts.yml",), said=["phi4_b=2", text])
    assert "hosts.yml" not in str(caught.value)
    assert "c4nary" not in str(caught.value).replace("/etc/c4nary.yml", "")


def test_nothing_stays_in_the_process(site: Path) -> None:
    (one,) = inventory.load(("hosts.yml",), said=["phi4_a=1"])
    (two,) = inventory.load(("hosts.yml",), said=["phi4_b=2"])
    (three,) = inventory.load(("hosts.yml",))
    assert [host.vars.get("phi4_a") for host in (one, two, three)] == ["1", "of the inventory", "of the inventory"]
    assert "phi4_b" not in three.vars


def test_they_count_for_the_connection_and_for_plugins_too(site: Path) -> None:
    (site / "hosts.ini").write_text("gw1 ansible_host=192.0.2.1 tier=1\n")
    (site / "zz_groups.yml").write_text(
        'plugin: ansible.builtin.constructed\nuse_extra_vars: true\ncompose: {phi4_worker: "where ~ tier"}\n'
    )
    said = ["where=lyon", "ansible_host=192.0.2.9 ansible_user=root ansible_become_password=c4nary"]
    (host,) = inventory.load(("hosts.ini", "zz_groups.yml"), said=said)
    assert (host.address, host.user, host.become_password) == ("192.0.2.9", "root", "c4nary")
    assert host.vars["phi4_worker"] == "lyon1"


@pytest.mark.parametrize("file", ["more.yml", "/dev/zero", "."])
def test_a_file_is_read_within_bounds(site: Path, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phi4_edge.inventory.extra_vars.MOST_BYTES", 8)
    with pytest.raises(InventoryError, match=f"@{file}: .*needed a file with JSON or YAML"):
        inventory.documents_of([f"@{file}"])


def test_every_vault_that_was_named_is_used(site: Path) -> None:
    typed = VaultSecret("prod", "prompt", "prod-word")
    for order in ([VAULTS[0], typed], [typed, VAULTS[0]]):
        (host,) = inventory.load(("hosts.yml",), None, order, said=["@dev.yml", "@prod.yml"])
        assert (host.vars["phi4_dev"], host.vars["phi4_prod"]) == ("of dev", "of prod")
    with pytest.raises(InventoryError, match="--vault-id"):
        inventory.load(("hosts.yml",), None, [typed], said=["@dev.yml"])


@pytest.mark.parametrize("identity", ["dev@prompt", "prompt", "x@prompt_ask_vault_pass"])
def test_a_configuration_that_asks_in_every_run_is_refused(
    site: Path, identity: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ansible.constants.DEFAULT_VAULT_IDENTITY_LIST", ["dev@dev.pw", identity])
    with pytest.raises(InventoryError, match=f"found {identity} in vault_identity_list.*--vault-id {identity}"):
        inventory.load(("hosts.yml",))


@pytest.mark.parametrize("script", ["#!/bin/sh\nexit 3\n", "#!/bin/sh\n", "#!/nonexistent/program\n"])
def test_a_vault_that_gives_no_password_is_no_warning(site: Path, script: str) -> None:
    program = site / "broken.sh"
    program.write_text(script)
    program.chmod(0o700)
    with pytest.raises(InventoryError, match=r"found no (vault )?password"):
        inventory.load(("hosts.yml",), None, [VAULTS[0], VaultSecret("x", "broken.sh")])
