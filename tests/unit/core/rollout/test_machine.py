"""The state machine of a rollout: the truth table in full, and what no sequence of outcomes can break."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phi4_edge.core.rollout.budget import Budget
from phi4_edge.core.rollout.machine import Bake, End, Revert, Rollout, RunWave, Stop
from phi4_edge.core.rollout.outcome import BAD, Outcome
from phi4_edge.core.rollout.waves import Size, Wave, WaveError, plan_waves

ENDS = (Outcome.DONE, Outcome.UNCHANGED, Outcome.FAILED, Outcome.UNREACHABLE, Outcome.TIMED_OUT, Outcome.ROLLED_BACK)
HELD = Outcome.LOCKED
PAIRS = (Wave("wave 1", 0, ("a", "b")), Wave("wave 2", 1, ("c", "d")))
BUDGETS = ("0", "1", "2", "0%", "25%", "50%", "100%")


def begin(budget: str = "0", bake: float = 0.0, skip: bool = False, **before: Outcome) -> Rollout:
    return Rollout.start(PAIRS, Budget(Size.parse(budget)), bake, before, skip)


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize(("one", "two"), [*itertools.product((*ENDS, Outcome.UNHEALTHY), repeat=2)])
def test_the_truth_table(one: Outcome, two: Outcome, budget: str) -> None:
    """Every mix in a wave of two: wave 2 begins exactly when the budget holds, whatever way a host is bad."""
    rollout = begin(budget, bake=1)
    baked = {host: end for host, end in zip("ab", (one, two), strict=True) if end is Outcome.UNHEALTHY}
    in_wave = {host: Outcome.DONE if host in baked else end for host, end in zip("ab", (one, two), strict=True)}
    rollout = rollout.wave_ended(in_wave)
    if isinstance(rollout.action, Bake):
        rollout = rollout.bake_ended(baked)
    elif baked:  # stopped before the bake: it never became unhealthy
        in_wave_bad = sum(end in BAD for end in in_wave.values())
        assert rollout.exceeded and in_wave_bad
        baked = {}
    if isinstance(rollout.action, Revert):
        assert set(rollout.action.hosts) == ({*baked} if not rollout.exceeded else {
            host for host, end in in_wave.items() if end is Outcome.DONE
        })  # fmt: skip
        rollout = rollout.reverted(dict.fromkeys(rollout.action.hosts, Outcome.REVERTED))
    bad = sum(end in BAD for end in in_wave.values()) + len(baked)
    number, percent = int(budget.rstrip("%")), budget.endswith("%")
    stops = bad * 100 > number * 4 if percent else bad > number  # four hosts: the sample is all of them
    assert rollout.action == (End(Stop.BUDGET) if stops else RunWave(PAIRS[1]))
    assert rollout.exceeded is stops
    assert rollout.bad == bad
    assert rollout.outcomes["c"] is rollout.outcomes["d"] is Outcome.UNTOUCHED


def test_a_good_rollout_bakes_between_its_waves_only() -> None:
    rollout = begin(bake=60).wave_ended({"a": Outcome.DONE, "b": Outcome.UNCHANGED})
    assert rollout.action == Bake(PAIRS[0], ("a",), 60)
    rollout = rollout.bake_ended({})
    assert rollout.action == RunWave(PAIRS[1])
    rollout = rollout.wave_ended({"c": Outcome.DONE, "d": Outcome.DONE})
    assert (rollout.action, rollout.stop, rollout.exceeded) == (End(None), None, False)
    assert (rollout.bad, rollout.finished, rollout.total) == (0, 4, 4)


def test_nothing_to_watch_is_not_watched() -> None:
    assert begin(bake=60).wave_ended(dict.fromkeys("ab", Outcome.UNCHANGED)).action == RunWave(PAIRS[1])
    assert begin(bake=0).wave_ended(dict.fromkeys("ab", Outcome.DONE)).action == RunWave(PAIRS[1])


def test_too_many_unreachable_hosts_stop_it_before_it_begins() -> None:
    rollout = begin("0", e=Outcome.UNREACHABLE)
    assert (rollout.action, rollout.exceeded, rollout.bad) == (End(Stop.BUDGET), True, 1)
    assert begin("1", e=Outcome.UNREACHABLE).action == RunWave(PAIRS[0])
    assert begin("1", e=Outcome.UNREACHABLE).wave_ended({"a": Outcome.FAILED, "b": Outcome.DONE}).exceeded


def test_hosts_without_work_do_not_make_the_share_of_bad_ones_small() -> None:
    idle = {f"idle{number}": Outcome.UNCHANGED for number in range(96)}
    none = {f"small{number}": Outcome.NO_FIT for number in range(50)}
    rollout = begin("25%", **idle, **none)
    assert (rollout.finished, rollout.total) == (0, 4)
    assert rollout.wave_ended(dict.fromkeys("ab", Outcome.FAILED)).exceeded
    # Those that an earlier part of the same rollout finished do count.
    assert (
        not begin("25%", **dict.fromkeys(idle, Outcome.DONE)).wave_ended(dict.fromkeys("ab", Outcome.FAILED)).exceeded
    )


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("other", [*ENDS, HELD])
def test_the_truth_table_of_a_host_that_says_it_is_held(other: Outcome, budget: str, skip: bool) -> None:
    """It counts as one host, or not at all; nobody is taken back for it; the rest goes on as the budget says."""
    rollout = begin(budget, skip=skip).wave_ended({"a": HELD, "b": other})
    held = 0 if skip else 1 + (other is HELD)
    bad = (other in BAD) + held
    assert rollout.bad == bad
    number, percent = int(budget.rstrip("%")), budget.endswith("%")

    def stops(count: int) -> bool:
        return count * 100 > number * 4 if percent else count > number

    if not stops(bad):
        assert rollout.action == RunWave(PAIRS[1])
    else:
        alone = stops(int(other in BAD))
        assert rollout.action == End(Stop.BUDGET if alone else Stop.LOCKED)
    assert rollout.outcomes["b"] is other
    assert rollout.outcomes["c"] is rollout.outcomes["d"] is Outcome.UNTOUCHED


def test_a_held_host_takes_nobody_back_and_bad_ones_do() -> None:
    stopped = begin("1", bake=60).wave_ended({"a": HELD, "b": Outcome.DONE})
    assert isinstance(stopped.action, Bake) and stopped.action.hosts == ("b",)
    assert begin("0", bake=60).wave_ended({"a": HELD, "b": Outcome.DONE}).action == End(Stop.LOCKED)
    three = (Wave("wave 1", 0, ("a", "b", "c")),)
    begun = Rollout.start(three, Budget(Size(0)), 0.0, {})
    back = begun.wave_ended({"a": HELD, "b": Outcome.DONE, "c": Outcome.FAILED})
    assert isinstance(back.action, Revert) and back.action.hosts == ("b",)


def test_hosts_that_are_held_before_the_first_wave_count_once_each() -> None:
    assert begin("0", e=HELD).action == End(Stop.LOCKED)
    assert begin("1", e=HELD).action == RunWave(PAIRS[0])
    assert begin("1", e=HELD, f=Outcome.UNREACHABLE).action == End(Stop.LOCKED)
    assert begin("0", e=HELD, f=Outcome.UNREACHABLE).action == End(Stop.BUDGET)
    assert begin("0", skip=True, e=HELD, f=HELD).action == RunWave(PAIRS[0])
    assert begin("0", skip=True, e=HELD, f=Outcome.UNREACHABLE).action == End(Stop.BUDGET)


def test_a_host_that_is_another_run_s_when_it_is_to_be_watched_counts_too() -> None:
    bake = begin("0", bake=5).wave_ended(dict.fromkeys("ab", Outcome.DONE))
    assert bake.bake_ended({"a": HELD}).action == End(Stop.LOCKED)
    allowed = begin("1", bake=5).wave_ended(dict.fromkeys("ab", Outcome.DONE))
    assert allowed.bake_ended({"a": HELD}).action == RunWave(PAIRS[1])
    revert = allowed.bake_ended({"a": HELD, "b": Outcome.UNHEALTHY})
    assert isinstance(revert.action, Revert) and revert.action.hosts == ("b",)
    assert revert.action.why == "it did not stay healthy while it was watched"
    assert revert.reverted({"b": Outcome.REVERTED}).action == End(Stop.LOCKED)
    skipped = begin("1", bake=5, skip=True).wave_ended(dict.fromkeys("ab", Outcome.DONE))
    sick = skipped.bake_ended({"a": HELD, "b": Outcome.UNHEALTHY})
    assert sick.reverted({"b": Outcome.REVERTED}).action == RunWave(PAIRS[1])


@settings(max_examples=300)
@given(
    hosts=st.integers(2, 12),
    claims=st.sets(st.integers(0, 11), min_size=1, max_size=12),
    allowed=st.integers(0, 12),
    skip=st.booleans(),
    size=st.integers(1, 5),
)
def test_what_hosts_claim_of_their_locks_never_touches_the_others(
    hosts: int, claims: set[int], allowed: int, skip: bool, size: int
) -> None:
    """While those that claim it are within the budget, every other host has its turn, and none is taken back."""
    names = [f"gw{number}" for number in range(hosts)]
    waves = plan_waves(dict.fromkeys(names, "x"), Size(1), Size(size))
    liars = {name for number, name in enumerate(names) if number in claims}
    rollout = Rollout.start(waves, Budget(Size(allowed)), 3.0, {}, skip)
    while not isinstance(rollout.action, End):
        assert not isinstance(rollout.action, Revert), "nobody is taken back for a lock"
        if isinstance(rollout.action, RunWave):
            ends = {host: HELD if host in liars else Outcome.DONE for host in rollout.action.wave.hosts}
            rollout = rollout.wave_ended(ends)
        else:
            rollout = rollout.bake_ended({})
    if skip or len(liars) <= allowed:
        assert rollout.stop is None
        assert {host for host, end in rollout.outcomes.items() if end is Outcome.DONE} == set(names) - liars
    else:
        assert rollout.stop is Stop.LOCKED
        assert sum(end is HELD for end in rollout.outcomes.values()) > allowed


@pytest.mark.parametrize("left", [{"a": Outcome.INTERRUPTED, "b": Outcome.DONE}, {"b": Outcome.DONE}, {}])
def test_a_host_that_did_not_finish_ends_it_as_interrupted(left: dict[str, Outcome]) -> None:
    assert begin("2").wave_ended(left).action == End(Stop.INTERRUPTED)
    assert begin("2").wave_ended({**left, "b": Outcome.FAILED}).stop is Stop.INTERRUPTED


def test_ctrl_c_at_every_action() -> None:
    run = begin("1", bake=5)
    bake = run.wave_ended(dict.fromkeys("ab", Outcome.DONE))
    revert = bake.bake_ended({"a": Outcome.UNHEALTHY})
    assert [type(each.action) for each in (run, bake, revert)] == [RunWave, Bake, Revert]
    for each in (run, bake, revert):
        ended = each.interrupted()
        assert ended.stop is Stop.INTERRUPTED
        assert ended.outcomes == each.outcomes
        assert ended.interrupted() is ended
    assert revert.reverted({"a": Outcome.INTERRUPTED}).stop is Stop.INTERRUPTED


def test_an_unhealthy_host_goes_back_alone_while_the_budget_holds() -> None:
    bake = begin("1", bake=5).wave_ended(dict.fromkeys("ab", Outcome.DONE))
    revert = bake.bake_ended({"a": Outcome.UNHEALTHY})
    assert revert.action == Revert(PAIRS[0], ("a",), "it did not stay healthy while it was watched")
    after = revert.reverted({"a": Outcome.REVERTED})
    assert after.action == RunWave(PAIRS[1])
    assert after.outcomes["a"] is Outcome.UNHEALTHY
    # One that was lost is bad, and cannot be brought back.
    assert bake.bake_ended({"b": Outcome.UNREACHABLE}).action == RunWave(PAIRS[1])


def test_the_whole_wave_goes_back_when_the_budget_is_spent() -> None:
    bake = begin("0", bake=5).wave_ended(dict.fromkeys("ab", Outcome.DONE))
    revert = bake.bake_ended({"b": Outcome.UNHEALTHY})
    assert revert.action == Revert(PAIRS[0], ("a", "b"), "1 of 2 hosts are bad, and the failure budget is 0")
    after = revert.reverted({"a": Outcome.REVERTED, "b": Outcome.REVERTED})
    assert (after.outcomes["a"], after.outcomes["b"]) == (Outcome.REVERTED, Outcome.UNHEALTHY)
    assert after.stop is Stop.BUDGET
    # Nothing to go back to: it stays as it is, and says so.
    assert revert.reverted({"a": Outcome.DONE}).outcomes["a"] is Outcome.DONE
    assert revert.reverted({"a": Outcome.FAILED}).bad == 2


def test_what_cannot_have_happened_is_refused() -> None:
    run = begin(bake=1)
    bake = run.wave_ended(dict.fromkeys("ab", Outcome.DONE))
    for wrong in (
        lambda: run.bake_ended({}),
        lambda: run.reverted({}),
        lambda: bake.wave_ended({}),
        lambda: run.wave_ended({"c": Outcome.DONE}),
        lambda: bake.bake_ended({"a": Outcome.FAILED}),
        lambda: bake.bake_ended({"c": Outcome.UNHEALTHY}),
        lambda: begin(a=Outcome.UNREACHABLE),
        lambda: bake.bake_ended({"b": Outcome.UNHEALTHY}).reverted({"a": Outcome.UNTOUCHED}),
    ):
        with pytest.raises(WaveError, match=r"found .*, needed"):
            wrong()


OUTCOMES = st.sampled_from([*ENDS, *ENDS, Outcome.DONE, Outcome.DONE, Outcome.LOCKED, Outcome.INTERRUPTED])


@settings(max_examples=400)
@given(
    hosts=st.integers(1, 14),
    canary=st.none() | st.integers(0, 4).map(Size),
    wave=st.one_of(st.integers(1, 5).map(Size), st.integers(1, 100).map(lambda number: Size(number, percent=True))),
    budget=st.one_of(st.integers(0, 3).map(Size), st.integers(0, 100).map(lambda number: Size(number, percent=True))),
    before=st.lists(st.sampled_from(list(Outcome)), max_size=4),
    data=st.data(),
)
def test_no_sequence_of_outcomes_gets_past_the_budget(
    hosts: int, canary: Size | None, wave: Size, budget: Size, before: list[Outcome], data: st.DataObject
) -> None:
    names = [f"gw{number}" for number in range(hosts)]
    waves = plan_waves(dict.fromkeys(names, "x"), canary, wave)
    settled = {f"before{number}": outcome for number, outcome in enumerate(before)}
    bake, skip = data.draw(st.sampled_from([0.0, 9.0])), data.draw(st.booleans())
    rollout = Rollout.start(waves, Budget(budget), bake, settled, skip)
    begun: list[str] = []
    steps = 0
    while not isinstance(rollout.action, End):
        steps += 1
        assert steps <= 3 * len(waves), "a rollout ends: no wave is run, watched or taken back twice"
        if isinstance(rollout.action, RunWave):
            assert not rollout.exceeded
            assert not set(begun) & set(rollout.action.wave.hosts)
            begun += rollout.action.wave.hosts
        was = rollout
        rollout = step(rollout, data)
        assert rollout.exceeded or not was.exceeded, "spent stays spent"
        assert rollout.exceeded is (
            was.exceeded or rollout.budget.exceeded(rollout.bad, rollout.finished, rollout.total)
        )
        untouched = {host for host in names if host not in begun}
        assert all(rollout.outcomes[host] is Outcome.UNTOUCHED for host in untouched)
    assert set(rollout.outcomes) == {*names, *settled}
    assert {host: rollout.outcomes[host] for host in settled} == settled
    if rollout.stop is None:
        assert sorted(begun) == sorted(names) and not rollout.exceeded
    elif rollout.stop is not Stop.INTERRUPTED:
        assert rollout.exceeded
        assert rollout.stop is Stop.BUDGET or (HELD in rollout.outcomes.values() and not skip)


def step(rollout: Rollout, data: st.DataObject) -> Rollout:
    """What a driver might tell next, drawn."""
    action = rollout.action
    if data.draw(st.integers(0, 19)) == 0:
        return rollout.interrupted()
    if isinstance(action, RunWave):
        return rollout.wave_ended({host: data.draw(OUTCOMES) for host in action.wave.hosts})
    if isinstance(action, Bake):
        ends = st.sampled_from([None, None, Outcome.UNHEALTHY, Outcome.UNREACHABLE, Outcome.LOCKED])
        drawn = {host: data.draw(ends) for host in action.hosts}
        return rollout.bake_ended({host: end for host, end in drawn.items() if end is not None})
    assert isinstance(action, Revert)
    ends_back = st.sampled_from([Outcome.REVERTED, Outcome.DONE, Outcome.FAILED, Outcome.UNREACHABLE])
    return rollout.reverted({host: data.draw(ends_back) for host in action.hosts})
