"""A connected socket that is read within one budget, bytes in all and seconds in all, whatever the other side does."""

from __future__ import annotations

import contextlib
import errno
import io
import math
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, NoReturn, Protocol

Bytes = bytes | bytearray | memoryview
HEARD = 512  # bytes that are kept of what came first: a greeting, or why there is none


class OverBudget(OSError):  # noqa: N818  (an answer, not an error of ours)
    """The other side took longer, or sent more, than it may. The message says which, with the number.

    With an errno, as paramiko takes every error of a socket apart; not one that it would try again after.
    """

    def __init__(self, why: str) -> None:
        super().__init__(errno.EIO, why)

    def __str__(self) -> str:
        return self.strerror or ""


class Budget:
    """What an exchange may take: `seconds` from now on, and bytes that come in. `over`: why it is used up, or ""."""

    def __init__(self, seconds: float, most_bytes: int) -> None:
        self.seconds, self.most_bytes = seconds, most_bytes
        self._end = time.monotonic() + seconds
        self._left = most_bytes
        self.over = ""

    @classmethod
    def free(cls) -> Budget:
        """One without an end, for what is bounded elsewhere: piece by piece, or by whoever reads."""
        return cls(math.inf, sys.maxsize)

    @property
    def remaining(self) -> float:
        """Seconds until the end, 0.0 behind it."""
        return max(0.0, self._end - time.monotonic())

    def wait(self, most: float | None) -> float:
        """How long the next step may block, at most `most` seconds. Raises OverBudget behind the end."""
        left = self.remaining
        if left <= 0:
            self.exceed(f"no end within {self.seconds:g} s")
        return left if most is None else min(left, most)

    def take(self, size: int) -> None:
        """Counts bytes that came in. Raises OverBudget for more than may come."""
        self._left -= size
        if self._left < 0:
            self.exceed(f"more than {self.most_bytes} bytes")

    def exceed(self, why: str) -> NoReturn:
        """Raises OverBudget; the first reason stays in `over`."""
        self.over = self.over or why
        raise OverBudget(self.over)


class Wire:
    """Stands for a socket in http.client and paramiko. What is read and written counts against `budget`.

    A timeout of the socket alone bounds nothing: who sends one byte now and then never runs into it. `heard` is the
    beginning of what came, `ended` that the other side sends no more.
    """

    def __init__(self, sock: socket.socket, budget: Budget) -> None:
        self._socket, self.budget = sock, budget
        self._timeout: float | None = None
        self.heard, self.ended = b"", False

    @property
    def _closed(self) -> bool:  # paramiko looks at it when the program ends
        return self._socket.fileno() < 0

    def settimeout(self, seconds: float | None) -> None:
        """As of a socket: how long one step may block, also when the budget allows more."""
        self._timeout = seconds

    def recv(self, size: int) -> bytes:
        """As of a socket. Raises OverBudget, also TimeoutError when a timeout was set that is shorter."""
        self._arm()
        try:
            data = self._socket.recv(size)
        except TimeoutError:
            self.budget.wait(None)
            raise
        except ConnectionError:
            self.ended = True
            raise
        self.ended = data == b""
        self.heard += data[: HEARD - len(self.heard)]
        self.budget.take(len(data))
        return data

    def send(self, data: Bytes) -> int:
        """As of a socket. Raises OverBudget as recv does."""
        self._arm()
        try:
            return self._socket.send(data)
        except TimeoutError:
            self.budget.wait(None)
            raise
        except ConnectionError:
            self.ended = True
            raise

    def sendall(self, data: Bytes) -> None:
        """As of a socket."""
        rest = memoryview(data)
        while rest:
            rest = rest[self.send(rest) :]

    def makefile(self, mode: str = "rb") -> io.BufferedReader:
        """A buffered reader of the wire; closing it leaves the wire open."""
        return io.BufferedReader(_Raw(self))

    def cut(self) -> None:
        """Ends what reads and writes, from any thread; the wire stays to be closed by its owner."""
        with contextlib.suppress(OSError):  # the other side was first
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """As of a socket."""
        self._socket.close()

    def _arm(self) -> None:
        wait = self.budget.wait(self._timeout)
        if self._socket.fileno() >= 0:  # closed by another thread: the call that follows says so
            self._socket.settimeout(None if wait == math.inf else max(wait, 0.001))


class Cuttable(Protocol):
    """What can be ended from any thread."""

    def cut(self) -> None: ...


class Open:
    """What is in use, so that all of it can be cut at once. What is added after that is cut at once too."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._used: set[Cuttable] = set()
        self.stopped = False

    @contextlib.contextmanager
    def using(self, one: Cuttable) -> Iterator[None]:
        """Within the block it may be cut."""
        with self._lock:
            self._used.add(one)
            stopped = self.stopped
        try:
            if stopped:
                one.cut()
            yield
        finally:
            with self._lock:
                self._used.discard(one)

    def cut(self) -> None:
        """Everything ends, now and from now on."""
        with self._lock:
            self.stopped = True
            used = list(self._used)
        for one in used:
            one.cut()


class _Raw(io.RawIOBase):
    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        data = self._wire.recv(len(view))
        view[: len(data)] = data
        return len(data)
