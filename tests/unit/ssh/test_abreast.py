"""Work for many hosts side by side: order, limits, and who is not waited for."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from phi4_edge.errors import InterruptedRunError
from phi4_edge.ssh import abreast


def nothing() -> None:
    return


def test_results_keep_the_order_of_the_items_and_each_is_told_as_it_comes() -> None:
    heard: list[int] = []
    slow = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            slow.wait(5)
        if number == 4:
            slow.set()
        return number * 10

    assert abreast.each(work, range(5), 2, cut=nothing, tell=heard.append) == [0, 10, 20, 30, 40]
    assert sorted(heard) == [0, 10, 20, 30, 40]
    assert heard[0] != 0
    assert abreast.each(work, [], 2, cut=nothing) == []


def test_no_more_at_a_time_than_allowed() -> None:
    now, most, lock = 0, 0, threading.Lock()

    def work(_: int) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.02)
        with lock:
            now -= 1

    abreast.each(work, range(20), 3, cut=nothing)
    assert most <= 3


def test_one_that_hangs_is_given_up_and_its_place_is_filled() -> None:
    release = threading.Event()

    def work(number: int) -> str:
        if number < 2:  # both places hang
            release.wait(20)
        return f"done {number}"

    start = time.monotonic()
    limits = abreast.Limits[int, str](0.5, lambda number: f"late {number}")
    found = abreast.each(work, range(6), 2, cut=nothing, limits=limits)
    assert time.monotonic() - start < 5
    assert found == ["late 0", "late 1", "done 2", "done 3", "done 4", "done 5"]
    release.set()


def test_an_error_ends_all_of_it_at_once() -> None:
    release, begun = threading.Event(), []

    def work(number: int) -> None:
        begun.append(number)
        if number == 0:
            raise ZeroDivisionError("of the work")
        release.wait(20)

    start = time.monotonic()
    with pytest.raises(ZeroDivisionError, match="of the work"):
        abreast.each(work, range(100), 2, cut=release.set)
    assert time.monotonic() - start < 5
    assert len(begun) < 10


@pytest.mark.parametrize("cuttable", [True, False])
def test_a_wish_to_stop_is_heard_even_where_nothing_can_be_cut(cuttable: bool) -> None:
    release, wish = threading.Event(), threading.Event()
    threading.Timer(0.3, wish.set).start()
    start = time.monotonic()
    with pytest.raises(InterruptedRunError):
        abreast.each(lambda _: release.wait(20), range(4), 2, release.set if cuttable else nothing, wish.is_set)
    assert time.monotonic() - start < 0.3 + abreast.LEAVE_SECONDS + 5  # on a busy machine; the work takes 20 s
    release.set()


def test_a_program_ends_although_work_hangs() -> None:
    """Not so with concurrent.futures: its threads are waited for when the program ends."""
    script = (
        "import threading\nfrom phi4_edge.ssh import abreast\n"
        "print(abreast.each(lambda n: threading.Event().wait(), [1], 1, lambda: None,"
        " limits=abreast.Limits(0.2, lambda n: 'late')))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "['late']\n"


def test_items_that_take_long_keep_no_other_waiting_up_to_a_limit() -> None:
    """Two places, four that wait for a dead host: the others are through long before these."""
    release, ended = threading.Event(), []

    def work(number: int) -> int:
        if number < 4:
            release.wait(20)
        return number

    def tell(number: int) -> None:
        ended.append(number)
        if len(ended) == 20:
            release.set()

    limits: abreast.Limits[int, int] = abreast.Limits(20, lambda number: -1, patience=0.1, most=5)
    assert abreast.each(work, range(24), 2, cut=nothing, limits=limits, tell=tell) == list(range(24))
    assert sorted(ended[:20]) == list(range(4, 24))


def most_at_once(slow: int, work_seconds: float) -> int:
    """How many of 40 items are at work at a time behind the first `slow`, which take until ten others are through."""
    release, guard, now, seen = threading.Event(), threading.Lock(), [0], list[int]()

    def work(number: int) -> int:
        if number < slow:
            release.wait(20)
            return number
        with guard:
            now[0] += 1
            if number >= 20:
                seen.append(now[0])
        time.sleep(work_seconds)
        with guard:
            now[0] -= 1
        return number

    ended: list[int] = []

    def tell(number: int) -> None:
        ended.append(number)
        if len(ended) == 10:
            release.set()

    limits: abreast.Limits[int, int] = abreast.Limits(20, lambda number: -1, patience=0.1, most=30)
    assert abreast.each(work, range(40), 4, cut=nothing, limits=limits, tell=tell) == list(range(40))
    return max(seen)


def test_where_all_take_long_nobody_is_added() -> None:
    """A busy machine would make each take longer still."""
    assert most_at_once(0, 0.3) <= 4


def test_those_that_were_added_leave_when_the_slow_ones_are_through() -> None:
    assert most_at_once(4, 0.02) <= 4


def test_what_has_more_time_is_given_up_later_and_what_begins_is_told() -> None:
    begun: list[int] = []
    limits = abreast.Limits(0.2, lambda number: -number, more=lambda number: 20.0 if number == 2 else 0.0)

    def work(number: int) -> int:
        time.sleep(1.0)
        return number

    assert abreast.each(work, [1, 2], 2, cut=nothing, limits=limits, begin=begun.append) == [-1, 2]
    assert sorted(begun) == [1, 2]
