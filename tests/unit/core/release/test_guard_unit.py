"""The unit that closes an engine's port to users of its host, as golden files; systemd reads them, nftables takes them.

To accept a change, look at `git diff` after: PHI4_EDGE_GOLDEN=write pytest tests/unit/core/release
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.core import layout
from phi4_edge.core.release import guard_unit, haproxy_unit, release_files
from tests.unit.core.release.test_gateway_unit import PLAN
from tests.unit.core.release.test_release_files import planned

GOLDEN = Path(__file__).parents[3] / "golden" / "units"
CASES: dict[str, dict[str, Any]] = {
    "guard": PLAN,
    "guard-port": {**PLAN, "engine": "vllm", "port": 9000},
    "guard-ipv6": {**PLAN, "bind": "::1"},
    "guard-webui": {**PLAN, "webui": {"port": 3000}},
}
# A network of its own, in which a server listens; each of these users asks it.
TRIED = """
ip link set lo up
{load}
{load}
python3 -m http.server --bind {address} {port} >/dev/null 2>&1 &
for _ in $(seq 100); do ss -Hltn | grep -q ":{port} " && break; sleep 0.05; done
for user in {users}; do
  setpriv --reuid "$user" --regid 65534 --clear-groups curl -gsf -o /dev/null "http://{shown}:{port}/" && echo "$user"
done
{unload}
setpriv --reuid 65534 --regid 65534 --clear-groups curl -gsf -o /dev/null "http://{shown}:{port}/" && echo after
{unload}
nft list tables
kill %1
"""


def lines(text: str, name: str) -> list[str]:
    return [line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{name}=")]


@pytest.mark.parametrize("name", CASES)
def test_units_are_the_golden_ones(name: str) -> None:
    golden, text = GOLDEN / f"{name}.service", guard_unit.unit(CASES[name])
    if os.environ.get("PHI4_EDGE_GOLDEN") == "write":
        golden.write_text(text)
    assert golden.read_text() == text


def test_a_release_has_it_where_it_has_a_gateway() -> None:
    plan = {**planned("pi4-4gb").to_dict(), "release": "r-000000000000"}
    assert layout.GUARD_UNIT not in release_files.unit_files(plan, "/opt/x")
    found = release_files.unit_files({**plan, "gateway": PLAN["gateway"]}, "/opt/x")
    assert found[layout.GUARD_UNIT] == guard_unit.unit({**plan, "gateway": PLAN["gateway"]})


def test_who_may_come_is_named_and_nobody_else() -> None:
    assert guard_unit.users(PLAN) == ("0", haproxy_unit.USER)
    assert guard_unit.users({**PLAN, "webui": None}) == ("0", haproxy_unit.USER)
    assert guard_unit.users(CASES["guard-webui"]) == ("0", haproxy_unit.USER, "65532")


@pytest.mark.parametrize("name", CASES)
def test_start_and_reload_are_one_and_a_stop_leaves_nothing(name: str) -> None:
    text = (GOLDEN / f"{name}.service").read_text()
    assert lines(text, "ExecStart") == lines(text, "ExecReload")
    for command in (*lines(text, "ExecStart"), *lines(text, "ExecStop")):
        assert shlex.split(command)[0] == guard_unit.PROGRAM and len(shlex.split(command)) == 2
        assert "flush" not in command, "tables of others are none of ours"
    assert lines(text, "CapabilityBoundingSet") == ["CAP_NET_ADMIN"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine")
@pytest.mark.parametrize("name", CASES)
def test_systemd_reads_a_unit_without_complaint(name: str, tmp_path: Path) -> None:
    text = (GOLDEN / f"{name}.service").read_text().replace(guard_unit.PROGRAM, "/bin/true")
    (tmp_path / layout.GUARD_UNIT).write_text(text)
    argv = ["systemd-analyze", "verify", "--man=no", str(tmp_path / layout.GUARD_UNIT)]
    said = subprocess.run(argv, capture_output=True, text=True, check=False).stderr
    assert [line for line in said.splitlines() if "phi4-edge-guard" in line and "Unknown" not in line] == []


def _tools() -> bool:
    known = all(map(shutil.which, ("nft", "unshare", "setpriv", "curl", "ip", "ss")))
    has_user = subprocess.run(["id", haproxy_unit.USER], capture_output=True, check=False).returncode == 0
    return known and has_user and os.geteuid() == 0


@pytest.mark.skipif(not _tools(), reason="needs root, nftables, haproxy and a network namespace")
@pytest.mark.parametrize("name", CASES)
def test_the_kernel_lets_those_in_and_nobody_else(name: str) -> None:
    text, plan = (GOLDEN / f"{name}.service").read_text(), CASES[name]
    address = str(plan["bind"])
    script = TRIED.format(
        load=lines(text, "ExecStart")[0], unload=lines(text, "ExecStop")[0], address=address, port=plan["port"],
        shown=f"[{address}]" if ":" in address else address, users=f"0 {haproxy_unit.USER} 65532 65534 1000",
    )  # fmt: skip
    done = subprocess.run(["unshare", "-n", "bash", "-c", script], capture_output=True, text=True, check=False)
    if "Operation not supported" in done.stderr or "Operation not permitted" in done.stderr:
        pytest.skip(f"this kernel has no such rules, or no network namespace: {done.stderr[:200]}")
    page = ["65532"] if "webui" in plan else []
    assert done.stdout.split() == ["0", haproxy_unit.USER, *page, "after"], done.stderr
