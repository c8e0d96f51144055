"""Hosts that melt together, and names that nobody meant: Ansible's meaning is kept, and said."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest
from ansible.parsing.vault import VaultLib, VaultSecret

from phi4_edge import inventory
from phi4_edge.errors import InventoryError


def warned(path: Path, content: str | bytes, vault: Path | None = None) -> tuple[list[str], list[str]]:
    """The names of the hosts, and the warnings."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    said: list[str] = []
    vaults = [inventory.VaultSecret(path=str(vault))] if vault else []
    return [host.name for host in inventory.load((str(path),), None, vaults, said.append)], said


MELTED = {
    "addresses": (
        "h.ini",
        "a ansible_host=192.0.2.7\na ansible_host=192.0.2.8\n",
        "a is listed 2 times.* ansible_host",
    ),
    "ports": (
        "h.ini",
        "[x]\n10.0.0.1 ansible_port=1\n10.0.0.1 ansible_port=2\n10.0.0.1 ansible_port=3\n",
        "10.0.0.1 is listed 3 times with different ansible_port; the last one counts",
    ),
    "two groups": ("h.ini", "[x]\na ansible_host=b\n[y]\na ansible_host=c\n", "a is listed 2 times with different"),
    "groups of YAML": (
        "h.yml",
        "x:\n  hosts: {a: {phi4_port: 1}}\ny:\n  hosts: {a: {phi4_port: 2}}\n",
        "a is listed 2 times with different phi4_port",
    ),
    "ports of names": ("h.ini", "a:2201\na:2202\n", "a is listed 2 times with different ports; the first one counts"),
    "a port that comes later": ("h.ini", "[x]\na\n[y]\na:2202\n", "a is listed 2 times with different ports"),
    "a range": ("h.ini", "a[1:2] ansible_user=x\na2 ansible_user=y\n", "a2 is listed 2 times.* ansible_user"),
}


@pytest.mark.parametrize("name", MELTED)
def test_hosts_that_melt_together_are_named_with_what_differs(tmp_path: Path, name: str) -> None:
    file, text, wanted = MELTED[name]
    hosts, said = warned(tmp_path / file, text)
    assert len(hosts) == len(set(hosts))
    assert len(said) == 1
    assert file in said[0]
    with pytest.raises(InventoryError, match=wanted):
        raise InventoryError(said[0])


@pytest.mark.parametrize(
    "text",
    [
        "[x]\na ansible_host=b\n[y]\na\n",
        "[x]\na ansible_host=b\n[y]\na ansible_host=b\n",
        "a ansible_host=192.0.2.7\nb ansible_host=192.0.2.7\n",
        "a phi4_port=1\n[all:vars]\nphi4_port=2\n",
        "[x]\na:2201\n[y]\na\n",
        "gw_1.plant-2.example\nfe80::1\n10.0.0.1\n",
    ],
)
def test_what_operators_mean_is_no_warning(tmp_path: Path, text: str) -> None:
    assert warned(tmp_path / "h.ini", text)[1] == []


def test_a_source_over_another_is_meant(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("a ansible_host=b\n")
    (tmp_path / "two").write_text("a ansible_host=c\n")
    said: list[str] = []
    (host,) = inventory.load((str(tmp_path / "one"), str(tmp_path / "two")), warn=said.append)
    assert (host.address, said) == ("c", [])


def test_secrets_of_a_vault_are_compared_and_never_shown(tmp_path: Path) -> None:
    def sealed(value: str) -> str:
        cipher = VaultLib().encrypt(value, VaultSecret(b"s3cret"), vault_id=None).decode()
        return "!vault |\n" + "".join(f"        {line}\n" for line in cipher.splitlines())

    password = tmp_path / "password"
    password.write_text("s3cret\n")
    for first, second, count in (("c4nary", "c4nary2", 1), ("c4nary", "c4nary", 0)):
        text = "".join(
            f"{group}:\n  hosts:\n    a:\n      ansible_password: {sealed(value)}"
            for group, value in (("x", first), ("y", second))
        )
        hosts, said = warned(tmp_path / "h.yml", text, password)
        assert (hosts, len(said)) == (["a"], count)
        assert "c4nary" not in str(said)


ODD = {
    "bare names in YAML": ("h.yml", "x:\n  hosts:\n    10.0.0.1\n    10.0.0.2\n", "white space"),
    "variables without a host": ("h.ini", "ansible_host=192.0.2.7 phi4_port=1\n", "'=' in it|= in it"),
    "commas": ("h.ini", "[x]\na,b\n", ", in it"),
    "an invisible character": ("h.ini", "a\u200b ansible_host=192.0.2.7\n", "cannot be seen"),
}


@pytest.mark.parametrize("name", ODD)
def test_names_that_nobody_meant(tmp_path: Path, name: str) -> None:
    file, text, wanted = ODD[name]
    said = warned(tmp_path / file, text)[1]
    assert len(said) == 1
    with pytest.raises(InventoryError, match=wanted):
        raise InventoryError(said[0])


def test_a_byte_order_mark(tmp_path: Path) -> None:
    hosts, said = warned(tmp_path / "h.ini", codecs.BOM_UTF8 + b"a\nb\n")
    assert hosts == ["\ufeffa", "b"]
    assert len(said) == 1 and "h.ini begins with a byte order mark" in said[0]
    with pytest.raises(InventoryError, match=r"cannot be read.*byte order mark"):
        warned(tmp_path / "h.ini", codecs.BOM_UTF8 + b"[x]\na\n")
    assert warned(tmp_path / "h.yml", codecs.BOM_UTF8 + b"x: {hosts: {a: {}}}\n") == (["a"], [])


def test_a_file_of_another_encoding(tmp_path: Path) -> None:
    said = warned(tmp_path / "h.ini", codecs.BOM_UTF16_LE + "a\n".encode("utf-16-le"))[1]
    assert len(said) == 1 and "UTF-16" in said[0]
