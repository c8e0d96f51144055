"""The hosts of one command: what the command line says of variables and vaults reaches plans, runs and digests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from phi4_edge.core.inventory import VaultSecret
from phi4_edge.errors import InventoryError
from phi4_edge.operations.fleet import Fleet
from phi4_edge.operations.options import Reach


def reach(*said: str, **more: object) -> Reach:
    return Reach(None, 2, None, pytest.fail, extra_vars=said, **more)  # type: ignore[arg-type]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("hosts.ini").write_text("gw1 phi4_port=8080\ngw2\n")
    return "hosts.ini"


def test_extra_variables_go_over_the_inventory_s_and_under_those_of_set(source: str) -> None:
    fleet = Fleet.open([source], reach("phi4_port=9000 phi4_context_length=1024"), {"phi4_context_length": 2048})
    assert [fleet.variables(host) for host in fleet.hosts] == [{"phi4_port": "9000", "phi4_context_length": 2048}] * 2
    run = fleet.access.run("detect", ["gw1"])
    assert json.loads(run.files["operator_vars_0.yml"]) == {"phi4_port": "9000", "phi4_context_length": "1024"}
    assert "9000" not in " ".join(run.argv) + repr(fleet.access)


def test_a_plan_is_of_its_extra_variables(source: str) -> None:
    """What `provision --plan` compares: other variables of ours are another inventory, passwords are none of it."""
    digests = {
        text: Fleet.open([source], reach(*text)).source().digest
        for text in ((), ("phi4_port=8081",), ("phi4_port=8082",), ("ansible_become_password=x other=1",))
    }
    assert digests[()] == digests[("ansible_become_password=x other=1",)]
    assert len(set(digests.values())) == 3
    assert Fleet.open([source], reach("phi4_port=8081")).source().digest == digests[("phi4_port=8081",)]


@pytest.mark.parametrize("text", ["phi4_prot=1", "phi4_port=none", '{"phi4_port": 0}'])
def test_a_wrong_variable_is_one_here_too(source: str, text: str) -> None:
    with pytest.raises(InventoryError, match="phi4_p"):
        Fleet.open([source], reach(text))


def test_passwords_are_handed_on_without_being_shown(source: str, tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("c4nary")
    vaults = (VaultSecret("dev", "prompt", "c4nary"), VaultSecret("default", "pw"))
    fleet = Fleet.open([source], Reach(None, 2, lambda: "c4nary2", pytest.fail, vaults, ("token=c4nary",)))
    run = fleet.access.run("detect", ["gw1"])
    assert run.files["vault_0"] == "c4nary" and run.files["become_password"] == "c4nary2"
    assert run.argv[-4:] == ("--vault-id", "dev@{private}/vault_0", "--vault-id", f"default@{tmp_path}/pw")
    assert "c4nary" not in repr(fleet) + repr(run) + " ".join(run.argv)
