"""Ctrl-C in two steps: the first lets what is under way finish or be undone, the second ends it."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType

# Longest wait after the first Ctrl-C for hosts between switch and commit: the gate gives vLLM half an hour to start.
GRACE_SECONDS = 1900.0


@contextlib.contextmanager
def outlasting_terminal() -> Iterator[None]:
    """A terminal that goes away (SIGHUP) ends nothing meanwhile: hosts that are to be brought back matter more."""
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL:  # nohup has set it otherwise
        yield
        return
    # A function, not SIG_IGN, which what is started from here would inherit.
    before = signal.signal(signal.SIGHUP, lambda number, frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


class Interrupts:
    """Counts Ctrl-C (and SIGTERM, which counts like the first) while it is entered; does not raise.

    A terminal that goes away (SIGHUP) ends nothing: hosts in the middle of a switch matter more.
    """

    def __init__(self, on_first: Callable[[], None] | None = None, on_second: Callable[[], None] | None = None) -> None:
        self.count = 0
        self.since: float | None = None
        self._tell = (on_first, on_second)
        self._before: dict[int, signal.Handlers | int | Callable[[int, FrameType | None], object] | None] = {}

    def __enter__(self) -> Interrupts:
        self._hangup = outlasting_terminal()
        self._hangup.__enter__()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before if before is not None else signal.SIG_DFL)
        self._before.clear()
        self._hangup.__exit__(None, None, None)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.request()

    def request(self) -> None:
        """One more wish to stop, as if Ctrl-C had been pressed."""
        self.count += 1
        if self.since is None:
            self.since = time.monotonic()
        tell = self._tell[0] if self.count == 1 else self._tell[1] if self.count == 2 else None
        if tell is not None:
            tell()

    @property
    def stopping(self) -> bool:
        """Nothing new may start."""
        return self.count > 0

    def must_end(self, critical: bool, grace: float = GRACE_SECONDS) -> bool:
        """Whether to end what runs now. A host between switch and commit (`critical`) gets `grace` seconds."""
        if self.count == 0 or self.since is None:
            return False
        return self.count > 1 or not critical or time.monotonic() - self.since > grace
