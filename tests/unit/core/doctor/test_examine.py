"""The doctor's checks: one file per fault in tests/fixtures/doctor, each must be named with what mends it."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi4_edge.core import broken_python
from phi4_edge.core.doctor import access, examine
from phi4_edge.core.doctor import system as doctor_system
from phi4_edge.core.doctor.examine import Level
from tests.unit.core.doctor.faults import FAULTS, HOSTS, case, healthy, load

by_fault = pytest.mark.parametrize("path", FAULTS, ids=lambda path: path.stem)
# A fix that begins so is for eyes, not for a shell.
COMMANDS = re.compile(
    r"sudo -?[a-z]|set \w+=|phi4-edge [a-z]|systemctl [a-z]|journalctl|ssh |ps -|vcgencmd|mokutil|dmesg"
)


@by_fault
def test_every_fault_is_named_with_what_mends_it(path: Path) -> None:
    fault = load(path)
    found = examine.examine(case(fault))
    shown = "\n".join(f"{f.level} {f.check}: {f.found} | {f.needed} | {f.fix}" for f in found if f.level != Level.OK)
    for wanted in fault["expect"]:
        hits = [
            finding
            for finding in found
            if (finding.check, str(finding.level)) == (wanted["check"], wanted["level"])
            and wanted["found"] in finding.found
            and wanted["fix"] in finding.fix
        ]
        assert len(hits) == 1, f"{wanted}\n{shown}"
        assert hits[0].needed, "a finding says what was needed"


@by_fault
def test_a_fault_adds_nothing_but_what_it_is_about(path: Path) -> None:
    fault = load(path)
    without = {key: fault[key] for key in ("host", "variables") if key in fault}
    before = {(f.check, f.found) for f in examine.examine(case(without)) if f.level != Level.OK}
    expected = {wanted["check"] for wanted in fault["expect"]}
    for finding in examine.examine(case(fault)):
        if finding.level != Level.OK and (finding.check, finding.found) not in before:
            assert finding.check in expected | {"plan"}, finding


def test_at_least_twenty_different_faults_are_named() -> None:
    assert len({(wanted["check"], wanted["fix"]) for path in FAULTS for wanted in load(path)["expect"]}) >= 40


def test_a_healthy_host_has_no_finding_at_all() -> None:
    found = examine.examine(case({"host": "n150-8gb"}))
    assert [finding for finding in found if finding.level != Level.OK] == []
    assert {"clock", "disk", "dpkg", "ssh", "sudo", "host key"} <= {finding.check for finding in found}


@pytest.mark.parametrize("path", HOSTS, ids=lambda path: path.stem)
def test_no_host_of_the_fixtures_breaks_a_check(path: Path) -> None:
    for finding in examine.examine(case({"host": path.stem})):
        for text in (finding.found, finding.needed, finding.fix):
            assert text.isprintable()
        assert bool(finding.found) is (finding.level != Level.OK)


@by_fault
def test_every_fix_holds_a_command_or_a_variable_to_set(path: Path) -> None:
    fault = load(path)
    for finding in examine.examine(case(fault)):
        if finding.level in (Level.PROBLEM, Level.WARNING):
            assert COMMANDS.search(finding.fix) or "first line of" in finding.fix or "supply" in finding.fix, finding


def test_worst_first_and_the_exit_code() -> None:
    found = examine.examine(case(load(next(path for path in FAULTS if path.stem == "port-taken"))))
    ranks = [finding.level.rank for finding in found]
    assert ranks == sorted(ranks, reverse=True)
    assert examine.exit_code(found, []) == 3
    assert examine.exit_code(found, ["gw2"]) == 5
    assert examine.exit_code([f for f in found if f.level is not Level.PROBLEM], []) == 0


@given(st.floats(-1e9, 1e9), st.floats(0, 60), st.floats(0, 60), st.floats(0, 5))
def test_the_bounds_hold_the_true_skew_however_slow_the_way(ahead: float, to: float, back: float, work: float) -> None:
    sent = 2e9
    part = {
        "before": sent, "first": sent + to + ahead, "last": sent + to + work + ahead, "after": sent + to + work + back,
    }  # fmt: skip
    bounds = doctor_system.skew({"root": part})
    assert bounds is not None
    low, high = bounds
    assert low - 1e-6 <= ahead <= high + 1e-6
    assert high - low <= to + back + 1e-5


def test_a_clock_that_cannot_be_told_from_a_slow_way_is_no_finding() -> None:
    slow = {"before": 1e9, "first": 1e9 + 50, "last": 1e9 + 50, "after": 1e9 + 100}
    found = examine.examine(case({"host": "n150-8gb", "document": {"root": slow}}))
    assert [f.check for f in found if f.level != Level.OK] == []


@pytest.mark.parametrize("junk", [None, "x", [], {}, float("nan"), -1, True, 1e300, [None], {"sources": 5}])
def test_what_a_host_sends_instead_of_an_answer_breaks_nothing(junk: object) -> None:
    whole = case({"host": "n150-8gb"})
    for name in ("login", "root", "trips", "sudo_trips", "noise"):
        told = examine.examine(replace(whole, host_document={**healthy(), name: junk}))
        assert json.dumps([finding.to_dict() for finding in told])
    for source in healthy()["root"]["sources"]:
        sources = {**healthy()["root"]["sources"], source: {"text": junk if isinstance(junk, str) else "\x1b[2J; rm"}}
        told = examine.examine(replace(whole, host_document={**healthy(), "root": {"sources": sources}}))
        assert all("\x1b" not in finding.found + finding.fix for finding in told)


def test_one_machine_under_two_names_is_a_problem() -> None:
    one = case({"host": "n150-8gb"})
    found = examine.fleet([one, replace(one, host="gw2")])
    assert [(f.host, f.check, str(f.level)) for f in found] == [("gw2", "inventory", "problem")]
    other = case({"host": "n150-8gb", "root": {"machine_id": {"text": "fedcba"}}})
    assert examine.fleet([one, replace(other, host="gw2")]) == ()


def test_a_skew_that_all_hosts_share_is_our_own() -> None:
    late = {"before": 1e9, "first": 1e9 + 86400, "last": 1e9 + 86400.1, "after": 1e9 + 1}
    cases = [
        case({"host": name, "document": {"root": late}, "root": {"machine_id": {"text": name}}})
        for name in ("n150-8gb", "pi4-4gb")
    ]
    found = examine.fleet(cases)
    assert [(f.host, f.check) for f in found] == [(examine.CONTROLLER, "clock")]
    assert "behind those of all 2 hosts" in found[0].found
    assert examine.fleet([cases[0], case({"host": "pi4-4gb"})]) == ()


@pytest.mark.parametrize(
    ("kind", "reason", "system", "check", "fix"),
    [
        ("no_python", "found no python3, needed Python 3.8 or newer", "alpine", "python", "sudo apk add python3"),
        ("no_python", "found Python 3.6, needed Python 3.8", "ubuntu debian", "python", "apt-get install -y python3"),
        ("no_python", "found no python3, needed one", "", "python", "the next step"),
        ("no_sudo", "found that user gw cannot use sudo (sorry, you must have a tty to run sudo), needed root rights",
         "debian", "sudo", "echo 'Defaults:gw !requiretty' > /etc/sudoers.d/gw-tty"),
        ("no_sudo", "found gw (sudo: a password is required), needed root", "debian", "sudo", "--ask-become-pass"),
        ("no_sudo", "found gw (sh: 1: sudo: not found), needed root", "rocky rhel", "sudo", "dnf install -y sudo"),
        ("unreachable", "found no way to gw9:22 (Name or service not known), needed a host", "", "ssh", "ansible_host"),
        ("host_key_changed", "the host key of gw has changed: found A, needed B", "", "host key", "the next step"),
        ("auth_refused", "found that gw accepted none, needed a key", "", "authentication", "the next step"),
    ],
)  # fmt: skip
def test_a_refusal_of_preflight_is_a_problem_in_the_words_of_the_distribution(
    kind: str, reason: str, system: str, check: str, fix: str
) -> None:
    step = broken_python.INSTALL if kind == "no_python" and system else "the next step"
    finding = access.refusal("gw1", kind, reason, step, system, "gw")
    assert (finding.check, finding.level) == (check, Level.PROBLEM)
    assert fix in finding.fix
    assert finding.needed
    assert not finding.found.startswith("found ")


@pytest.mark.parametrize(
    ("kind", "check"), [("no_python", "python"), ("turned_away", "ssh"), ("no_shell", "ssh"), ("asks", "ssh")]
)
def test_a_step_for_one_trouble_is_kept_on_every_distribution(kind: str, check: str) -> None:
    step = "set ansible_python_interpreter=/usr/bin/python3.11, which is there"
    finding = access.refusal("gw1", kind, "found that it is so, needed another", step, "debian", "gw")
    assert (finding.check, finding.fix) == (check, step)


def test_the_line_for_a_shell_is_one_that_the_shell_takes() -> None:
    found = examine.examine(case(load(next(path for path in FAULTS if path.stem == "slow-shell"))))
    fix = next(finding.fix for finding in found if finding.check == "login shell")
    assert shlex.split(fix.partition(": ")[2])[0] == "case"


def test_what_could_not_be_looked_at_is_not_called_well() -> None:
    whole = case({"host": "n150-8gb"})
    blind = examine.examine(replace(whole, facts=None, plan=None))
    assert not {"docker", "driver", "plan", "lock"} & {finding.check for finding in blind}
    mute = examine.examine(replace(whole, host_document={**healthy(), "root": {"error": "killed"}}))
    assert not {"dpkg", "dns", "systemd"} & {finding.check for finding in mute}
    assert mute[0].level is Level.PROBLEM
