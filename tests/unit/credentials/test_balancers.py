"""What a balancer is brought: a key of its own once, a certificate while it lacks one, and the CAs that it trusts."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from phi4_edge.artifacts.certificates.authority import KEY, Authority
from phi4_edge.core.gateway.balancing import key_file
from phi4_edge.core.gateway.key_map import digest
from phi4_edge.core.plan.overrides import Overrides
from phi4_edge.credentials import balancers
from phi4_edge.credentials.hosts import Client
from phi4_edge.errors import Phi4EdgeError, PreflightError
from tests.unit.artifacts.certificates.crafted import authority, made

CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
NOTHING = {"key": "", "certificate": "", "note": ""}


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setenv("PHI4_EDGE_CONFIG", str(tmp_path / "config"))
    Authority.create(tmp_path / "config" / KEY, int(time.time()))
    asked = Overrides.from_vars("LB 1", {"phi4_gateway": True})
    return Client(asked, "192.0.2.9", [str(tmp_path / "gateways.ini")])


def has(files: dict[str, Any]) -> dict[str, str]:
    """What a host says that was brought these files."""
    token = files["key.cfg"].split()[-1]
    pem = hashlib.sha256(files["certificate.pem"].encode()).hexdigest()
    return {"key": digest(token), "certificate": pem, "note": files["credentials.json"]}


def test_a_new_balancer_gets_all_and_then_nothing_but_the_cas(client: Client) -> None:
    files = balancers.brought(client, NOTHING, "", "", check=False)
    [key] = client.keys_file.read()
    assert key.name == "balancer-lb-1"
    assert files["key.cfg"] == key_file(files["key.cfg"].split()[-1])
    assert "PRIVATE KEY" in files["certificate.pem"] and files["ca.pem"].count("BEGIN CERTIFICATE") == 1
    again = balancers.brought(client, has(files), "", "", check=False)
    kept = dict.fromkeys(("key.cfg", "certificate.pem", "credentials.json"))
    assert again == {**kept, "ca.pem": files["ca.pem"], "client.pem": "", "clients-ca.pem": ""}
    assert client.keys_file.read() == (key,)


def test_a_key_that_is_not_the_one_in_the_file_is_made_anew(client: Client) -> None:
    first = balancers.own_key(client, "", check=False)
    [before] = client.keys_file.read()
    second = balancers.own_key(client, "0" * 64, check=False)
    [after] = client.keys_file.read()
    assert (first != second, before.digest != after.digest, after.name) == (True, True, before.name)
    client.keys_file.revoke(after.name)
    assert balancers.own_key(client, after.digest, check=False) is not None


def test_check_mode_makes_no_key(client: Client) -> None:
    assert balancers.own_key(client, "", check=True) is not None
    assert not client.keys_file.path.exists()


def test_certificates_of_clients_come_to_it_as_they_are_and_are_checked_before_a_key_is_made(
    client: Client, tmp_path: Path
) -> None:
    now = int(time.time())
    above = authority("site CA", begins=now - 60, ends=now + 3600)
    made("lb1", (), above, begins=now - 60, ends=now + 3600, uses=[CLIENT]).write(tmp_path / "client.pem")
    (tmp_path / "clients.pem").write_bytes(above.pem)
    asking = replace(client, asked=replace(client.asked, gateway_client_ca="clients.pem"))
    with pytest.raises(Phi4EdgeError, match=r"found no file .*none\.pem, needed a PEM file"):
        balancers.brought(asking, NOTHING, "", "none.pem", check=False)
    with pytest.raises(Phi4EdgeError, match=r"clients\.pem cannot be a client's certificate: found 0 private keys"):
        (tmp_path / "clients.pem").chmod(0o600)
        balancers.brought(asking, NOTHING, "", "clients.pem", check=False)
    assert not client.keys_file.path.exists()
    files = balancers.brought(asking, NOTHING, "", "client.pem", check=False)
    assert files["clients-ca.pem"] == above.pem.decode()
    assert files["client.pem"].startswith("-----BEGIN CERTIFICATE") and "PRIVATE KEY" in files["client.pem"]


def test_cas_of_an_operator_are_read_beside_the_inventory(client: Client, tmp_path: Path) -> None:
    with pytest.raises(PreflightError, match=r"found no certificate in .*, needed PEM"):
        balancers.trusted(client, "ca.pem")
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(PreflightError, match=r"found no certificate in .*, needed PEM"):
        balancers.trusted(client, "ca.pem")
    (tmp_path / "ca.pem").write_text(Authority.load(tmp_path / "config" / KEY).certificate)
    assert balancers.trusted(client, "ca.pem").startswith("-----BEGIN CERTIFICATE-----")
    assert balancers.brought(client, NOTHING, "-", "", check=False)["ca.pem"] == ""
