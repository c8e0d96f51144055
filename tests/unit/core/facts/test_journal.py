"""The steps of a host: what a run does about a half-done journal, and that no cut leaves a host without service."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phi4_edge.core.facts.journal import PHASES, ROLLBACK, STEPS, Journal, Recovery, recovery
from tests.unit.core.facts.host_model import Machine

pytestmark = pytest.mark.slow

GOOD = frozenset({"r-1", "r-2", "r-3"})
BROKEN = "r-broken"
WANTED = ("r-1", "r-2", BROKEN)
SERVING = Machine("r-1", True, "r-1", Journal(True, "x", "provision", "r-1", "unlock", "after"))


def entry(step: str, phase: str, release: str = "r-2", closed: bool = False) -> Journal:
    return Journal(True, "x", "provision", release, step, phase, "", closed)


@pytest.mark.parametrize(("step", "phase"), [*itertools.product((*STEPS, ROLLBACK), PHASES)])
def test_what_is_done_about_a_half_done_journal(step: str, phase: str) -> None:
    found = entry(step, phase)
    maybe = step in {"switch", "probe", "commit", ROLLBACK} and (step, phase) not in {
        ("commit", "after"),
        (ROLLBACK, "after"),
    }
    maybe = maybe or (step, phase) == ("unlock", "failed")
    assert found.switched is maybe
    assert recovery(found, "r-1", "r-2") is (Recovery.FINISH if maybe else Recovery.NONE)
    assert recovery(found, "r-1", "r-3") is (Recovery.UNDO if maybe else Recovery.NONE)
    assert recovery(found, "r-1", "") is (Recovery.UNDO if maybe else Recovery.NONE)
    assert recovery(found, "", "r-3") is (Recovery.FINISH if maybe else Recovery.NONE)
    assert recovery(found, "", "") is Recovery.NONE
    assert recovery(entry(step, phase, closed=True), "r-1", "r-3") is Recovery.NONE


def test_a_journal_goes_through_its_document() -> None:
    found = Journal(True, "20261122T153000Z-ab12cd", "rollback", "r-2", "probe", "before", "2026-11-22T15:30:00Z")
    assert Journal.from_dict(found.to_dict()) == found
    assert Journal.from_dict(None) == Journal.from_dict({}) == Journal.from_dict({"present": False}) == Journal()
    assert not Journal().open


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9),
        lambda inner: st.dictionaries(st.sampled_from(["present", "step", "phase", "release", "closed"]), inner),
        max_leaves=8,
    )
)
def test_a_journal_that_cannot_be_read_counts_as_switched(data: object) -> None:
    found = Journal.from_dict(data)
    if found.present and not found.closed and recovery(found, "r-1", "r-3") is Recovery.NONE:
        assert isinstance(data, dict)
        assert data["step"] in (*STEPS, ROLLBACK) and data["phase"] in PHASES
    assert found.present is (isinstance(data, dict) and data.get("present") is True)


def test_a_step_before_the_switch_does_not_hide_a_half_done_switch() -> None:
    half = entry("switch", "before")
    assert half.then(entry("stage", "before")) == half
    assert half.then(entry("stage", "failed")) == half
    assert half.then(entry("probe", "before")) == entry("probe", "before")
    assert half.then(entry(ROLLBACK, "after")).then(entry("lock", "before")) == entry("lock", "before")


def test_a_run_that_nothing_disturbs() -> None:
    states = list(SERVING.run("r-2", GOOD))
    assert states[-1] == Machine("r-2", True, "r-2", Journal(True, "run", "provision", "r-2", "unlock", "after"))
    assert sorted({(host.journal.step, host.journal.phase) for host in states}) == sorted(
        itertools.product(STEPS, ("before", "after"))
    )
    assert not states[-1].journal.open


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_fails_leaves_the_release_before(step: str) -> None:
    last = list(SERVING.run("r-2", GOOD, fails=step))[-1]
    assert last.serving == ("r-1" if STEPS.index(step) <= STEPS.index("commit") else last.committed)
    assert last.serving == last.committed
    assert not last.journal.open


def test_a_release_that_does_not_answer_is_not_kept() -> None:
    last = list(SERVING.run(BROKEN, GOOD))[-1]
    assert (last.serving, last.committed, last.journal.open) == ("r-1", "r-1", False)
    first = list(Machine().run(BROKEN, GOOD))[-1]
    assert (first.serving, first.committed, first.journal.open) == ("", "", False)


@pytest.mark.parametrize("power", [False, True])
@pytest.mark.parametrize(("cut", "again"), [*itertools.product(WANTED, repeat=2)])
def test_one_cut_anywhere_then_any_run(cut: str, again: str, power: bool) -> None:
    """Exhaustive: a run cut after each of its states, then a second one, cut too, then any run, also one that fails."""
    for host in SERVING.run(cut, GOOD):
        left = host.rebooted(GOOD) if power else host
        for second in left.run(again, GOOD):
            for wanted, fails in itertools.product(WANTED, ("", *STEPS)):
                last = list(second.run(wanted, GOOD, fails))[-1]
                assert last.serving == last.committed != ""
                assert not last.journal.switched
            last = list(second.run(again, GOOD))[-1]
            assert last.serving == (again if again in GOOD else last.committed)


EVENT = st.tuples(
    st.sampled_from(WANTED), st.sampled_from(("", "", *STEPS)), st.integers(0, 40), st.sampled_from(["kill", "power"])
)


@settings(max_examples=500)
@given(st.sampled_from([Machine(), SERVING]), st.lists(EVENT, max_size=8), EVENT)
def test_a_host_that_served_once_serves_after_the_next_run(
    host: Machine, events: list[tuple[str, str, int, str]], last: tuple[str, str, int, str]
) -> None:
    served = bool(host.committed)
    for wanted, fails, length, way in events:
        states = list(itertools.islice(host.run(wanted, GOOD, fails), length))
        host = states[-1] if states else host
        served = served or any(state.committed for state in states)
        host = host.rebooted(GOOD) if way == "power" else host
    wanted, fails, _, _ = last
    end = list(host.run(wanted, GOOD, fails))[-1]
    assert not end.journal.switched
    assert end.serving == end.committed
    if served:
        assert end.serving in GOOD
    if not fails and wanted in GOOD:
        assert end.serving == wanted
