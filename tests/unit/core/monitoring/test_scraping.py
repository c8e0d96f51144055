"""Targets of an inventory, and a configuration that Prometheus takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from phi4_edge.core.inventory import Host
from phi4_edge.core.monitoring import rules, scraping
from phi4_edge.core.monitoring.scraping import Target
from tests.unit.core.monitoring.prometheus import needs_prometheus, promtool

OPEN = {"phi4_gateway": "true", "phi4_bind": "0.0.0.0"}


def target(variables: dict[str, Any], **host: Any) -> Target | str:
    return scraping.target(Host("gw1", **{"address": "192.0.2.11", **host}), variables)


@pytest.mark.parametrize(
    ("variables", "host", "place"),
    [
        (OPEN, {}, "192.0.2.11:8443"),
        (OPEN, {"address": "gw1.example"}, "gw1.example:8443"),
        (OPEN, {"address": ""}, "gw1:8443"),
        (OPEN, {"address": "2001:db8::1"}, "[2001:db8::1]:8443"),
        ({**OPEN, "phi4_bind": "192.0.2.77", "phi4_gateway_port": "443"}, {}, "192.0.2.77:443"),
        ({**OPEN, "phi4_bind": "::"}, {}, "192.0.2.11:8443"),
        ({**OPEN, "phi4_bind": "2001:db8::7"}, {}, "[2001:db8::7]:8443"),
    ],
)
def test_where_a_gateway_is_scraped(variables: dict[str, Any], host: dict[str, Any], place: str) -> None:
    found = target(variables, **host)
    assert isinstance(found, Target)
    assert found.place == place


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, "phi4_gateway=true"),
        ({"phi4_gateway": False, "phi4_bind": "0.0.0.0"}, "phi4_gateway=true"),
        ({"phi4_gateway": True}, "set phi4_bind"),
        ({"phi4_gateway": True, "phi4_bind": "127.0.0.5"}, "set phi4_bind"),
        ({"phi4_gateway": True, "phi4_bind": "::1"}, "set phi4_bind"),
    ],
)
def test_why_one_is_not(variables: dict[str, Any], words: str) -> None:
    found = target(variables)
    assert isinstance(found, str)
    assert words in found


@pytest.mark.parametrize(
    "changes",
    [{"phi4_gateway_port": "0"}, {"phi4_gateway_port": "https"}, {"phi4_bind": "here"}, {"phi4_gateway": "maybe"}],
)
def test_a_variable_that_cannot_be_is_named(changes: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(changes))}: found .*, needed"):
        target({**OPEN, **changes})


def test_labels_are_bounded_and_groups_are_found_by_their_commas() -> None:
    names = [f"group_{number:02}" for number in range(30)]
    labels = Target("a:1", "h" * 300, ("z" * 300, *names)).labels()
    assert len(labels["host"]) == 64
    assert labels["groups"] == f",{','.join(names[:10])},"
    assert Target("a:1", "gw1").labels() == {"host": "gw1"}
    assert Target("a:1", "gw1", tls=False).labels()["__scheme__"] == "http"


def test_targets_are_in_the_order_of_their_names() -> None:
    text = scraping.targets_file([Target("b:1", "two", ("x",)), Target("a:1", "one")])
    assert json.loads(text) == [
        {"targets": ["a:1"], "labels": {"host": "one"}},
        {"targets": ["b:1"], "labels": {"host": "two", "groups": ",x,"}},
    ]


def test_a_gateway_that_wants_certificates_of_clients_is_known_by_its_inventory() -> None:
    found = target({**OPEN, "phi4_gateway_client_ca": "clients.pem"})
    assert isinstance(found, Target) and found.certified
    for none in ({}, {"phi4_gateway_client_ca": "none"}):
        found = target({**OPEN, **none})
        assert isinstance(found, Target) and not found.certified
    with pytest.raises(ValueError, match="phi4_gateway_client_ca: found"):
        target({**OPEN, "phi4_gateway_client_ca": "a\nb"})


def test_what_gateways_are_shown_is_beside_what_they_are_recognised_by() -> None:
    for shown in (("client.pem", "client.key"), ('odd "name": #1', "/etc/pki/{}.key")):
        (job,) = yaml.safe_load(scraping.configuration(shown=shown))["scrape_configs"]
        assert job["tls_config"] == {"ca_file": "ca.pem", "cert_file": shown[0], "key_file": shown[1]}
    (job,) = yaml.safe_load(scraping.configuration())["scrape_configs"]
    assert job["tls_config"] == {"ca_file": "ca.pem"}


@needs_prometheus
@pytest.mark.parametrize("name", ["metrics.key", 'odd "name": #1'])
def test_prometheus_takes_the_configuration(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("p4e_x")
    (tmp_path / "ca.pem").write_text("")
    (tmp_path / scraping.TARGETS).write_text(scraping.targets_file([Target("192.0.2.11:8443", "gw1", ("edge",))]))
    (tmp_path / scraping.RULES).write_text(rules.rules_file())
    for shown in ("client.pem", "client.key"):
        (tmp_path / shown).write_text("")
    files = ("client.pem", "client.key")
    (tmp_path / scraping.CONFIGURATION).write_text(scraping.configuration(key_file=name, shown=files))
    said = promtool("check", "config", tmp_path / scraping.CONFIGURATION)
    assert f"{len(rules.ALERTS)} rules found" in said
    assert yaml.safe_load(scraping.configuration(name))["scrape_configs"][0]["authorization"] == {
        "credentials_file": name
    }
