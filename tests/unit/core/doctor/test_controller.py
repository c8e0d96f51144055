"""What the doctor says about the machine that it runs on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from phi4_edge.core.doctor.controller import Readings, examine
from phi4_edge.core.doctor.examine import CONTROLLER, Level
from phi4_edge.core.facts.model import OperatingSystem

DEBIAN = OperatingSystem("debian", "12", "Debian GNU/Linux 12", ())
FINE = Readings(
    system=DEBIAN, ansible="2.19.14", ssh="OpenSSH_9.2p1 Debian-2, OpenSSL 3.0.0", sshpass=False, store="/store",
    store_error="", store_free=200 << 30, to_fetch=5 << 30, forks=10, open_files=1024, memory_available=64 << 30,
    passwords=False,
)  # fmt: skip

FAULTS: list[tuple[dict[str, Any], str, Level, str, str]] = [
    ({"ansible": ""}, "ansible", Level.PROBLEM, "no ansible-playbook", "pip install"),
    ({"ansible": "2.16.1"}, "ansible", Level.PROBLEM, "2.16.1", "ansible-core>=2.17"),
    ({"ssh": ""}, "openssh", Level.PROBLEM, "no ssh", "apt-get install -y openssh-client"),
    ({"ssh": "OpenSSH_6.6.1"}, "openssh", Level.WARNING, "OpenSSH_6.6.1", "openssh-client"),
    ({"passwords": True}, "openssh", Level.PROBLEM, "no sshpass", "apt-get install -y sshpass"),
    ({"store_error": "not readable"}, "store", Level.PROBLEM, "/store: not readable", "PHI4_EDGE_STORE"),
    ({"store_free": 1 << 30}, "store", Level.PROBLEM, "1.1 GB free", "phi4-edge model remove"),
    ({"store_free": 1 << 20, "to_fetch": 0}, "store", Level.WARNING, "0.0 GB free", "phi4-edge model remove"),
    ({"forks": 100}, "forks", Level.WARNING, "1024 open files for --forks 100", "ulimit -n 1728, or --forks 56"),
    ({"memory_available": 1 << 29}, "forks", Level.WARNING, "0.5 GiB of memory", "--forks 5"),
    ({"keys": (("gw1", "/k", "0644"),)}, "secrets", Level.PROBLEM, "/k (for gw1)", "chmod 600 /k"),
    ({"keys": (("gw1", "/k", "0644"),), "all_reached": True}, "secrets", Level.WARNING, "/k (for gw1)", "chmod 600 /k"),
    ({"exposed": (("/inv", "0644"),)}, "secrets", Level.WARNING, "/inv holds a password", "chmod 600 /inv"),
    ({"ignored_config": "/tmp/a/ansible.cfg"}, "ansible.cfg", Level.WARNING, "ignores", "chmod o-w /tmp/a"),
    ({"host_keys_checked": False, "config": "/c"}, "ansible.cfg", Level.NOTE, "/c switches", "host_key_checking"),
]


@pytest.mark.parametrize(("change", "check", "level", "found", "fix"), FAULTS, ids=[str(f[0]) for f in FAULTS])
def test_a_fault_of_this_machine_is_named(
    change: dict[str, Any], check: str, level: Level, found: str, fix: str
) -> None:
    told = [finding for finding in examine(replace(FINE, **change)) if finding.level != Level.OK]
    assert [(finding.host, finding.check, finding.level) for finding in told] == [(CONTROLLER, check, level)]
    assert found in told[0].found
    assert fix in told[0].fix
    assert told[0].needed


def test_a_machine_that_nothing_is_wrong_with_has_only_ok() -> None:
    assert {finding.level for finding in examine(FINE)} == {Level.OK}


def test_what_could_not_be_read_is_no_finding() -> None:
    unknown = replace(FINE, store_free=None, open_files=None, memory_available=None, ssh="something else")
    assert {finding.level for finding in examine(unknown)} == {Level.OK}
