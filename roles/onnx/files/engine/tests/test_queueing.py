"""Admission: who may generate, who waits, who is sent away."""

from __future__ import annotations

import asyncio

import pytest

from phi4_engine.errors import ApiError
from phi4_engine.queueing import Admission


def test_first_come_first_served_and_no_more_than_the_queue_holds() -> None:
    async def scenario() -> list[int]:
        admission = Admission(slots=1, queue=2)
        order: list[int] = []
        first = admission.enter()
        await first.turn()
        waiting = [admission.enter() for _ in range(2)]

        async def caller(number: int) -> None:
            await waiting[number].turn()
            order.append(number)
            waiting[number].leave(1.0)

        tasks = [asyncio.create_task(caller(number)) for number in (1, 0)]
        for again in (admission.check, admission.enter):
            with pytest.raises(ApiError) as refused:
                again()
            assert refused.value.status == 429
        assert (admission.running, admission.waiting, order) == (1, 2, [])
        first.leave(1.0)
        await asyncio.gather(*tasks)
        assert (admission.running, admission.waiting) == (0, 0)
        return order

    assert asyncio.run(scenario()) == [0, 1]


def test_who_stops_waiting_leaves_no_hole() -> None:
    async def scenario() -> None:
        admission = Admission(slots=1, queue=1)
        first = admission.enter()
        gone = admission.enter()
        turn = asyncio.create_task(gone.turn())
        await asyncio.sleep(0)
        turn.cancel()
        gone.leave(None)
        gone.leave(None)
        stays = admission.enter()
        first.leave(1.0)
        await asyncio.wait_for(stays.turn(), 10)

    asyncio.run(scenario())


@pytest.mark.parametrize(("seconds", "low", "high"), [(0.01, 1, 20), (10_000.0, 120, 120)])
def test_retry_after_follows_what_requests_usually_take(seconds: float, low: int, high: int) -> None:
    async def scenario() -> int:
        admission = Admission(slots=1, queue=0)
        for _ in range(20):
            place = admission.enter()
            await place.turn()
            place.leave(seconds)
        admission.enter()
        with pytest.raises(ApiError) as refused:
            admission.enter()
        return int(refused.value.headers["Retry-After"])

    assert low <= asyncio.run(scenario()) <= high


def test_who_needs_several_slots_waits_for_them_and_is_not_overtaken() -> None:
    async def scenario() -> None:
        admission = Admission(slots=3, queue=3)
        first, second = admission.enter(), admission.enter()
        wide = admission.enter(width=2)
        behind = admission.enter()
        assert (first.called, second.called, wide.called, behind.called) == (True, True, False, False)
        first.leave(1.0)
        assert (wide.called, behind.called, admission.running) == (True, False, 3)
        second.leave(1.0)
        assert (behind.called, admission.running) == (True, 3)
        wide.leave(1.0)
        assert admission.running == 1

    asyncio.run(scenario())


def test_when_the_wide_one_stops_waiting_the_others_go_on() -> None:
    async def scenario() -> None:
        admission = Admission(slots=2, queue=2)
        admission.enter()
        wide, behind = admission.enter(width=2), admission.enter()
        with pytest.raises(ApiError, match=r"1 answer\(s\) .* 2 request\(s\) are waiting"):
            admission.check()
        wide.leave(None)
        assert behind.called

    asyncio.run(scenario())


def test_a_wide_one_is_refused_where_nobody_may_wait() -> None:
    async def scenario() -> None:
        admission = Admission(slots=2, queue=0)
        admission.enter()
        with pytest.raises(ApiError):
            admission.enter(width=2)
        admission.enter()

    asyncio.run(scenario())
