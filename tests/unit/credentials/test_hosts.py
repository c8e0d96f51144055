"""What one host is brought: only what it lacks, and no private key anywhere but in what is sent."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.artifacts.certificates.authority import KEY, Authority
from phi4_edge.core.credentials import NONE, Found, read
from phi4_edge.core.gateway.credentials import due
from phi4_edge.core.plan.overrides import Overrides
from phi4_edge.credentials.hosts import Client
from phi4_edge.credentials.keys import KeysFile
from phi4_edge.errors import PreflightError
from tests.unit.artifacts.certificates.crafted import authority
from tests.unit.core.gateway.certificates import certificate


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An inventory with a key beside it, and a CA."""
    monkeypatch.setenv("PHI4_EDGE_CONFIG", str(tmp_path / "config"))
    Authority.create(tmp_path / "config" / KEY, int(time.time()))
    KeysFile(tmp_path / "gateway-keys.txt").add("north")
    return tmp_path


def client(site: Path, **variables: Any) -> Client:
    asked = Overrides.from_vars("gw1", {"phi4_gateway": True, **variables})
    return Client(asked, "192.0.2.7", [str(site / "gateways.ini")])


def brought(found: Client, has: Found = NONE) -> tuple[dict[str, Any], dict[str, Any]]:
    order = found.order(has)
    return json.loads(order.document), order.note


def on_host(texts: dict[str, Any], note: dict[str, Any]) -> Found:
    """What a host has that was brought this."""
    pem = hashlib.sha256(texts["pem"].encode()).hexdigest()
    keys = hashlib.sha256(texts["keys"].encode()).hexdigest()
    told = {"keys": keys, "certificate": pem, "note": json.dumps({**note, "pem": pem})}
    if texts["client_ca"]:
        told["client_ca"] = hashlib.sha256(texts["client_ca"].encode()).hexdigest()
    known = read(json.dumps(told))
    assert known is not None
    return known


def test_a_new_host_gets_both_and_then_nothing(site: Path) -> None:
    texts, note = brought(client(site))
    assert texts["keys"].split()[1] == "north:0:0:0:0" and "PRIVATE KEY" in texts["pem"]
    assert set(note["names"]) == {"gw1", "192.0.2.7", "127.0.0.1"}
    assert note["issuer"] == Authority.load(site / "config" / KEY).digest
    has = on_host(texts, note)
    assert due(has, client(site).wanted()) == ()
    assert brought(client(site), has)[0] == {"keys": None, "client_ca": None, "pem": None}
    assert brought(client(site), has)[1] == note, "the note of a certificate that stays"


def test_a_new_key_brings_no_new_certificate(site: Path) -> None:
    has = on_host(*brought(client(site)))
    KeysFile(site / "gateway-keys.txt").add("south")
    texts, note = brought(client(site), has)
    assert texts["pem"] is None and len(texts["keys"].splitlines()) == 2
    assert note["not_after"] == has.not_after


def test_another_name_or_another_ca_brings_a_new_certificate(site: Path) -> None:
    has = on_host(*brought(client(site)))
    assert "door.example" in brought(client(site, phi4_gateway_names="door.example"), has)[1]["names"]
    Authority.create(site / "config" / KEY, int(time.time()), rotate=True)
    texts, note = brought(client(site), has)
    assert texts["keys"] is None and texts["pem"] and note["issuer"] != has.note["issuer"]


def test_an_operators_certificate_goes_as_it_is(site: Path) -> None:
    whole = certificate(site)
    whole.chmod(0o600)
    for variables in (
        {"phi4_gateway_certificate": "certificate.pem"},
        {"phi4_gateway_certificate": str(site / "chain.pem"), "phi4_gateway_certificate_key": "key.pem"},
    ):
        (site / "key.pem").chmod(0o600)
        has = on_host(*brought(client(site, **variables)))
        assert has.note["issuer"] == "" and due(has, client(site, **variables).wanted()) == ()


def test_cas_of_clients_are_brought_once_and_again_when_the_file_is_another(site: Path) -> None:
    now = int(time.time())
    first, second = (authority(name, begins=now - 60, ends=now + 3600) for name in ("first", "second"))
    (site / "clients.pem").write_bytes(b"# of our own\n" + first.pem)
    asked = client(site, phi4_gateway_client_ca="clients.pem")
    texts, note = brought(asked)
    assert texts["client_ca"] == first.pem.decode() and texts["keys"]
    has = on_host(texts, note)
    assert due(has, asked.wanted()) == () and brought(asked, has)[0] == dict.fromkeys(("keys", "client_ca", "pem"))
    (site / "clients.pem").write_bytes(first.pem + second.pem)
    assert brought(asked, has)[0] == {"keys": None, "client_ca": (first.pem + second.pem).decode(), "pem": None}
    assert due(has, client(site).wanted()) == (), "they stay where nobody wants them any more"


def test_without_tls_none_is_brought_and_one_that_is_there_stays(site: Path) -> None:
    plain = client(site, phi4_gateway_tls=False)
    texts, note = brought(plain, on_host(*brought(client(site))))
    assert texts == {"keys": None, "client_ca": None, "pem": None}
    assert note["issuer"], "the note is still of the certificate that lies there"
    assert brought(plain)[0]["pem"] is None


def test_no_repr_has_a_private_key(site: Path) -> None:
    order = client(site).order(NONE)
    assert "PRIVATE" not in repr(order) and "north" not in repr(order)


@pytest.mark.parametrize(
    ("break_it", "variables", "said"),
    [
        ("gateway-keys.txt", {}, "found no keys of gateways .*phi4-edge key add"),
        ("config/ca-key.pem", {}, "found no CA .*phi4-edge trust ca"),
        ("", {"phi4_gateway_certificate": "none-such.pem"}, "found no file .*none-such.pem"),
        ("", {"phi4_gateway_keys": "others.txt"}, "found no keys of gateways .*others.txt"),
        ("", {"phi4_gateway_client_ca": "none-such.pem"}, "found no file .*none-such.pem, needed a PEM file"),
        ("", {"phi4_gateway_client_ca": "gateway-keys.txt"}, "cannot be the CAs of clients: found 0 certificates"),
    ],
)
def test_what_the_controller_lacks_is_said(site: Path, break_it: str, variables: dict[str, Any], said: str) -> None:
    if break_it:
        (site / break_it).unlink()
    found = client(site, **variables)
    with pytest.raises(PreflightError, match=said):
        found.order(NONE)
    assert found.wanted().lacks and due(NONE, found.wanted()) == ()


def test_a_list_of_hosts_has_no_folder(site: Path) -> None:
    asked = Overrides.from_vars("gw1", {"phi4_gateway": True})
    assert "needed phi4_gateway_keys with a whole path" in Client(asked, "", ["gw1,"]).wanted().lacks
    assert (
        not Client(
            Overrides.from_vars("gw1", {"phi4_gateway": True, "phi4_gateway_keys": str(site / "gateway-keys.txt")}),
            "",
            ["gw1,"],
        )
        .wanted()
        .lacks
    )
