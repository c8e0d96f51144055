"""Admission: who may generate, who waits, who is sent away."""

from __future__ import annotations

import asyncio

import pytest

from phi4_engine.errors import ApiError
from phi4_engine.queueing import Admission


async def settle() -> None:
    """Every task that can go on has done so."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_first_come_first_served_and_no_more_than_the_queue_holds() -> None:
    async def scenario() -> list[int]:
        admission = Admission(slots=1, queue=2)
        order: list[int] = []

        async def caller(number: int) -> None:
            await admission.acquire()
            order.append(number)

        await admission.acquire()
        waiting = [asyncio.create_task(caller(number)) for number in (1, 2)]
        await settle()
        with pytest.raises(ApiError) as refused:
            await admission.acquire()
        assert refused.value.status == 429
        for _ in waiting:
            admission.release(1.0)
            await settle()
        await asyncio.gather(*waiting)
        return order

    assert asyncio.run(scenario()) == [1, 2]


def test_who_stops_waiting_leaves_no_hole() -> None:
    async def scenario() -> None:
        admission = Admission(slots=1, queue=1)
        await admission.acquire()
        gone = asyncio.create_task(admission.acquire())
        await settle()
        gone.cancel()
        await settle()
        stays = asyncio.create_task(admission.acquire())
        await settle()
        admission.release(1.0)
        await asyncio.wait_for(stays, 10)

    asyncio.run(scenario())


@pytest.mark.parametrize(("seconds", "low", "high"), [(0.01, 1, 20), (10_000.0, 120, 120)])
def test_retry_after_follows_what_requests_usually_take(seconds: float, low: int, high: int) -> None:
    async def scenario() -> int:
        admission = Admission(slots=1, queue=0)
        for _ in range(20):
            await admission.acquire()
            admission.release(seconds)
        await admission.acquire()
        with pytest.raises(ApiError) as refused:
            await admission.acquire()
        return int(refused.value.headers["Retry-After"])

    assert low <= asyncio.run(scenario()) <= high
