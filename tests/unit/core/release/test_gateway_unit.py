"""The gateway's unit and configuration are checked in as golden files, and systemd and HAProxy take them.

To accept a change, look at `git diff` after: PHI4_EDGE_GOLDEN=write pytest tests/unit/core/release
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from phi4_edge import content
from phi4_edge.core.release import gateway_unit, haproxy_unit
from tests.unit.core.gateway.certificates import certificate
from tests.unit.core.gateway.running_gateway import PROGRAM, needs_haproxy

GOLDEN = Path(__file__).parents[3] / "golden" / "units"
RELEASE = "/opt/phi4-edge/releases/r-000000000000"
ASKED = {
    "bind": "127.0.0.1", "port": 8443, "tls": True, "queue": 16, "answer_seconds": 900, "metrics_port": 9101,
    "exporter_port": 9102, "client_certificates": False,
}  # fmt: skip
PLAN: dict[str, Any] = {
    "engine": "onnx", "bind": "127.0.0.1", "port": 8080, "parallel": 4, "model": {"served_name": "tiny"},
    "gateway": ASKED,
}  # fmt: skip
CASES: dict[str, dict[str, Any]] = {
    "gateway": PLAN,
    "gateway-everywhere": {**PLAN, "gateway": {**ASKED, "bind": "0.0.0.0", "port": 443}},
    "gateway-certified": {**PLAN, "gateway": {**ASKED, "client_certificates": True}},
    "gateway-ollama": {
        **PLAN,
        "engine": "ollama",
        "parallel": 1,
        "gateway": {**ASKED, "tls": False},
        "context_length": 4096,
        "knobs": {"variants": {}},
    },
    "gateway-elsewhere": {**PLAN, "engine": "vllm", "layout": {"root": "/data/phi4", "state": "/data/phi4-state"}},
}


@pytest.mark.parametrize("name", CASES)
def test_units_and_configurations_are_the_golden_ones(name: str) -> None:
    found = gateway_unit.files(CASES[name], RELEASE)
    assert list(found) == ["phi4-edge-gateway.service", "gateway.cfg"]
    for text, golden in zip(found.values(), (GOLDEN / f"{name}.service", GOLDEN / f"{name}.cfg"), strict=True):
        if os.environ.get("PHI4_EDGE_GOLDEN") == "write":
            golden.write_text(text)
        assert golden.read_text() == text


def test_a_plan_without_one_has_no_file_of_it() -> None:
    assert gateway_unit.files({**PLAN, "gateway": None}, RELEASE) == {}
    assert gateway_unit.files({name: value for name, value in PLAN.items() if name != "gateway"}, RELEASE) == {}


@needs_haproxy
@pytest.mark.parametrize("name", CASES)
def test_haproxy_takes_them(name: str, tmp_path: Path) -> None:
    (tmp_path / "keys.map").write_text("")
    certificate(tmp_path)
    (tmp_path / "chain.pem").rename(tmp_path / "clients-ca.pem")
    text = (GOLDEN / f"{name}.cfg").read_text()
    for state in ("/var/lib/phi4-edge/gateway", "/data/phi4-state/gateway"):
        text = text.replace(state, str(tmp_path))
    text = text.replace(RELEASE, str(content.program("measure.lua").parent))
    (tmp_path / "gateway.cfg").write_text(text)
    done = subprocess.run(
        [str(PROGRAM), "-c", "-f", tmp_path / "gateway.cfg"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert "WARNING" not in done.stderr + done.stdout


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine")
@pytest.mark.parametrize("name", CASES)
def test_systemd_reads_a_unit_without_complaint(name: str, tmp_path: Path) -> None:
    text = (GOLDEN / f"{name}.service").read_text().replace(haproxy_unit.PROGRAM, "/bin/true")
    (tmp_path / "phi4-edge-gateway.service").write_text(text)
    argv = ["systemd-analyze", "verify", "--man=no", str(tmp_path / "phi4-edge-gateway.service")]
    said = subprocess.run(argv, capture_output=True, text=True, check=False).stderr
    # The oldest that is promised does not know all of them; what it does not know it leaves out.
    assert [line for line in said.splitlines() if "phi4-edge-gateway" in line and "Unknown" not in line] == []


def test_all_that_listens_for_others_is_root_without_rights() -> None:
    text = (GOLDEN / "gateway.service").read_text()
    assert (
        "NoNewPrivileges=yes" in text
        and "CapabilityBoundingSet=CAP_SETUID CAP_SETGID CAP_KILL CAP_NET_BIND_SERVICE" in text
    )
    assert "user haproxy\n" in (GOLDEN / "gateway.cfg").read_text()
