"""Who may generate now, who waits, who is sent away."""

from __future__ import annotations

import asyncio
import math
from collections import deque

from phi4_engine.errors import ApiError

_FIRST_GUESS_SECONDS = 10.0


class Place:
    """One caller's place: in the queue until `turn` returns, then a slot, until `leave`."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._left = False

    async def turn(self) -> None:
        """The caller holds a slot."""
        await asyncio.shield(self._turn)

    def leave(self, seconds: float | None) -> None:
        """The place is free. `seconds` that the slot was held for, None for one that was never used. May come twice."""
        if not self._left:
            self._left = True
            self._admission.free(self, seconds)

    def call(self) -> None:
        """It has its slot now."""
        self._turn.set_result(None)

    @property
    def called(self) -> bool:
        """Whether it has a slot."""
        return self._turn.done()


class Admission:
    """`slots` generations at a time and at most `queue` callers waiting, first come, first served."""

    def __init__(self, slots: int, queue: int) -> None:
        self._slots = slots
        self._queue = queue
        self._busy = 0
        self._line: deque[Place] = deque()
        self._usual_seconds = _FIRST_GUESS_SECONDS

    @property
    def slots(self) -> int:
        """How many generate at a time, at most."""
        return self._slots

    @property
    def running(self) -> int:
        """Slots that are taken."""
        return self._busy

    @property
    def waiting(self) -> int:
        """Callers in the queue."""
        return len(self._line)

    def check(self) -> None:
        """Raises ApiError 429 with Retry-After when the queue is full."""
        if self._busy >= self._slots and len(self._line) >= self._queue:
            raise self._full()

    def enter(self) -> Place:
        """A place, with a slot at once where one is free. Raises ApiError 429 when the queue is full."""
        self.check()
        place = Place(self)
        self._line.append(place)
        self._call()
        return place

    def free(self, place: Place, seconds: float | None) -> None:
        """The place is given up; later callers are told when to come back by how long slots are held."""
        if not place.called:
            self._line.remove(place)
            return
        if seconds is not None:
            self._usual_seconds += 0.2 * (seconds - self._usual_seconds)
        self._busy -= 1
        self._call()

    def _call(self) -> None:
        while self._line and self._busy < self._slots:
            self._busy += 1
            self._line.popleft().call()

    def _full(self) -> ApiError:
        wait = math.ceil(self._usual_seconds * (len(self._line) + 1) / self._slots)
        return ApiError(
            429,
            f"{self._slots} request(s) are being answered and {len(self._line)} are waiting, which is all this engine "
            f"takes. Try again later.",
            type_="rate_limit_error",
            code="queue_full",
            headers={"Retry-After": str(min(max(wait, 1), 120))},
        )
