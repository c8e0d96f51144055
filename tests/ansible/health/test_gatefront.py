"""The gate's look at a gateway, against the real HAProxy with our configuration."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.host_scripts import load
from tests.unit.core.gateway.certificates import certificate
from tests.unit.core.gateway.running_gateway import free_port, key, needs_haproxy, running, until

gatefront = load("health", "gatefront")
pytestmark = needs_haproxy


def asked(port: int, pem: str = "", certified: bool = False) -> dict[str, Any]:
    return {"gateway": {"address": "127.0.0.1", "port": port, "certificate": pem, "certified": certified}}


def test_one_that_lets_clients_in_passes(tmp_path: Path) -> None:
    pem = str(certificate(tmp_path))
    with running(tmp_path, key("north", 1), certificate=pem) as gateway:
        gatefront.front(asked(gateway.gateway.port, pem), time.monotonic() + 20)


def test_one_that_wants_certificates_of_clients_must_ask_for_them(tmp_path: Path) -> None:
    pem = str(certificate(tmp_path))
    with running(tmp_path, key("north", 1), certificate=pem, client_ca=str(tmp_path / "chain.pem")) as gateway:
        gatefront.front(asked(gateway.gateway.port, pem, certified=True), time.monotonic() + 20)
        said = gatefront.wrong(asked(gateway.gateway.port, pem)["gateway"])
        assert said == "it answers 403 to a request without a key", "the release before wanted none"
    (tmp_path / "open").mkdir()
    with running(tmp_path / "open", key("north", 1), certificate=pem) as gateway:
        found = gatefront.wrong(asked(gateway.gateway.port, pem, certified=True)["gateway"])
        assert found == "it answers 401 to a request without a certificate"


def test_another_certificate_than_was_brought_is_found(tmp_path: Path) -> None:
    pem = str(certificate(tmp_path))
    (tmp_path / "other").mkdir()
    other = str(certificate(tmp_path / "other"))
    with running(tmp_path, key("north", 1), certificate=pem) as gateway:
        assert "another certificate" in gatefront.wrong(asked(gateway.gateway.port, other)["gateway"])
        assert "no certificate in" in gatefront.wrong(asked(gateway.gateway.port, str(tmp_path / "none"))["gateway"])


def test_an_engine_that_is_down_and_a_gateway_that_asks_for_no_key_are_found(tmp_path: Path) -> None:
    with running(tmp_path) as gateway:
        place = asked(gateway.gateway.port)["gateway"]
        assert gatefront.wrong(place) == "it answers 200 to a request without a key"
        gateway.engine.seen.healthy = False
        until(lambda: gatefront.wrong(place) == "it says 503 of its engine", "the engine is found to be down")


@pytest.mark.parametrize(("state", "over"), [("failed", "0"), ("activating", "3"), ("activating", "0")])
def test_where_nobody_listens_it_gives_up_with_what_it_found(
    monkeypatch: pytest.MonkeyPatch, state: str, over: str
) -> None:
    monkeypatch.setattr(gatefront, "shown", lambda *_words: {"ActiveState": state, "NRestarts": over})
    began = time.monotonic()
    with pytest.raises(
        gatefront.StepError, match=r"phi4-edge-gateway\.service does not let clients in at 127\.0\.0\.1:.*Connection"
    ):
        gatefront.front(asked(free_port()), began + 0.5)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(("runs", "is_open", "passes"), [
    ("active", False, True), ("active", True, False), ("failed", True, True), ("inactive", True, True),
])  # fmt: skip
def test_a_guard_that_runs_must_keep_users_of_the_host_out(
    monkeypatch: pytest.MonkeyPatch, runs: str, is_open: bool, passes: bool
) -> None:
    asked_for: list[object] = []
    monkeypatch.setattr(gatefront, "wrong", lambda _place: "")
    monkeypatch.setattr(gatefront, "shown", lambda unit, _names: {"ActiveState": runs if "guard" in unit else ""})
    monkeypatch.setattr(gatefront, "is_open", lambda where: asked_for.append(where) or is_open)
    args = {**asked(8443), "address": "127.0.0.1", "port": 8080}
    if passes:
        gatefront.front(args, 0.0)
    else:
        with pytest.raises(gatefront.StepError, match=r"every user of the host is let in at 127\.0\.0\.1:8080"):
            gatefront.front(args, 0.0)
    assert asked_for == [("127.0.0.1", 8080)] * (runs == "active")


def test_a_plan_without_one_asks_nothing() -> None:
    gatefront.front({"gateway": None}, 0.0)
