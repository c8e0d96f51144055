"""Who may generate now, who waits, who is sent away."""

from __future__ import annotations

import asyncio
import math
from collections import deque

from phi4_engine.errors import ApiError

_FIRST_GUESS_SECONDS = 10.0


class Place:
    """One caller's place: in the queue until `turn` returns, then `width` slots, until `leave`."""

    def __init__(self, admission: Admission, width: int) -> None:
        self._admission = admission
        self.width = width
        self._turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._left = False

    async def turn(self) -> None:
        """The caller holds its slots."""
        await asyncio.shield(self._turn)

    def leave(self, seconds: float | None) -> None:
        """The place is free. `seconds` that its slots were held for, None for one that had none. May come twice."""
        if not self._left:
            self._left = True
            self._admission.free(self, seconds)

    def call(self) -> None:
        """It has its slots now."""
        self._turn.set_result(None)

    @property
    def called(self) -> bool:
        """Whether it has its slots."""
        return self._turn.done()


class Admission:
    """`slots` generations at a time and at most `queue` callers waiting, first come, first served.

    Whoever needs several slots waits until so many are free, and those who came later wait behind: nobody starves.
    """

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

    def check(self, width: int = 1) -> None:
        """Raises ApiError 429 with Retry-After when the queue is full."""
        waits = self._line or self._busy + width > self._slots
        if waits and len(self._line) >= self._queue:
            raise self._full()

    def enter(self, width: int = 1) -> Place:
        """A place, with its slots at once where they are free. Raises ApiError 429 when the queue is full.

        `width` must not be more than `slots`: so many would never be free.
        """
        self.check(width)
        place = Place(self, width)
        self._line.append(place)
        self._call()
        return place

    def free(self, place: Place, seconds: float | None) -> None:
        """The place is given up; later callers are told when to come back by how long slots are held."""
        if not place.called:
            self._line.remove(place)
            self._call()  # it may have been the wide one that the others waited behind
            return
        if seconds is not None:
            self._usual_seconds += 0.2 * (seconds - self._usual_seconds)
        self._busy -= place.width
        self._call()

    def _call(self) -> None:
        while self._line and self._busy + self._line[0].width <= self._slots:
            self._busy += self._line[0].width
            self._line.popleft().call()

    def _full(self) -> ApiError:
        wait = math.ceil(self._usual_seconds * (len(self._line) + 1) / self._slots)
        return ApiError(
            429,
            f"{self._busy} answer(s) are being generated and {len(self._line)} request(s) are waiting, which is all "
            f"that this engine takes. Try again later.",
            type_="rate_limit_error",
            code="queue_full",
            headers={"Retry-After": str(min(max(wait, 1), 120))},
        )
