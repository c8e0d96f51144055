"""Who may generate now, who waits, who is sent away."""

from __future__ import annotations

import asyncio
import math

from phi4_engine.errors import ApiError

_FIRST_GUESS_SECONDS = 10.0


class Admission:
    """`slots` generations at a time and at most `queue` callers waiting, first come, first served."""

    def __init__(self, slots: int, queue: int) -> None:
        self._slots = slots
        self._queue = queue
        self._semaphore = asyncio.Semaphore(slots)
        self._waiting = 0
        self._usual_seconds = _FIRST_GUESS_SECONDS

    async def acquire(self) -> None:
        """The caller holds a slot. Raises ApiError 429 with Retry-After at once when the queue is full."""
        if self._semaphore.locked() and self._waiting >= self._queue:
            raise self._busy()
        self._waiting += 1
        try:
            await self._semaphore.acquire()
        finally:
            self._waiting -= 1

    def release(self, seconds: float) -> None:
        """Gives the slot back; `seconds` it was held for, from which later callers are told when to come back."""
        self._usual_seconds += 0.2 * (seconds - self._usual_seconds)
        self._semaphore.release()

    def _busy(self) -> ApiError:
        wait = math.ceil(self._usual_seconds * (self._waiting + 1) / self._slots)
        return ApiError(
            429,
            f"{self._slots} request(s) are being answered and {self._waiting} are waiting, which is all this engine "
            f"takes. Try again later.",
            type_="rate_limit_error",
            code="queue_full",
            headers={"Retry-After": str(min(max(wait, 1), 120))},
        )
