"""Sizes, waves and the failure budget."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi4_edge.core.plan.decide import Inputs, Plan
from phi4_edge.core.rollout.budget import Budget
from phi4_edge.core.rollout.outcome import BAD, EXIT_CODES, TRIED, Outcome, exit_code
from phi4_edge.core.rollout.waves import Size, WaveError, kind_of, plan_waves

SIZES = st.one_of(st.integers(1, 300).map(Size), st.integers(1, 100).map(lambda number: Size(number, percent=True)))
KINDS = st.lists(st.sampled_from("abcd"), min_size=1, max_size=60).map(
    lambda kinds: {f"gw{number}": kind for number, kind in enumerate(kinds)}
)


@pytest.mark.parametrize(
    ("text", "total", "hosts"),
    [("3", 10, 3), ("3", 2, 2), ("0", 9, 0), ("20%", 10, 2), ("20%", 11, 3), ("1%", 5, 1), ("0%", 5, 0), ("100%", 7, 7),
    ("7%", 100, 7), (" 5 ", 9, 5), ("50%", 0, 0)],
)  # fmt: skip
def test_a_size_is_a_number_or_a_percentage_rounded_up(text: str, total: int, hosts: int) -> None:
    assert Size.parse(text).of(total) == hosts
    assert Size.parse(str(Size.parse(text))) == Size.parse(text)


@pytest.mark.parametrize("text", ["", "-1", "x", "1.5", "101%", "%", "3 %", "1e3", "9999999", "²", "٣", "+1"])
def test_what_is_no_size_is_refused_with_what_is_needed(text: str) -> None:
    with pytest.raises(WaveError, match="needed a number of hosts such as 3, or a percentage such as 20%"):
        Size.parse(text)


@given(KINDS, st.none() | st.just(Size(0)) | SIZES, SIZES)
def test_every_host_is_in_exactly_one_wave(kinds: dict[str, str], canary: Size | None, wave: Size) -> None:
    waves = plan_waves(kinds, canary, wave)
    placed = [host for each in waves for host in each.hosts]
    assert sorted(placed) == sorted(kinds)
    assert [each.number for each in waves] == list(range(len(waves)))
    assert len({each.name for each in waves}) == len(waves)
    order = list(kinds)
    for each in waves:
        assert each.hosts
        assert list(each.hosts) == sorted(each.hosts, key=order.index)
        if each.name != "canary":
            assert len(each.hosts) <= max(1, wave.of(len(kinds)))
    ordered = [host for each in waves if each.name != "canary" for host in each.hosts]
    assert ordered == sorted(ordered, key=order.index)


@given(KINDS, SIZES)
def test_the_canary_tries_every_kind_once(kinds: dict[str, str], wave: Size) -> None:
    canary = plan_waves(kinds, None, wave)[0]
    assert canary.name == "canary"
    assert sorted(kinds[host] for host in canary.hosts) == sorted(set(kinds.values()))
    assert canary.hosts[0] == "gw0"


@given(KINDS, SIZES, SIZES)
def test_a_canary_of_a_size_holds_as_many_kinds_as_it_can(kinds: dict[str, str], canary: Size, wave: Size) -> None:
    first = plan_waves(kinds, canary, wave)[0]
    assert len(first.hosts) == canary.of(len(kinds))
    assert len({kinds[host] for host in first.hosts}) == min(len(first.hosts), len(set(kinds.values())))


def test_waves_of_a_fleet() -> None:
    kinds = dict.fromkeys("abcdefg", "onnx") | {"d": "vllm"}
    shown = [(wave.name, "".join(wave.hosts)) for wave in plan_waves(kinds, None, Size.parse("20%"))]
    assert shown == [("canary", "ad"), ("wave 1", "bc"), ("wave 2", "ef"), ("wave 3", "g")]
    assert [wave.name for wave in plan_waves(kinds, Size(0), Size(4))] == ["wave 1", "wave 2"]
    assert [wave.hosts for wave in plan_waves({"a": 1}, None, Size(1))] == [("a",)]
    assert plan_waves({}, None, Size(1)) == ()


@pytest.mark.parametrize("text", ["0", "0%"])
def test_a_wave_without_hosts_is_refused(text: str) -> None:
    with pytest.raises(WaveError, match="needed at least one host"):
        plan_waves({"a": 1}, None, Size.parse(text))


@pytest.mark.parametrize(
    ("size", "bad", "finished", "total", "exceeded"),
    [("0", 0, 4, 4, False), ("0", 1, 4, 4, True), ("1", 1, 2, 4, False), ("1", 2, 2, 4, True),
    # One of two is not half a fleet: the sample is ten hosts, or all where there are fewer.
     ("20%", 1, 1, 100, False), ("20%", 2, 2, 100, False), ("20%", 3, 3, 100, True), ("20%", 3, 15, 100, False),
     ("20%", 4, 15, 100, True), ("20%", 1, 1, 4, True), ("50%", 2, 2, 4, False), ("50%", 3, 3, 4, True),
     ("0%", 1, 1, 100, True), ("100%", 9, 9, 9, False)],
)  # fmt: skip
def test_the_budget(size: str, bad: int, finished: int, total: int, exceeded: bool) -> None:
    assert Budget(Size.parse(size)).exceeded(bad, finished, total) is exceeded


@given(SIZES, st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
def test_one_more_bad_host_never_makes_a_budget_hold_again(size: Size, bad: int, fine: int, open_: int) -> None:
    budget, finished = Budget(size), bad + fine
    if budget.exceeded(bad, finished, finished + open_):
        assert budget.exceeded(bad + 1, finished + 1, finished + open_ + 1)


def test_what_counts_as_bad_is_never_a_success() -> None:
    assert {outcome.value for outcome in BAD} == {"failed", "unreachable", "timed_out", "unhealthy", "rolled_back"}
    assert all(EXIT_CODES[outcome] in (4, 5) for outcome in BAD)
    assert BAD < TRIED
    assert exit_code([Outcome.UNTOUCHED, Outcome.DONE]) == 0
    assert exit_code([Outcome.UNTOUCHED, Outcome.UNREACHABLE]) == 5
    assert exit_code([Outcome.REVERTED]) == 4


def test_the_kind_of_a_plan_is_what_stands_or_falls_together(
    document: Callable[..., Any], plan: Callable[..., Plan]
) -> None:
    one, other = document("n150-8gb"), document("n150-8gb", meminfo="MemTotal: 12000000 kB\nMemAvailable: 11000000 kB")
    assert plan(one).fingerprint != plan(one, threads=2).fingerprint
    assert kind_of(plan(one)) == kind_of(plan(one, threads=2)) == kind_of(plan(other))
    kinds = [
        kind_of(plan(one)),
        kind_of(plan(one, engine="ollama")),
        kind_of(plan(one, engine="ollama", service_manager="compose")),
        kind_of(plan(one, model="tiny")),
        kind_of(plan(one, inputs=Inputs({"phi-4-mini-instruct/onnx-int4": "f" * 64}))),
        kind_of(plan(document("pi4-4gb"))),
        kind_of(plan(one, webui_enabled=True)),
    ]
    assert len(set(kinds)) == len(kinds)
    assert hash(kinds[0]) == hash(kind_of(plan(one)))
