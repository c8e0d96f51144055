"""Which gateways a balancer has, and what it is told of them; other commands leave balancers out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from phi4_edge.core.inventory import Host
from phi4_edge.errors import InventoryError
from phi4_edge.operations import balance
from phi4_edge.operations.fleet import Fleet, require_apart
from phi4_edge.operations.options import Reach
from phi4_edge.runner.access import Access

GATEWAY = {"phi4_gateway": True, "phi4_bind": "0.0.0.0"}


def plan(host: str, **more: Any) -> dict[str, Any]:
    gateway = {"bind": "0.0.0.0", "port": 8443, "tls": True, "queue": 16, "answer_seconds": 900}
    gateway["client_certificates"] = False
    return {
        "host": host, "fits": True, "parallel": 4, "gateway": {**gateway, **more.pop("gateway", {})},
        "model": {"served_name": "tiny"}, "forecast": {"decode_tokens_per_second": 10.0}, **more,
    }  # fmt: skip


def fleet(*hosts: Host) -> Fleet:
    gateways, balancers = require_apart(hosts)
    return Fleet(gateways, Access(("x.ini",)), {}, balancers=balancers)


def host(name: str, address: str = "192.0.2.1", groups: tuple[str, ...] = ("gateways",), **variables: Any) -> Host:
    return Host(name, address, vars={**GATEWAY, **variables}, groups=groups)


def balancer(**variables: Any) -> Host:
    return Host("lb1", "192.0.2.9", vars={"phi4_bind": "0.0.0.0", **variables}, groups=("balancers",))


def test_commands_leave_balancers_out_and_say_so(tmp_path: Path) -> None:
    inventory = tmp_path / "gateways.ini"
    inventory.write_text("[gateways]\ngw1\n[balancers]\nlb1 phi4_bind=0.0.0.0\n")
    said: list[str] = []
    found = Fleet.open([str(inventory)], Reach(None, 1, None, said.append))
    assert ([one.name for one in found.hosts], [one.name for one in found.balancers]) == (["gw1"], ["lb1"])
    assert said == ["left out: lb1 (see 'phi4-edge balance')"]
    said.clear()
    Fleet.open([str(inventory)], Reach(None, 1, None, said.append), balance=True)
    assert said == []
    with pytest.raises(InventoryError, match="found no hosts but balancers, needed a gateway"):
        Fleet.open([str(inventory)], Reach("lb1", 1, None, said.append))


def test_a_balancer_that_asks_for_an_engine_is_refused() -> None:
    with pytest.raises(InventoryError, match=r"found phi4_engine=onnx for lb1, .* needed it in one of the two"):
        require_apart([balancer(phi4_engine="onnx")])


def test_a_balancer_has_all_gateways_or_those_of_its_group() -> None:
    hosts = (host("gw1"), host("gw2", groups=("gateways", "south")), host("plain", phi4_gateway=False, phi4_open=True))
    found = [one.name for one in balance.gateways_of(fleet(*hosts, balancer()), balancer())]
    assert found == ["gw1", "gw2"]
    south = balancer(phi4_balancer_of="south")
    assert [one.name for one in balance.gateways_of(fleet(*hosts, south), south)] == ["gw2"]
    lost = balancer(phi4_balancer_of="suoth")
    with pytest.raises(InventoryError, match=r"phi4_balancer_of=suoth.*did you mean.*south.*needed a group"):
        balance.gateways_of(fleet(*hosts, lost), lost)
    with pytest.raises(InventoryError, match="found no host with phi4_gateway=true, needed a gateway"):
        balance.gateways_of(fleet(hosts[2], balancer()), balancer())


def test_gateways_are_told_with_address_name_weight_and_places() -> None:
    hosts = (host("gw1"), host("gw_2", "gw2.invalid", phi4_bind="192.0.2.2", phi4_gateway_names="two.example"))
    slow = plan("gw_2", gateway={"bind": "192.0.2.2"}, forecast={"decode_tokens_per_second": 2.5}, parallel=1)
    found = balance._variables(hosts, {"gw1": plan("gw1"), "gw_2": slow})
    one, two = found["balancer_gateways"]
    assert (one["address"], one["verified"], one["weight"], one["streams"], one["places"]) == (
        "192.0.2.1", "gw1", 256, 4, 12,
    )  # fmt: skip
    assert (two["address"], two["verified"], two["weight"], two["streams"], two["places"]) == (
        "192.0.2.2", "gw2.invalid", 64, 1, 9,
    )  # fmt: skip
    assert found["balancer_answer_seconds"] == 1020


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"model": {"served_name": "other"}}, r"found gateways that serve different models \(other, tiny\)"),
        ({"fits": False}, "gw1: found no plan that fits, needed one"),
        ({"gateway": {"bind": "192.0.2.1"}}, "gw1"),
    ],
)
def test_gateways_that_cannot_be_behind_one_address_are_refused(changed: dict[str, Any], said: str) -> None:
    hosts = (host("192.0.2.1") if "gateway" in changed else host("gw1"), host("gw2", "192.0.2.2"))
    plans = {hosts[0].name: plan(hosts[0].name, **changed), "gw2": plan("gw2")}
    said = "found only addresses for its certificate .* needed a name" if "gateway" in changed else said
    with pytest.raises(InventoryError, match=said):
        balance._variables(hosts, plans)


def test_gateways_that_want_a_certificate_are_not_given_a_balancer_without_one() -> None:
    plans = [plan("gw1", gateway={"client_certificates": True}), plan("gw2")]
    said = r"lb1: found gateways that want a certificate of clients \(gw1\) and no phi4_balancer_client_cert.*, needed"
    for lacking in ({}, {"phi4_balancer_client_certificate": "none"}):
        with pytest.raises(InventoryError, match=said):
            balance._require_shown("lb1", lacking, plans)
    balance._require_shown("lb1", {"phi4_balancer_client_certificate": "client.pem"}, plans)
    balance._require_shown("lb1", {}, plans[1:])


def test_a_fleet_without_a_balancer_is_told_how_to_have_one() -> None:
    with pytest.raises(InventoryError, match="found no balancer, needed a host in the group balancers"):
        balance._balancers(fleet(host("gw1")))
