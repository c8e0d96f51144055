"""Units that depend on no hardware are checked in as golden files: ports, releases, and every rehearsal.

To accept a change, look at `git diff` after: PHI4_EDGE_GOLDEN=write pytest tests/unit/core/engines/test_units.py
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.core.engines import units
from phi4_edge.core.release import heal_unit

GOLDEN = Path(__file__).parents[3] / "golden" / "units"
PLAN: dict[str, Any] = {
    "engine": "vllm", "quantization": "bf16", "service_manager": "compose", "accelerator": "cpu", "bind": "127.0.0.1",
    "port": 8080, "knobs": {"memory_max": 1 << 30}, "release": "r-000000000000", "runtime": None,
    "switch": {"mode": "beside", "port": 18080, "down_seconds": 9, "reason": ""},
}  # fmt: skip
NATIVE = {"service_manager": "systemd", "runtime": {"artifact": None, "id": "e"}}
ONNX = {**NATIVE, "engine": "onnx", "quantization": "int4"}
OLLAMA = {**NATIVE, "engine": "ollama", "quantization": "q4_0"}
CASES: dict[str, tuple[dict[str, Any], bool]] = {
    "compose": ({}, False),
    "compose-everywhere": ({"bind": "0.0.0.0"}, False),
    "compose-ollama": ({"engine": "ollama", "quantization": "q4_0"}, False),
    "compose-rehearsal": ({}, True),
    "onnx": (ONNX, False),
    "onnx-everywhere": ({**ONNX, "bind": "::"}, False),
    "onnx-gateway": ({**ONNX, "gateway": {}}, False),
    "onnx-rehearsal": (ONNX, True),
    "ollama": (OLLAMA, False),
    "ollama-rehearsal": (OLLAMA, True),
}
# The port of each release that is handed its own.
PORTS = {
    "onnx": ONNX, "onnx-gateway": {**ONNX, "gateway": {}}, "onnx-everywhere": {**ONNX, "bind": "::"},
    "onnx-lan": {**ONNX, "bind": "192.0.2.7", "port": 80}, "onnx-ipv6": {**ONNX, "bind": "::1"},
}  # fmt: skip
# What keeps the model of each release of Ollama loaded.
LOADERS = {
    "load": OLLAMA, "load-lan": {**OLLAMA, "bind": "192.0.2.7"}, "load-everywhere": {**OLLAMA, "bind": "0.0.0.0"},
    "load-ipv6": {**OLLAMA, "bind": "::1"}, "load-gateway": {**OLLAMA, "gateway": {"port": 8443}},
}  # fmt: skip


NAME = PLAN["release"]
RELEASE = f"/opt/phi4-edge/releases/{NAME}"
ELSEWHERE = {"root": "/data/phi4", "state": "/data/phi4-state"}


def rendered() -> Iterator[tuple[str, str]]:
    """Name and text of each unit."""
    for name, (changes, rehearsal) in CASES.items():
        yield f"{name}.service", units.service({**PLAN, **changes}, RELEASE, rehearsal)
    for name, changes in PORTS.items():
        yield f"{name}.socket", units.socket({**PLAN, **changes})
    for name, changes in LOADERS.items():
        yield f"{name}.service", units.loader({**PLAN, **changes}, RELEASE)
    yield "heal.service", heal_unit.service(PLAN, RELEASE)
    yield "heal-elsewhere.service", heal_unit.service({**PLAN, "layout": ELSEWHERE}, f"/data/phi4/releases/{NAME}")
    yield "heal-gateway.service", heal_unit.service({**PLAN, "gateway": {"port": 8443}}, RELEASE)
    yield "heal.timer", heal_unit.timer()


@pytest.mark.parametrize(("name", "text"), [*rendered()])
def test_units_are_the_golden_ones(name: str, text: str) -> None:
    golden = GOLDEN / name
    if os.environ.get("PHI4_EDGE_GOLDEN") == "write":
        golden.write_text(text)
    assert golden.read_text() == text


@pytest.mark.parametrize("name", CASES)
def test_only_a_release_that_is_handed_its_port_has_a_socket(name: str) -> None:
    text = (GOLDEN / f"{name}.service").read_text()
    handed = name in PORTS
    assert ("Requires=phi4-edge.socket" in text) is handed
    assert ("SocketBindAllow=" in text) is (name == "onnx-rehearsal"), "who is handed a port binds none"


@pytest.mark.parametrize("name", CASES)
def test_a_rehearsal_ends_by_itself_and_never_starts_at_boot(name: str) -> None:
    text = (GOLDEN / f"{name}.service").read_text()
    rehearsal = name.endswith("rehearsal")
    assert ("RuntimeMaxSec=" in text) is rehearsal
    assert ("Restart=no" in text) is rehearsal
    assert ("WantedBy=" in text) is not rehearsal


# What the systemd of JetPack 5 and Ubuntu 20.04 (245) knows, of what a socket unit may have.
KNOWN_TO_245 = {
    "Description", "StartLimitIntervalSec", "ListenStream", "FileDescriptorName", "FreeBind", "TriggerLimitIntervalSec",
    "IPAddressDeny", "IPAddressAllow", "WantedBy",
}  # fmt: skip


@pytest.mark.parametrize("name", PORTS)
def test_the_oldest_systemd_knows_all_of_a_socket(name: str) -> None:
    lines = (GOLDEN / f"{name}.socket").read_text().splitlines()
    assert {line.partition("=")[0] for line in lines if "=" in line and not line.startswith("#")} <= KNOWN_TO_245


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine")
@pytest.mark.parametrize("name", PORTS)
def test_systemd_reads_a_socket_without_complaint(name: str, tmp_path: Path) -> None:
    (tmp_path / "phi4-edge.socket").write_text((GOLDEN / f"{name}.socket").read_text())
    (tmp_path / "phi4-edge.service").write_text("[Service]\nExecStart=/bin/true\n")
    read = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / "phi4-edge.socket"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert [line for line in read.stderr.splitlines() if "phi4-edge" in line] == []


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine")
@pytest.mark.parametrize("name", LOADERS)
def test_nothing_waits_for_a_load(name: str) -> None:
    lines = (GOLDEN / f"{name}.service").read_text().splitlines()
    found = {line.partition("=")[0]: line.partition("=")[2] for line in lines if "=" in line and line[0] != "#"}
    assert (found["Type"], found["After"], found["WantedBy"]) == ("exec", "phi4-edge.service", "multi-user.target")
    assert {"Before", "ExecStartPre", "ExecStartPost", "Requires", "RequiredBy"}.isdisjoint(found)
    assert found["IPAddressAllow"] == ("localhost 192.0.2.7" if name == "load-lan" else "localhost")
    assert "ProtectProc" not in found, "it would see no process of the service"
    assert "PrivateUsers" not in found, "it would not see whose process it is"


@pytest.mark.parametrize("name", [*CASES, *LOADERS])
def test_units_are_closed(name: str) -> None:
    closed = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=21", GOLDEN / f"{name}.service"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert closed.returncode == 0, closed.stdout[-2000:] + closed.stderr


def test_an_engine_behind_a_gateway_keeps_its_counts_and_its_rehearsal_makes_none() -> None:
    behind = {**PLAN, **ONNX, "gateway": {}, "model": {"served_name": "tiny"}, "context_length": 4096, "parallel": 1}
    behind = {**behind, "knobs": {**PLAN["knobs"], "threads": 1, "queue": 8}}
    kept = 'PHI4_KEY_USAGE="/var/cache/phi4-edge-key-usage"\n'
    assert kept in units.environment(behind, RELEASE)
    assert "CacheDirectory=phi4-edge-key-usage\n" in units.service(behind, RELEASE)
    assert 'PHI4_KEY_USAGE=""\n' in units.rehearsal_environment(behind)
    assert "CacheDirectory" not in units.service(behind, RELEASE, rehearsal=True)
    alone = {**behind, "gateway": None}
    assert "PHI4_KEY_USAGE" not in units.environment(alone, RELEASE)
    assert "CacheDirectory" not in units.service(alone, RELEASE)
    ollama = {**behind, **OLLAMA}
    assert "CacheDirectory" not in units.service(ollama, RELEASE)
