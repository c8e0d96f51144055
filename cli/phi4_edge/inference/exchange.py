"""HTTP to the engine of a host that only Ansible reaches: one run of Ansible for each request, its answer replayed."""

from __future__ import annotations

import base64
import contextlib
import io
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from phi4_edge.core.inventory import Host
from phi4_edge.errors import HostFailedError, Phi4EdgeError, RunnerError, UnreachableError
from phi4_edge.runner.access import Access
from phi4_edge.runner.executor import Call, Local
from phi4_edge.ssh import stream, tunnel
from phi4_edge.ssh.kept import Lender
from phi4_edge.ssh.wire import Budget, Bytes

PLAYBOOK, FACT = "exchange", "phi4_exchange"
# For Ansible to start, and for the plugin's own time beside that of the answer.
SPARE_SECONDS = 90
# The one who listens may change between a look and the request, as a service restarts.
TRIES = 3

Connect = Callable[[Host, str, int, Callable[[str], None]], tunnel.Connection]


def connector(access: Access, sessions: Lender | None = None) -> Connect:
    """Opens HTTP connections the way that each host is reached: here, through one ssh, or through Ansible.

    `sessions` that are open are used. An engine that is closed to users of its host is asked as root there.
    """
    entrance = tunnel.Entrance(access.become_password or "")

    def connect(host: Host, bind: str, port: int, warn: Callable[[str], None]) -> tunnel.Connection:
        if tunnel.reaches(host, access.connection_password, sessions):
            way = tunnel.http_connection(host, bind, port, warn, sessions, entrance)
            if not (entrance.by_ansible(host) and _closed(way)):
                return way
        return AnsibleConnection(access, host, bind, port, warn)

    return connect


def _closed(way: tunnel.Connection) -> bool:
    """Whether it is closed to the user that it comes as; whatever else is wrong shows when it is used."""
    with contextlib.closing(way), contextlib.suppress(OSError, Phi4EdgeError):
        try:
            way.connect()
        except stream.GuardedError:
            return True
    return False


class AnsibleConnection(tunnel.Connection):
    """A connection whose answers come as a whole: times are those that the host measured, so none is of Ansible."""

    def __init__(self, access: Access, host: Host, bind: str, port: int, warn: Callable[[str], None]) -> None:
        super().__init__(host, bind, port, warn)
        self._access, self._name, self._what = access, host.name, f"{bind}:{port}"
        self._budget = Budget(tunnel.OPEN_SECONDS, tunnel.OPEN_BYTES)
        self._stopped = threading.Event()
        self._expected: str | None = None
        self._clock = 0.0

    def allow(self, seconds: float, most_bytes: int) -> Budget:
        self._budget = Budget(seconds, most_bytes)
        return self._budget

    def now(self) -> float:
        return self._clock

    def connect(self) -> None:
        if self._expected is None:
            self._judge(self._run(b""))
        self.sock = cast(socket.socket, _Replay(self))

    def converse(self, request: bytes) -> Iterator[bytes]:
        """The pieces of the answer; the clock is the host's when each came. Raises OverBudget where it was cut."""
        for _ in range(TRIES):
            found = self._run(request)
            if found["sent"]:
                return self._pieces(found)
            self._judge(found)
        raise HostFailedError(
            f"found that port {self.port} of host {self._name} changes hands all the time, needed a service that stays "
            "up: see phi4-edge status"
        )

    def _pieces(self, found: Mapping[str, Any]) -> Iterator[bytes]:
        began, budget = self._clock, self._budget
        for at, piece in zip(found["times"], found["pieces"], strict=False):
            data = base64.b64decode(piece)
            budget.take(len(data))
            self._clock = began + at
            yield data
        if found["end"] == "late":
            self._clock = began + budget.seconds
            budget.exceed(f"no end within {budget.seconds:g} s")
        if found["end"] == "large":
            budget.exceed(f"more than {budget.most_bytes} bytes")

    def _judge(self, found: Mapping[str, Any]) -> None:
        """Whoever has the port now is who is asked. Raises HostFailedError for a stranger."""
        self._believe(stream.understood(found["listener"].encode(), self._name, self._what))
        self._expected = found["listener"]

    def _run(self, request: bytes) -> Mapping[str, Any]:
        budget = self._budget
        wish = {
            **{"address": self.host, "port": self.port, "expected": self._expected},
            **{"seconds": budget.seconds, "most_bytes": budget.most_bytes},
            "request": base64.b64encode(request).decode(),
        }
        call = Call(PLAYBOOK, {"__health_exchange": wish}, task_timeout=int(budget.seconds) + SPARE_SECONDS)
        try:
            done = Local(self._access).execute(call, [self._name], lambda event: None, self._stopped.is_set)
        except RunnerError as error:
            raise HostFailedError(str(error)) from error
        end = done.hosts.get(self._name)
        answer = end.facts.get(FACT) if end is not None else None
        if isinstance(answer, Mapping):
            return answer
        why = (end.message if end is not None else "") or "Ansible says nothing of it"
        kind = (
            UnreachableError if done.cancelled or (end is not None and end.status == "unreachable") else HostFailedError
        )
        raise kind(f"found no answer from host {self._name} ({why}), needed one: check phi4-edge status")

    def cut(self) -> None:
        self._stopped.set()

    def close(self) -> None:
        if self._answering:
            self.sock = None
            return
        self.sock = None


class _Replay:
    """Stands for a socket in http.client: what is sent is one request, what is read its answer."""

    def __init__(self, connection: AnsibleConnection) -> None:
        self._connection = connection
        self._request = bytearray()

    def sendall(self, data: Bytes) -> None:
        """As of a socket."""
        self._request += data

    def makefile(self, mode: str = "rb") -> io.BufferedReader:
        """The answer to what was sent since the last one."""
        request, self._request = bytes(self._request), bytearray()
        return io.BufferedReader(_Raw(self._connection.converse(request)))

    def close(self) -> None:
        """As of a socket."""


class _Raw(io.RawIOBase):
    """One piece at a time, so that the clock is that of what was read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        piece = self._rest or next(self._pieces, b"")
        taken, self._rest = piece[: len(view)], piece[len(view) :]
        view[: len(taken)] = taken
        return len(taken)
