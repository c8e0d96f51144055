"""What a balancer's host gets: a unit that systemd takes, with all that a gateway's unit is denied."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from phi4_edge.core.gateway.balancer import Upstream
from phi4_edge.core.layout import BALANCER_UNIT, STANDARD
from phi4_edge.core.release import balancer_unit, haproxy_unit

GOLDEN = Path(__file__).parents[3] / "golden" / "units" / "balancer.service"
ASKED = {"bind": "0.0.0.0", "port": 8443, "queue": 16, "tls": True, "client_ca": False, "shown": False}
GATEWAY = Upstream("gw1", "192.0.2.1", 8443, "gw1")


def test_the_unit_is_the_golden_one() -> None:
    files = balancer_unit.files(balancer_unit.balancer(ASKED, STANDARD, [GATEWAY], 1020), STANDARD)
    assert list(files) == [BALANCER_UNIT, "balancer.cfg"]
    if os.environ.get("PHI4_EDGE_GOLDEN") == "write":
        GOLDEN.write_text(files[BALANCER_UNIT])
    assert GOLDEN.read_text() == files[BALANCER_UNIT]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine")
def test_systemd_reads_it_without_complaint(tmp_path: Path) -> None:
    (tmp_path / BALANCER_UNIT).write_text(GOLDEN.read_text().replace(haproxy_unit.PROGRAM, "/bin/true"))
    argv = ["systemd-analyze", "verify", "--man=no", str(tmp_path / BALANCER_UNIT)]
    said = subprocess.run(argv, capture_output=True, text=True, check=False).stderr
    assert [line for line in said.splitlines() if "phi4-edge-balancer" in line and "Unknown" not in line] == []


def test_a_balancer_trusts_nobody_where_no_gateway_has_tls() -> None:
    plain = Upstream("gw1", "192.0.2.1", 8443)
    found = balancer_unit.balancer({**ASKED, "tls": False}, STANDARD, [plain], 1020)
    assert (found.certificate, found.ca) == ("", "")
    assert balancer_unit.balancer(ASKED, STANDARD, [GATEWAY], 1020).ca == "/var/lib/phi4-edge/balancer/ca.pem"


def test_certificates_of_clients_are_files_beside_the_others() -> None:
    found = balancer_unit.balancer({**ASKED, "client_ca": True, "shown": True}, STANDARD, [GATEWAY], 1020)
    assert found.client_ca == "/var/lib/phi4-edge/balancer/clients-ca.pem"
    assert found.shown == "/var/lib/phi4-edge/balancer/client.pem"
    plain = balancer_unit.balancer(ASKED, STANDARD, [GATEWAY], 1020)
    assert (plain.client_ca, plain.shown) == ("", "")
