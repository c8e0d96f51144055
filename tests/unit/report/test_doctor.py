"""The doctor's text at 80 and at 200 columns, checked in. To accept a change, look at the difference after
`PHI4_EDGE_GOLDEN=write pytest tests/unit/report`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from phi4_edge.core.doctor import examine
from phi4_edge.core.doctor.examine import CONTROLLER, Finding, Level
from phi4_edge.data import schema
from phi4_edge.report import doctor
from phi4_edge.report.text import cells

GOLDEN = Path(__file__).parent / "golden"
KEY = Finding(
    CONTROLLER, "secrets", Level.PROBLEM, "the private key /home/op/.ssh/fleet (for gw1) may be read by others (mode "
    "0644)", "mode 0600: ssh refuses it otherwise", "chmod 600 /home/op/.ssh/fleet",
)  # fmt: skip
PORT = Finding(
    "gw2", "port", Level.PROBLEM, "port 8080 is in use on 127.0.0.1 by process 4711 (python3 -m http.server)",
    "a free port", "stop it (see it: sudo ss -ltnp 'sport = :8080'), or set phi4_port=8081 in the inventory",
)  # fmt: skip
SHELL = Finding(
    "gw2", "login shell", Level.WARNING, "/bin/bash adds 170 ms to every task (of 190 ms for a command that does "
    "nothing)", "less than 50 ms", "make this the first line of /home/gw/.bashrc: case $- in *i*) ;; *) return ;; esac",
)  # fmt: skip
AWAY = Finding("gw5", "ssh", Level.PROBLEM, "no way to gw5:22 (timed out)", "a host that answers SSH", "check it is on")


def clock(host: str) -> Finding:
    fix = "sudo apt-get update && sudo apt-get install -y systemd-timesyncd && sudo timedatectl set-ntp true"
    return Finding(host, "clock", Level.NOTE, "no time service keeps the clock right", "one", fix)


def document() -> dict[str, Any]:
    fine = [Finding(f"gw{number}", "dns", Level.OK) for number in (1, 6, 7)]
    findings = [KEY, clock("gw3"), clock("gw4"), SHELL, PORT, AWAY, *fine]
    return examine.document([f"gw{number}" for number in range(1, 8)], findings, ["gw5"])


@pytest.mark.parametrize("width", [80, 200])
def test_the_text_is_the_one_that_was_looked_at(width: int) -> None:
    lines = doctor.lines(document(), width)
    path = GOLDEN / f"doctor-{width}.txt"
    if os.environ.get("PHI4_EDGE_GOLDEN") == "write":
        path.write_text("\n".join(lines) + "\n")
    assert lines == path.read_text().splitlines()
    assert max(map(cells, lines)) <= width


def test_the_worst_comes_first_and_the_quiet_ones_share_a_line() -> None:
    lines = doctor.lines(document(), 200)
    starts = [line.partition(":")[0] for line in lines if line and not line.startswith(" ")]
    assert starts == ["gw5", "gw2", CONTROLLER, "gw3, gw4", "nothing found", "7 hosts"]
    assert "nothing found: gw1, gw6, gw7" in lines
    assert lines[-1].startswith("7 hosts: 3 problems, 1 warning, 2 notes, 1 unreachable;")


def test_the_document_is_what_its_schema_says() -> None:
    jsonschema.validate(document(), schema("doctor"))
    assert document()["counts"] == {"ok": 3, "note": 2, "warning": 1, "problem": 3}
    assert document()["hosts"][0]["host"] == CONTROLLER
    assert document()["exit_code"] == 5


def test_text_of_a_host_cannot_act_on_the_terminal() -> None:
    sly = Finding("gw1", "dns", Level.PROBLEM, "\x1b[2Jfound\x07 \u202ethis", "n\x9b1mot", "\x1b]0;x\x07fix")
    text = "\n".join(doctor.lines(examine.document(["gw1"], [sly], []), 80))
    assert not set(text) & {"\x1b", "\x07", "\u202e", "\x9b"}
    assert "nothing is in the way" not in text


def test_a_fleet_that_nothing_is_wrong_with_takes_two_lines() -> None:
    names = [f"gw{number}" for number in range(200)]
    lines = doctor.lines(examine.document(names, [], []), 20000)
    assert len(lines) == 3
    assert lines[-1] == "200 hosts: no finding; nothing is in the way"
