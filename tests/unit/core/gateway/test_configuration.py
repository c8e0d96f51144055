"""HAProxy's configuration is checked in as golden files, and the real HAProxy takes each of them without a warning.

To accept a change, look at `git diff` after: PHI4_EDGE_GOLDEN=write pytest tests/unit/core/gateway
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from phi4_edge.core.gateway.configuration import configuration
from phi4_edge.core.gateway.model import Gateway, Limits, Server
from tests.unit.core.gateway.certificates import certificate
from tests.unit.core.gateway.running_gateway import PROGRAM, needs_haproxy

GOLDEN = Path(__file__).parents[3] / "golden" / "gateway"
CLIENTS = "/etc/phi4-edge/gateway/clients-ca.pem"
KEYS, CERTIFICATE = "/etc/phi4-edge/gateway/keys.map", "/etc/phi4-edge/gateway/certificate.pem"
PHI = Server("phi-4-mini-instruct", streams=4)
CASES = {
    "loopback": Gateway("127.0.0.1", 8443, PHI),
    "keys": Gateway("127.0.0.1", 8443, PHI, keys=KEYS),
    "tls": Gateway("0.0.0.0", 443, PHI, CERTIFICATE, KEYS),
    "scraped": Gateway("0.0.0.0", 8443, PHI, CERTIFICATE, KEYS, exporter_port=9102),
    "certified": Gateway("0.0.0.0", 8443, PHI, CERTIFICATE, KEYS, exporter_port=9102, client_ca=CLIENTS),
    "counting": Gateway("127.0.0.1", 8443, replace(PHI, counts=True), keys=KEYS),
    "counting-nobody": Gateway("127.0.0.1", 8443, replace(PHI, counts=True)),
    "ipv6": Gateway("::1", 8443, Server("tiny", "::1", 8081), CERTIFICATE, KEYS),
    "socket": Gateway("192.0.2.7", 8443, Server("tiny", socket="/run/phi4-edge/engine.sock"), CERTIFICATE, KEYS),
    "ollama": Gateway(
        "127.0.0.1", 8443, Server("phi-4-mini-instruct", health="/api/version", answer_seconds=3600), keys=KEYS,
        metrics_port=9200, limits=Limits(4, 30, 64, 16, 64 << 10, 5, 10),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_configurations_are_the_golden_ones(name: str) -> None:
    golden, text = GOLDEN / f"{name}.cfg", configuration(CASES[name])
    if os.environ.get("PHI4_EDGE_GOLDEN") == "write":
        golden.write_text(text)
    assert golden.read_text() == text


@needs_haproxy
@pytest.mark.parametrize("name", CASES)
def test_haproxy_takes_them_without_a_warning(tmp_path: Path, name: str) -> None:
    (tmp_path / "keys.map").write_text("")
    text = (GOLDEN / f"{name}.cfg").read_text()
    text = text.replace(KEYS, str(tmp_path / "keys.map")).replace(CERTIFICATE, str(certificate(tmp_path)))
    text = text.replace(CLIENTS, str(tmp_path / "chain.pem"))
    (tmp_path / "haproxy.cfg").write_text(text)
    checked = subprocess.run(
        [str(PROGRAM), "-c", "-V", "-f", tmp_path / "haproxy.cfg"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={}, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout
    assert checked.stdout.strip() == "Configuration file is valid"


@needs_haproxy
def test_haproxy_would_tell_of_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "haproxy.cfg").write_text(configuration(CASES["loopback"]).replace("srv_is_up", "srv_is_well"))
    checked = subprocess.run(
        [str(PROGRAM), "-c", "-f", tmp_path / "haproxy.cfg"], capture_output=True, env={}, check=False
    )
    assert checked.returncode != 0
