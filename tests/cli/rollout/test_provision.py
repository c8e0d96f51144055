"""`provision` as an operator calls it: waves, budget, record, resume, reviewed plans."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from phi4_edge.main import cli
from phi4_edge.operations import rollout
from tests.cli.rollout.played_site import HOSTS, Site, outcomes, press_in, result, site_state
from tests.unit.rollout.fake_executor import FakeExecutor


def test_the_waves_are_shown_before_and_run_one_by_one(site: Site) -> None:
    found = site.run("provision", "--wave", "2", "--bake", "7")
    assert found.exit_code == 0, found.output
    assert [line.strip() for line in found.stdout.splitlines() if line.startswith("  canary") or "wave" in line][
        :4
    ] == [
        "waves:",
        "canary: gw1",
        "wave 1 (2 hosts): gw2, gw3",
        "wave 2 (2 hosts): gw4, gw5",
    ]
    assert [call.playbook for call, _ in site.fake.calls] == ["provision", "bake", "provision", "bake", "provision"]
    lock = site.fake.calls[0][0].extra_vars
    assert lock["lock_operation"] == "provision"
    assert set(lock["lock_holder"]) == {"user", "host", "pid", "version"}
    assert f"phi4-edge rollout show {lock['lock_id']}" in found.stdout
    assert site.fake.calls[0][0].task_timeout == 2700


def test_a_bad_canary_stops_the_rollout(site: Site) -> None:
    site.fake.plays = {"provision": {"gw1": "rolled_back"}}
    found = site.run("provision", "--output", "json")
    assert found.exit_code == 4
    assert result(found)["stopped"] == "budget"
    assert site.fake.hosts_of("provision") == ["gw1"]
    assert outcomes(found) == {"gw1": "rolled_back", **dict.fromkeys(HOSTS[1:], "untouched")}
    assert [host["wave"] for host in result(found)["hosts"]] == [0, 1, 2, 3, 4]


def test_a_failure_within_the_budget_is_still_an_exit_code(site: Site) -> None:
    site.fake.plays = {"provision": {"gw1": "failed"}}
    found = site.run("provision", "--max-failures", "1", "--bake", "0", "--output", "json")
    assert found.exit_code == 4
    assert result(found)["stopped"] is None
    assert site.fake.hosts_of("provision") == list(HOSTS)


def test_hosts_that_are_down_count_from_the_start(site: Site) -> None:
    site.down = ("gw5",)
    found = site.run("provision")
    assert found.exit_code == 5
    assert site.fake.calls == []
    assert "gw1, gw2, gw3, gw4: not begun" in found.stdout
    assert "--max-failures 1" in found.stdout
    assert not list(Path(site_state()).glob("rollouts/*"))
    allowed = site.run("provision", "--max-failures", "1", "--bake", "0")
    assert allowed.exit_code == 5
    assert site.fake.hosts_of("provision") == ["gw1", "gw2", "gw3", "gw4"]


def test_check_mode_is_one_wave_without_record_and_lock(site: Site) -> None:
    site.down = ("gw5",)
    found = site.run("provision", "--check", "--output", "json")
    assert [(call.playbook, call.check, hosts) for call, hosts in site.fake.calls] == [
        ("provision", True, ("gw1", "gw2", "gw3", "gw4"))
    ]
    assert "lock_id" not in site.fake.calls[0][0].extra_vars
    assert result(found)["rollout"] is None
    assert not Path(site_state()).exists()


def test_resume_looks_only_at_what_is_left_and_keeps_the_options(site: Site) -> None:
    site.fake.plays = {"provision": {"gw2": "failed"}}
    first = site.run("provision", "--wave", "2", "--bake", "0", "--output", "json")
    assert outcomes(first) == {"gw1": "done", "gw2": "failed", "gw3": "done", "gw4": "untouched", "gw5": "untouched"}
    site.fake, site.seen = FakeExecutor(), []
    found = site.run("provision", "--resume", "--output", "json")
    assert found.exit_code == 0, found.output
    assert site.seen == ["gw2", "gw4", "gw5"]
    assert [hosts for _, hosts in site.fake.calls] == [("gw2",), ("gw4", "gw5")]
    assert outcomes(found) == dict.fromkeys(HOSTS, "done")
    assert result(found)["rollout"] == result(first)["rollout"]
    again = site.run("provision", "--resume")
    assert again.exit_code == 1
    assert "run without --resume" in again.stderr


def test_resuming_some_hosts_does_not_end_the_rollout_of_the_others(site: Site) -> None:
    site.fake = press_in("provision", "gw2")
    site.run("provision", "--wave", "2", "--bake", "0")
    site.fake = FakeExecutor()
    some = site.run("provision", "--resume", "--limit", "gw2,gw3", "--output", "json")
    assert some.exit_code == 0
    assert outcomes(some) == {"gw2": "done", "gw3": "done"}
    assert "interrupted" in CliRunner().invoke(cli, ["rollout", "list"], prog_name="phi4-edge").stdout
    rest = site.run("provision", "--resume", "--output", "json")
    assert site.fake.hosts_of("provision") == ["gw2", "gw3", "gw4", "gw5"]
    assert outcomes(rest) == dict.fromkeys(HOSTS, "done")
    assert site.run("provision", "--resume").exit_code == 1


def test_ctrl_c_in_the_watching_is_130_and_the_wave_is_watched_again_before_the_next(site: Site) -> None:
    site.fake = press_in("bake", "gw1")
    first = site.run("provision", "--wave", "4", "--output", "json")
    assert first.exit_code == 130
    assert (result(first)["stopped"], result(first)["interrupted"]) == ("interrupted", True)
    assert [call.playbook for call, _ in site.fake.calls] == ["provision", "bake", "unlock"]
    site.fake = FakeExecutor({"bake": {"gw1": "failed"}})
    found = site.run("provision", "--resume", "--output", "json")
    assert [(call.playbook, hosts) for call, hosts in site.fake.calls] == [("bake", ("gw1",))]
    assert found.exit_code == 4
    assert outcomes(found) == {"gw1": "unhealthy", **dict.fromkeys(HOSTS[1:], "untouched")}


def test_ctrl_c_says_how_to_go_on(site: Site) -> None:
    site.fake = press_in("provision", "gw1")
    found = site.run("provision")
    assert found.exit_code == 130
    assert "continue with the same command and --resume" in found.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--wave", "0"), "needed at least 1"),
        (("--wave", "120%"), "needed a number of hosts such as 3"),
        (("--max-failures", "few"), "needed a number of hosts such as 3"),
        (("--bake", "-1"), "-1.0 is not in the range"),
        (("--bake", "inf"), "needed a number of seconds"),
        (("--bake", "nan"), "needed a number of seconds"),
        (("--check", "--resume"), "needed one of them"),
    ],
)
def test_options_that_cannot_be_are_refused(site: Site, words: tuple[str, ...], message: str) -> None:
    found = site.run("provision", *words)
    assert found.exit_code == 1
    assert message in found.stderr
    assert site.seen == []


@pytest.fixture
def reviewed(site: Site, tmp_path: Path) -> Callable[[], Path]:
    """Writes what `plan -o json` says now."""

    def write() -> Path:
        path = tmp_path / "reviewed.json"
        made = CliRunner().invoke(cli, ["plan", ",".join(HOSTS), "-o", "json"], prog_name="phi4-edge")
        assert made.exit_code == 0, made.output
        path.write_text(made.stdout)
        return path

    return write


def test_a_reviewed_plan_is_applied_and_refused_when_a_host_changed(site: Site, reviewed: Callable[[], Path]) -> None:
    path = str(reviewed())
    site.sources = {"gw3": {"libc": "glibc 2.30"}}
    refused = site.run("provision", "--plan", path)
    assert refused.exit_code == 3
    assert "gw3" in refused.stderr
    assert site.fake.calls == []
    site.sources = {}
    assert site.run("provision", "--plan", path, "--bake", "0").exit_code == 0
    assert site.fake.hosts_of("provision") == list(HOSTS)


HELD_BY_EVE = {
    "present": True, "state": "held", "id": "x", "user": "eve", "host": "other", "pid": 7, "operation": "provision",
    "started": "noon", "age": 1.0,
}  # fmt: skip


def held(*names: str) -> dict[str, dict[str, str]]:
    """What these hosts say of themselves."""
    return {name: {"lock": json.dumps(HELD_BY_EVE)} for name in names}


def test_a_host_that_says_it_is_held_counts_as_one_before_the_start(site: Site) -> None:
    site.sources = held("gw3")
    found = site.run("provision", "--output", "json")
    assert found.exit_code == 6
    assert site.fake.calls == []
    told = result(found)
    assert told["stopped"] == "locked"
    assert outcomes(found) == {**dict.fromkeys(HOSTS, "untouched"), "gw3": "locked"}
    assert "eve@other" in told["hosts"][2]["reason"]
    assert not [host for host in told["hosts"] if host["host"] != "gw3" and "eve" in json.dumps(host)]
    assert "gw3: locked by another run, as they report" in told["hosts"][0]["reason"]
    waited = site.run("provision", "--bake", "0", "--lock-wait", "60")
    assert waited.exit_code == 0
    assert site.fake.calls[0][0].extra_vars["lock_wait"] == 60


@pytest.mark.parametrize("words", [("--max-failures", "1"), ("--skip-locked",), ("--max-failures", "50%")])
def test_the_others_go_on_beside_a_host_that_is_held(site: Site, words: tuple[str, ...]) -> None:
    """The canary too: the first host that is not held is the one that goes first."""
    site.sources = held("gw1")
    found = site.run("provision", "--bake", "0", "--output", "json", *words)
    assert found.exit_code == 6
    assert result(found)["stopped"] is None
    assert outcomes(found) == {**dict.fromkeys(HOSTS, "done"), "gw1": "locked"}
    assert site.fake.calls[0][1] == ("gw2",)


@pytest.mark.parametrize("words", [("--max-failures", "1"), ("--skip-locked",)])
def test_a_host_that_is_held_only_when_it_is_asked_for_its_lock_is_one_host_too(
    site: Site, words: tuple[str, ...]
) -> None:
    site.fake.plays = {"provision": {"gw1": "locked"}}
    found = site.run("provision", "--bake", "0", "--output", "json", *words)
    assert found.exit_code == 6
    assert outcomes(found) == {**dict.fromkeys(HOSTS, "done"), "gw1": "locked"}
    stopped = site.run("provision", "--bake", "0", "--output", "json")
    assert stopped.exit_code == 6
    assert result(stopped)["stopped"] == "locked"
    assert outcomes(stopped) == {**dict.fromkeys(HOSTS, "untouched"), "gw1": "locked"}


def test_worse_things_than_locks_are_heard_first_and_two_of_them_count_as_two(site: Site) -> None:
    site.sources, site.fake.plays = held("gw5"), {"provision": {"gw2": "failed"}}
    found = site.run("provision", "--bake", "0", "--max-failures", "2", "--output", "json")
    assert found.exit_code == 4
    assert outcomes(found) == {**dict.fromkeys(HOSTS, "done"), "gw2": "failed", "gw5": "locked"}
    assert site.run("provision", "--bake", "0", "--max-failures", "1", "--output", "json").exit_code == 4


def test_a_second_controller_finds_every_host_held_and_changes_nothing(site: Site) -> None:
    site.sources = held(*HOSTS)
    for words in ((), ("--skip-locked",), ("--max-failures", "100%")):
        found = site.run("provision", "--output", "json", *words)
        assert found.exit_code == 6
        assert outcomes(found) == dict.fromkeys(HOSTS, "locked")
        assert all("eve@other (provision since noon, pid 7)" in host["reason"] for host in result(found)["hosts"])
    assert site.fake.calls == []


@pytest.mark.parametrize("later", ["ending", "held", "gone"])
def test_a_host_that_says_it_is_held_is_looked_at_twice(
    site: Site, monkeypatch: pytest.MonkeyPatch, later: str
) -> None:
    """A run that was killed a second ago looks as if it lived; its lock is waited for, as soon as that is known."""
    site.sources = held("gw2")

    def sleep(seconds: float) -> None:
        if later == "gone":
            site.down = ("gw2",)
        site.sources = {"gw2": {"lock": json.dumps({**HELD_BY_EVE, "state": later})}}

    monkeypatch.setattr(rollout.time, "sleep", sleep)
    found = site.run("provision", "--bake", "0", "--max-failures", "1", "--output", "json")
    assert site.seen == [*HOSTS, "gw2"]
    assert outcomes(found)["gw2"] == {"ending": "done", "held": "locked", "gone": "unreachable"}[later]
    assert list(outcomes(found)) == list(HOSTS)
    assert {end for host, end in outcomes(found).items() if host != "gw2"} == {"done"}


def test_check_mode_looks_at_held_hosts_too(site: Site) -> None:
    site.sources = held("gw1")
    assert site.run("provision", "--check", "--output", "json").exit_code == 0
