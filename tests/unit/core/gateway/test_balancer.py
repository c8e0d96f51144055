"""A balancer's configuration: checked values, golden files, and the real HAProxy takes each of them without a warning.

To accept a change, look at `git diff` after: PHI4_EDGE_GOLDEN=write pytest tests/unit/core/gateway
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.core.gateway.balancer import Balancer, Checks, Upstream, weights
from phi4_edge.core.gateway.balancing import configuration, key_file
from phi4_edge.core.gateway.model import Limits
from tests.unit.core.gateway.certificates import certificate
from tests.unit.core.gateway.running_gateway import PROGRAM, needs_haproxy, token, version

GOLDEN = Path(__file__).parents[3] / "golden" / "balancer"
CERTIFICATE, CA, SOCKET = (f"/etc/phi4-edge/{name}" for name in ("certificate.pem", "ca.pem", "admin.sock"))
CLIENTS, SHOWN = "/etc/phi4-edge/clients-ca.pem", "/etc/phi4-edge/client.pem"
NORTH = Upstream("gw1", "192.0.2.1", 8443, "gw1.example", 256, 4, 12)
CASES = {
    "plain": Balancer("127.0.0.1", 8443, (Upstream("gw1", "127.0.0.1", 8080),)),
    "tls": Balancer(
        "0.0.0.0", 443, (NORTH, Upstream("gw-2.b", "2001:db8::2", 8443, "gw2.example", 64, 1, 9)), CERTIFICATE, CA,
        socket=SOCKET, checks=Checks(5, 300, 30), limits=Limits(8, 30, 64, 16, 64 << 10, 5, 10),
    ),
    "certified": Balancer(
        "0.0.0.0", 8443, (NORTH, Upstream("gw2", "192.0.2.2", 8080)), CERTIFICATE, CA, client_ca=CLIENTS, shown=SHOWN,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_configurations_are_the_golden_ones(name: str) -> None:
    golden, text = GOLDEN / f"{name}.cfg", configuration(CASES[name])
    if os.environ.get("PHI4_EDGE_GOLDEN") == "write":
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert golden.read_text() == text


@needs_haproxy
@pytest.mark.skipif(version() < (2, 4), reason="HAProxy reads JSON from 2.4 on")
@pytest.mark.parametrize("name", CASES)
def test_haproxy_takes_them_without_a_warning(tmp_path: Path, name: str) -> None:
    made, text = str(certificate(tmp_path)), (GOLDEN / f"{name}.cfg").read_text()
    for path in (CERTIFICATE, CLIENTS, SHOWN, CA):
        text = text.replace(path, made)
    (tmp_path / "haproxy.cfg").write_text(text)
    (tmp_path / "key.cfg").write_text(key_file(token(1)))
    checked = subprocess.run(
        [str(PROGRAM), "-c", "-V", "-f", tmp_path / "key.cfg", "-f", tmp_path / "haproxy.cfg"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={}, check=False,
    )  # fmt: skip
    assert (checked.returncode, checked.stdout.strip()) == (0, "Configuration file is valid")


def test_no_key_is_in_the_configuration_that_everybody_reads() -> None:
    assert token(1) in key_file(token(1))
    assert "p4e_" not in configuration(CASES["tls"])


def test_weights_are_in_proportion_to_speeds() -> None:
    assert weights({"a": 20.0, "b": 10.0, "c": 0.01, "d": 0.0}) == {"a": 256, "b": 128, "c": 1, "d": 1}
    assert weights({"a": 0.0, "b": -1.0}) == {"a": 256, "b": 256}
    assert weights({"a": 3.0, "b": 0.0}) == {"a": 256, "b": 256}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "a b"), ("name", ""), ("name", "gw1 ssl"), ("address", "gw1"), ("address", "::1%lo"), ("port", 0),
        ("verified", "a) b"), ("weight", 0), ("weight", 257), ("streams", 0), ("places", 0), ("places", 113),
        ("model", 'a"b'),
    ],
)  # fmt: skip
def test_a_gateway_that_cannot_be_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=r"found .*, needed "):
        Upstream(**{"name": "gw1", "address": "192.0.2.1", "port": 8443, field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("bind", "*"), ("port", 0), ("gateways", ()), ("gateways", (NORTH, NORTH)), ("gateways", (NORTH,) * 65),
        ("ca", ""), ("ca", "ca.pem"), ("certificate", "/a b"), ("metrics_port", 8443), ("generation_port", 9102),
        ("socket", "/run/a\nb"), ("answer_seconds", 0), ("user", "a b"),
    ],
)  # fmt: skip
def test_a_balancer_that_cannot_be_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=r"found .*, needed "):
        Balancer(**{"bind": "127.0.0.1", "port": 8443, "gateways": (NORTH,), "ca": CA, field: value})


@pytest.mark.parametrize("field", ["health_seconds", "generation_seconds", "patience_seconds"])
def test_checks_that_cannot_be_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match=r"found 0, needed 1 to "):
        Checks(**{field: 0})
