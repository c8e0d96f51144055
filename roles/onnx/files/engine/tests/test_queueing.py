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
