"""How fast one host may be sent bytes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

# Bytes that may go out at once: an eighth of a second's worth, and never so little that only headers are sent.
_SHARE, _LEAST, _MOST = 8, 4 * 1024, 256 * 1024


class Bucket:
    """All connections of one host together take at most `rate` bytes per second; 0 sets no limit."""

    def __init__(
        self, rate: int, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.chunk = _MOST if rate <= 0 else max(_LEAST, min(_MOST, rate // _SHARE))
        self._rate, self._clock, self._sleep = rate, clock, sleep
        self._lock = threading.Lock()
        self._free_at = clock()

    def take(self, count: int) -> None:
        """Returns when `count` bytes may go out. What was not used before is not saved up."""
        if self._rate <= 0:
            return
        with self._lock:
            start = max(self._free_at, self._clock())
            self._free_at = start + count / self._rate
            wait = start - self._clock()
        if wait > 0:
            self._sleep(wait)
