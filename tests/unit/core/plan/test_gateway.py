"""A gateway in a plan: who listens where, what it must not do without, and when only keys are brought."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from phi4_edge.core.gateway import certificate
from phi4_edge.core.gateway.credentials import Wanted
from phi4_edge.core.plan.overrides import Overrides
from phi4_edge.errors import InventoryError
from tests.unit.core.conftest import WHOLE

Make = Callable[..., Any]
UP = "Id=phi4-edge.service\nLoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\nMainPID=7\n"
FRONT = "\nId=phi4-edge-gateway.service\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled\n"
NOW = 1_800_000_000
ASKED = {"gateway": True, "bind": "0.0.0.0", "parallel": 2}
NOTE = {"format": "phi4-edge/credentials/1", "pem": "b" * 64, "issuer": "c" * 64, "digest": "d" * 64, "names": ["gw1"],
        "not_after": NOW + 80 * 86_400}  # fmt: skip
WANTED = Wanted(NOW, "a" * 64, certificate.Wanted("c" * 64, ("gw1",)))
INPUTS = dataclasses.replace(WHOLE, credentials=WANTED)


def held(keys: str = "a" * 64, **note: Any) -> str:
    return json.dumps({"keys": keys, "certificate": "b" * 64, "note": json.dumps({**NOTE, **note})})


def committed(plan: Make, document: Make, **sources: Any) -> Any:
    """A host that serves what is planned for it."""
    made = plan(document("n150-8gb"), INPUTS, **ASKED)
    receipt = {"format": "phi4-edge/receipt/1", "plan_fingerprint": made.fingerprint, "release": made.release}
    return document(
        "n150-8gb", receipt=json.dumps({"present": True, "receipt": receipt}), service=UP + FRONT, **sources
    )


def test_the_gateway_has_the_address_and_the_engine_has_not(document: Make, plan: Make) -> None:
    made = plan(document("n150-8gb"), INPUTS, **ASKED, deadline_seconds=1200)
    assert (made.bind, made.port) == ("127.0.0.1", 8080)
    assert made.gateway is not None
    assert (made.gateway.bind, made.gateway.port, made.gateway.tls) == ("0.0.0.0", 8443, True)
    assert made.gateway.answer_seconds == 1260, "an engine may say nothing until its answer is whole"
    assert made.steps.index("gateway") < made.steps.index("service")
    assert made.blockers == () and not any("without a key" in text for text in made.warnings)
    plain = plan(document("n150-8gb"), INPUTS, parallel=2)
    assert plain.gateway is None and "gateway" not in plain.to_dict()
    assert plain.release != made.release
    assert type(made).from_dict(made.to_dict()) == made


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"phi4_bind": "0.0.0.0"}, "phi4_bind: found 0.0.0.0 without a gateway.*phi4_gateway=true.*phi4_open=true"),
        ({"phi4_bind": "::"}, "phi4_bind: found :: without a gateway"),
        ({"phi4_bind": "192.0.2.7"}, "phi4_bind: found 192.0.2.7 without a gateway"),
        (
            {"phi4_bind": "192.0.2.7", "phi4_gateway": True, "phi4_gateway_tls": False},
            "phi4_gateway_tls: found false with phi4_bind=192.0.2.7.*phi4_open=true",
        ),
        ({"phi4_gateway": True, "phi4_gateway_port": 8080}, "phi4_gateway_port: found 8080, which is phi4_port too"),
        ({"phi4_gateway": True, "phi4_gateway_queue": 0}, "phi4_gateway_queue: .*from 1 to 4096"),
        ({"phi4_gateway": True, "phi4_gateway_names": ["a b"]}, "phi4_gateway_names"),
        (
            {"phi4_gateway_client_ca": "ca.pem"},
            "phi4_gateway_client_ca: found it with no gateway, needed phi4_gateway=true",
        ),
        (
            {"phi4_gateway_client_ca": "ca.pem", "phi4_gateway": True, "phi4_gateway_tls": False},
            "phi4_gateway_client_ca: found it with phi4_gateway_tls=false, needed .*phi4_gateway_tls=true",
        ),
    ],
)
def test_what_lets_others_in_without_being_asked_to_is_refused(variables: dict[str, Any], said: str) -> None:
    with pytest.raises(InventoryError, match=said):
        Overrides.from_vars("gw1", variables)


@pytest.mark.parametrize(
    "variables",
    [
        {"phi4_bind": "0.0.0.0", "phi4_open": True}, {"phi4_bind": "127.0.0.2"}, {"phi4_bind": "::1"},
        {"phi4_gateway": True, "phi4_gateway_tls": False}, {"phi4_gateway": True, "phi4_bind": "::"},
        {"phi4_gateway": True, "phi4_bind": "::", "phi4_gateway_tls": False, "phi4_open": "yes"},
        {"phi4_gateway_port": 8080},
    ],
)  # fmt: skip
def test_loopback_a_gateway_or_a_named_risk_is_none(variables: dict[str, Any]) -> None:
    Overrides.from_vars("gw1", variables)


def test_certificates_of_clients_are_part_of_the_release_and_their_cas_are_not(document: Make, plan: Make) -> None:
    assert Overrides.from_vars("gw1", {"phi4_gateway": True, "phi4_gateway_client_ca": "ca.pem"}).gateway_client_ca
    plain = plan(document("n150-8gb"), INPUTS, **ASKED)
    asked = {**ASKED, "gateway_client_ca": "ca.pem"}
    brought = dataclasses.replace(INPUTS, credentials=dataclasses.replace(WANTED, client_ca="e" * 64))
    made = plan(document("n150-8gb"), brought, **asked)
    assert (plain.gateway.client_certificates, made.gateway.client_certificates) == (False, True)
    assert made.release != plain.release
    other = dataclasses.replace(INPUTS, credentials=dataclasses.replace(WANTED, client_ca="f" * 64))
    assert plan(document("n150-8gb"), other, **{**asked, "gateway_client_ca": "other.pem"}).release == made.release


def test_an_open_engine_is_warned_of(document: Make, plan: Make) -> None:
    made = plan(document("n150-8gb"), bind="0.0.0.0", open=True)
    assert made.bind == "0.0.0.0" and any("without a key" in text for text in made.warnings)


def test_nothing_is_begun_that_would_have_no_keys(document: Make, plan: Make) -> None:
    lacking = dataclasses.replace(WHOLE, credentials=Wanted(NOW, lacks="found no keys of gateways, needed some"))
    assert plan(document("n150-8gb"), lacking, **ASKED).blockers == ("found no keys of gateways, needed some",)
    assert plan(document("n150-8gb"), lacking).blockers == (), "who wants no gateway needs none"


@pytest.mark.parametrize(
    ("system", "found"),
    [
        (
            'ID=ubuntu\nID_LIKE=debian\nVERSION_ID="20.04"\nPRETTY_NAME="Ubuntu 20.04.6 LTS"',
            "HAProxy 2.0 of Ubuntu 20.04",
        ),
        ('ID=fedora\nVERSION_ID=41\nPRETTY_NAME="Fedora Linux 41"', "Fedora Linux 41 without apt"),
    ],
)
def test_a_system_without_such_a_haproxy_is_told(document: Make, plan: Make, system: str, found: str) -> None:
    (blocker,) = plan(document("n150-8gb", os_release=system), INPUTS, **ASKED).blockers
    assert found in blocker and "needed Debian 11 or Ubuntu 22.04" in blocker


def test_keys_that_are_gone_from_the_controller_are_told_of_a_host_that_has_all(document: Make, plan: Make) -> None:
    lacking = dataclasses.replace(INPUTS, credentials=Wanted(NOW, lacks="found no keys of gateways, needed some"))
    found = plan(committed(plan, document, gateway=held()), lacking, **ASKED)
    assert (found.action, found.blockers) == ("none", ("found no keys of gateways, needed some",))


def test_a_host_that_has_all_has_nothing_to_do(document: Make, plan: Make) -> None:
    assert plan(committed(plan, document, gateway=held()), INPUTS, **ASKED).action == "none"


@pytest.mark.parametrize(
    ("has", "what"),
    [
        (held(keys="e" * 64), "gateway keys"),
        (held(not_after=NOW + 86_400), "gateway certificate"),
        (held(names=["gw2"]), "gateway certificate"),
        (None, "gateway keys"),
    ],
)
def test_keys_and_certificates_are_brought_without_a_new_release(
    document: Make, plan: Make, has: str | None, what: str
) -> None:
    made = plan(committed(plan, document, gateway=has), INPUTS, **ASKED)
    assert made.action == "repair" and what in [change["what"] for change in made.changes]
    assert made.switch.mode == "none", "no process of the release is started anew"


def test_a_gateway_that_stands_still_is_a_repair(document: Make, plan: Make) -> None:
    found = committed(plan, document, gateway=held())
    found["sources"]["service"]["text"] = UP + FRONT.replace("=active", "=inactive")
    made = plan(found, INPUTS, **ASKED)
    assert made.action == "repair"
    assert ("phi4-edge-gateway.service", "stopped") in [(one["what"], one["before"]) for one in made.changes]


def test_one_that_is_not_wanted_any_more_is_named(document: Make, plan: Make) -> None:
    made = plan(committed(plan, document, gateway=held()), WHOLE, parallel=2)
    assert {"what": "gateway", "before": "there", "after": None} in made.changes
