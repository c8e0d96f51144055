"""What is left of a rollout that was cut: from a real journal, as the driver writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from phi4_edge.core.rollout.budget import Budget
from phi4_edge.core.rollout.machine import Rollout
from phi4_edge.core.rollout.outcome import Outcome
from phi4_edge.core.rollout.waves import Size, Wave
from phi4_edge.errors import LockedError, RecordError
from phi4_edge.rollout.apply import Play
from phi4_edge.rollout.drive import Driver
from phi4_edge.rollout.interrupt import Interrupts
from phi4_edge.rollout.journal import Journal
from phi4_edge.rollout.result import HostResult, document
from phi4_edge.rollout.resume import Resumed, newest
from tests.unit.rollout.fake_executor import FakeExecutor

WAVES = (Wave("canary", 0, ("c1",)), Wave("wave 1", 1, ("a1", "a2")), Wave("wave 2", 2, ("b1", "b2")))
HOSTS = [host for wave in WAVES for host in wave.hosts]
KINDS = dict.fromkeys(HOSTS, "one")


class Blind:
    """Sees nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments, **named: None


def cut(root: Path, fake: FakeExecutor, interrupts: Interrupts, bake: float = 5.0, killed: bool = False) -> str:
    """A rollout with a journal, driven as far as it gets; `killed`: its process was, before it could say its end."""
    header = {"operation": "provision", "inventory": ["gw.ini"], "limit": "eu", "options": {"wave": "2"}}
    journal = Journal.begin(root, header)
    journal.plans([{"host": host, "release": "r-1"} for host in HOSTS])
    rollout = Rollout.start(WAVES, Budget(Size(0)), bake, {})
    journal.waves(rollout.waves, rollout.budget)
    play = Play("provision", releases=dict.fromkeys(HOSTS, "r-1"))
    driver = Driver(fake, play, interrupts, Blind(), journal, dict.fromkeys(HOSTS, "r-0"))
    driver.run(rollout)
    if killed:
        journal.close()
    else:
        journal.result(document(list(driver.results.values()), interrupts.stopping, journal.id))
    return journal.id


def left(root: Path) -> Resumed:
    return newest(root, ["gw.ini"], "provision")


def at(playbook: str, host: str) -> tuple[FakeExecutor, Interrupts]:
    """Ctrl-C when the playbook is at the host."""
    interrupts = Interrupts()

    def after(where: str, who: str) -> None:
        if (where, who) == (playbook, host) and not interrupts.stopping:
            interrupts.request()

    return FakeExecutor(after=after), interrupts


def test_finished_hosts_are_left_out_and_the_others_keep_their_waves(tmp_path: Path) -> None:
    name = cut(tmp_path, *at("provision", "a2"))
    found = left(tmp_path)
    assert (found.id, found.limit, found.options) == (name, "eu", {"wave": "2"})
    assert list(found.finished) == ["c1", "a1"]
    assert found.finished["c1"].release == "r-1"
    rest = {host: kind for host, kind in KINDS.items() if host not in found.finished}
    waves = found.waves_of(rest, Size(1))
    assert waves == (Wave("wave 1", 0, ("a2",)), Wave("wave 2", 1, ("b1", "b2")))
    assert [plan["host"] for plan in found.plans] == ["c1", "a1"]


def test_a_wave_that_was_not_watched_to_the_end_is_watched_again(tmp_path: Path) -> None:
    cut(tmp_path, *at("bake", "c1"))
    assert left(tmp_path).unwatched == ("c1",)


def test_hosts_of_a_cut_wave_that_are_ready_are_watched_too(tmp_path: Path) -> None:
    cut(tmp_path, *at("provision", "a2"))
    found = left(tmp_path)
    assert (found.unwatched, found.cut) == (("a1",), ("a2",))
    ready = {host: HostResult(host, Outcome.UNCHANGED) for host in ("a2", "b1")}
    assert list(found.doubtful(ready, HOSTS)) == ["a1", "a2"]
    assert list(found.doubtful({}, HOSTS)) == ["a1"]


def test_hosts_that_left_the_inventory_are_not_watched(tmp_path: Path) -> None:
    cut(tmp_path, *at("bake", "c1"))
    assert left(tmp_path).doubtful({}, ["a1", "a2"]) == {}


def test_a_wave_that_was_watched_is_not_watched_again(tmp_path: Path) -> None:
    cut(tmp_path, *at("provision", "a1"))
    assert left(tmp_path).unwatched == ()


@pytest.mark.parametrize("killed", [False, True])
def test_a_host_that_failed_has_another_turn(tmp_path: Path, killed: bool) -> None:
    cut(tmp_path, FakeExecutor({"provision": {"c1": "rolled_back"}}), Interrupts(), killed=killed)
    found = left(tmp_path)
    assert found.finished == {}
    assert found.waves_of(KINDS, Size(2))[0].hosts == ("c1",)


def test_a_host_that_is_new_has_its_turn_last(tmp_path: Path) -> None:
    cut(tmp_path, *at("provision", "c1"))
    waves = left(tmp_path).waves_of({"new": "one", "c1": "one"}, Size(5))
    assert [(wave.name, wave.number, wave.hosts) for wave in waves] == [
        ("canary", 0, ("c1",)),
        ("new hosts, wave 1", 1, ("new",)),
    ]


def test_a_rollout_that_ended_well_is_not_gone_on_with(tmp_path: Path) -> None:
    cut(tmp_path, FakeExecutor(), Interrupts())
    with pytest.raises(RecordError, match=r"no unfinished provision of gw\.ini"):
        left(tmp_path)


def test_after_a_way_back_nobody_goes_on_with_what_was_before_it(tmp_path: Path) -> None:
    """Hosts that the rollout finished are on another release now: they would be told as done."""
    cut(tmp_path, *at("provision", "a2"))
    back = Journal.begin(tmp_path, {"operation": "rollback", "inventory": ["gw.ini"], "limit": "c1", "options": {}})
    back.close()
    record_of = tmp_path / "rollouts" / back.id
    later = record_of.rename(record_of.with_name("20990101T000000Z-ffffff"))
    with pytest.raises(RecordError, match=f"found rollback {later.name} of this inventory after .*without --resume"):
        left(tmp_path)
    later.rename(later.with_name("20000101T000000Z-ffffff"))
    assert list(left(tmp_path).finished) == ["c1", "a1"]


def test_a_rollout_that_still_runs_is_not_gone_on_with(tmp_path: Path) -> None:
    journal = Journal.begin(tmp_path, {"operation": "provision", "inventory": ["gw.ini"], "limit": None, "options": {}})
    with pytest.raises(LockedError, match="still running"):
        left(tmp_path)
    journal.close()


def test_hosts_that_fell_ill_since_are_told_with_their_outcome() -> None:
    fake = FakeExecutor({"bake": {"gw1": "failed", "gw3": "unreachable"}})
    driver = Driver(fake, Play("provision"), Interrupts(), Blind())
    good = {host: HostResult(host, Outcome.DONE, release="r-1") for host in ("gw1", "gw2", "gw3")}
    found = driver.watch_again(list(good), 1.0, good)
    assert {host: result.outcome for host, result in found.items()} == {
        "gw1": Outcome.UNHEALTHY,
        "gw3": Outcome.UNREACHABLE,
    }


@pytest.mark.parametrize(("before", "now", "refused"), [(1, 0, True), (0, 2, True), (2, 2, False), (None, 3, False)])
def test_extra_variables_are_to_be_given_again(before: int | None, now: int, refused: bool) -> None:
    found = Resumed("r", None, {} if before is None else {"extra_vars": before}, {})
    if not refused:
        found.require(now)
        return
    with pytest.raises(RecordError, match=f"found {now} --extra-vars, needed {before}.*give the same ones again"):
        found.require(now)
