"""What a gateway is configured from is checked: nothing that could change HAProxy's configuration gets into it."""

from __future__ import annotations

from typing import Any

import pytest

from phi4_edge.core.gateway.model import Gateway, Limits, Server

SERVER = Server("phi-4-mini-instruct")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", ""), ("model", "a b"), ("model", "a\nbind :1"), ("model", "-a"), ("model", "a'b"),
        ("model", "a" * 65),
        ("address", "localhost"), ("address", ""), ("address", "127.0.0.1 ssl"), ("address", "fe80::1%eth0"),
        ("port", 0), ("port", 65536), ("socket", "engine.sock"), ("socket", "/run/a b"), ("socket", "/" + "a" * 107),
        ("socket", "/run/../etc/passwd"), ("health", "health"), ("health", "/health?x"), ("streams", 0),
        ("streams", 257), ("answer_seconds", 0), ("answer_seconds", 86_401),
    ],
)  # fmt: skip
def test_a_server_that_cannot_be_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=r"found .*, needed "):
        Server(**{"model": "tiny", field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("queue", 0), ("queue", 4097), ("queue_seconds", 0), ("connections", 7), ("connections_per_client", 0),
        ("connections_per_client", 513), ("body_bytes", 1023), ("body_bytes", (1 << 20) + 1), ("request_seconds", 0),
        ("idle_seconds", 601),
    ],
)  # fmt: skip
def test_limits_that_cannot_be_are_refused(field: str, value: int) -> None:
    with pytest.raises(ValueError, match=rf"{field}: found {value}, needed "):
        Limits(**{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("bind", "*"), ("bind", "0.0.0.0:80"), ("port", 0), ("metrics_port", 8443), ("metrics_port", 70_000),
        ("certificate", "cert.pem"), ("certificate", "/etc/a\nb"), ("keys", "/etc/keys map"), ("keys", "/etc/k'"),
    ],
)  # fmt: skip
def test_a_gateway_that_cannot_be_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=r"found .*, needed "):
        Gateway(**{"bind": "127.0.0.1", "port": 8443, "server": SERVER, field: value})
