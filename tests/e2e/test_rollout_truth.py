"""The truth table: whatever mix of bad outcomes a wave of two has, no host of the next wave is touched.

The same table for plain Ansible: benchmarks/truth_table.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.e2e.fleet import SABOTEUR, Fleet, Fleets, rows
from tests.e2e.gateway import Done, Gateway

pytestmark = pytest.mark.e2e

FIRST, SECOND = ("gw1", "gw2"), ("gw3", "gw4")
FAILED, UNREACHABLE, TIMED_OUT, UNHEALTHY, GOOD = "failed", "unreachable", "timed_out", "unhealthy", "good"
CODES = {FAILED: 4, UNREACHABLE: 5, TIMED_OUT: 4, UNHEALTHY: 4}
# A host that becomes unhealthy does so in the bake, which a wave that is over the budget already never comes to.
STOPPED = [
    (FAILED, GOOD, "0"),
    (UNREACHABLE, GOOD, "0"),
    (TIMED_OUT, GOOD, "0"),
    (UNHEALTHY, GOOD, "0"),
    (FAILED, FAILED, "1"),
    (UNREACHABLE, UNREACHABLE, "1"),
    (TIMED_OUT, TIMED_OUT, "1"),
    (UNHEALTHY, UNHEALTHY, "1"),
    (FAILED, UNREACHABLE, "1"),
    (FAILED, TIMED_OUT, "0"),
    (UNREACHABLE, TIMED_OUT, "25%"),
    (FAILED, UNHEALTHY, "1"),
    (UNREACHABLE, UNHEALTHY, "1"),
    (TIMED_OUT, UNHEALTHY, "25%"),
]
# In make test the kill table has a host that cannot be reached, and test_broken_release one that becomes unhealthy.
ALWAYS = {(FAILED, GOOD, "0")}
WITHIN = [(FAILED, GOOD, "1"), (UNREACHABLE, FAILED, "2"), (UNHEALTHY, GOOD, "25%")]


@pytest.fixture(scope="module")
def truth(fleets: Fleets, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("truth")
    with fleets.lend(folder, 4) as found:
        yield found


@pytest.fixture
def gateways(truth: Fleet) -> list[Gateway]:
    return [truth.host(name) for name in FIRST]


def roll(truth: Fleet, outcomes: tuple[str, str], budget: str) -> Done:
    """One rollout in two waves of two, in which the first two hosts come to these outcomes."""
    truth.next_release()
    wanted = dict(zip(FIRST, outcomes, strict=True))
    with ExitStack() as faults:
        for name, outcome in wanted.items():
            if outcome == FAILED:
                truth.hook(name, "stage:before", "fail")
            elif outcome in (UNREACHABLE, TIMED_OUT):
                truth.hook(name, "stage:before", "wait")
            elif outcome == UNHEALTHY:
                truth.host(name).sh(SABOTEUR)
        cut = [name for name, outcome in wanted.items() if outcome == UNREACHABLE]
        faults.enter_context(truth.cut_at(*([name] for name in cut)))
        options = ["--canary", "0", "--wave", "2", "--bake", "8", "--max-failures", budget, "--step-timeout", "15"]
        done = truth.run("provision", "--yes", "--output", "json", *options)
    truth.unhook(truth.names)
    return done


@pytest.mark.parametrize(("first", "second", "budget"), rows(STOPPED, ALWAYS))
def test_a_wave_over_the_budget_is_the_last(truth: Fleet, first: str, second: str, budget: str) -> None:
    before, served = truth.mark(SECOND), truth.releases()
    done = roll(truth, (first, second), budget)
    assert done.outcomes() == dict(
        zip(
            (*FIRST, *SECOND),
            (first, "reverted" if second == GOOD else second, "untouched", "untouched"),
            strict=True,
        )
    ), done.err
    assert done.result["stopped"] == "budget"
    done.expect(4 if 4 in (CODES.get(first), CODES.get(second, 4)) else 5)
    assert {name: truth.trace(name) for name in SECOND} == before
    assert {name: truth.serving(name) for name in truth.names} == served


@pytest.mark.parametrize(("first", "second", "budget"), rows(WITHIN, ()))
def test_a_wave_within_the_budget_is_not(truth: Fleet, first: str, second: str, budget: str) -> None:
    served = truth.releases()
    done = roll(truth, (first, second), budget)
    bad = {name: outcome for name, outcome in zip(FIRST, (first, second), strict=True) if outcome != GOOD}
    assert done.outcomes() == {**dict.fromkeys(truth.names, "done"), **bad}, done.err
    done.expect(4)
    now = {name: truth.serving(name) for name in truth.names}
    assert {name for name in truth.names if now[name] == served[name]} == set(bad)


@pytest.mark.full
def test_a_host_that_is_down_before_the_start_counts_too(truth: Fleet) -> None:
    before = truth.mark(truth.names)
    truth.next_release()
    down = truth.inventories[1].read_text().replace("gw4 ", "gw4 ansible_port=1 ")
    truth.inventories[1].write_text(down)
    done = truth.run("provision", "--yes", "--output", "json", "--canary", "1", "--bake", "0").expect(5)
    assert done.outcomes() == {**dict.fromkeys(truth.names, "untouched"), "gw4": "unreachable"}
    assert {name: truth.trace(name) for name in truth.names} == before
    done = truth.run("provision", "--yes", "--output", "json", "--bake", "0", "--max-failures", "1").expect(5)
    assert done.outcomes() == {**dict.fromkeys(truth.names, "done"), "gw4": "unreachable"}
